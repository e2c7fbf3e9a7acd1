"""The room in a bank: the budget holds whoever writes, and its files are listed seldom."""

from __future__ import annotations

from pathlib import Path

import pytest

from raykd.storage import files_below, write
from raykd.training.bank import room
from raykd.training.bank.room import Room


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """The folders that were listed, one entry each time."""
    folders: list[str | Path] = []

    def noted(folder: str | Path) -> dict[str, int]:
        folders.append(folder)
        return files_below(folder)

    monkeypatch.setattr(room, "files_below", noted)
    return folders


def put(bank: Path, writer: Room, name: str, size: int = 100, budget: float = 10_000) -> bool:
    """Write a file if there is room for it, and return whether there was."""
    fits = writer.take(size, name, budget)
    if fits:
        write(bank, name, bytes(size))
    return fits


def taken(bank: Path) -> int:
    return sum(files_below(bank).values())


def test_a_large_budget_is_listed_once_for_many_parts(tmp_path: Path, listed: list[str | Path]) -> None:
    writer = Room(str(tmp_path))
    assert all(put(tmp_path, writer, f"part-{i}", budget=1e6) for i in range(100))
    assert len(listed) == 1


@pytest.mark.parametrize("writers", [1, 2, 5])
def test_writers_in_turn_fill_the_bank_and_no_more(tmp_path: Path, writers: int) -> None:
    rooms = [Room(str(tmp_path)) for _ in range(writers)]
    stored = [put(tmp_path, rooms[i % writers], f"part-{i}") for i in range(150)]
    assert taken(tmp_path) == 10_000
    assert sum(stored) == 100


def test_a_writer_may_have_missed_an_eighth_at_most(tmp_path: Path) -> None:
    early, late = Room(str(tmp_path)), Room(str(tmp_path))
    assert put(tmp_path, early, "first")
    assert any(not put(tmp_path, late, f"late-{i}") for i in range(150))
    while put(tmp_path, early, f"early-{taken(tmp_path)}"):
        pass
    assert 10_000 < taken(tmp_path) <= 11_250


def test_a_list_counts_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = Room(str(tmp_path)), Room(str(tmp_path))
    assert put(tmp_path, early, "first")
    assert any(not put(tmp_path, late, f"late-{i}") for i in range(150))
    monkeypatch.setattr(room, "FRESH_SECONDS", -1.0)
    assert not put(tmp_path, early, "second")


def test_a_part_that_is_replaced_counts_once(tmp_path: Path) -> None:
    writer = Room(str(tmp_path))
    assert all(put(tmp_path, writer, f"part-{i}") for i in range(100))
    assert put(tmp_path, writer, "part-7")
    assert not put(tmp_path, writer, "part-100")


def test_a_bank_that_was_cleared_has_room_again(tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    writer = Room(str(bank))
    assert all(put(bank, writer, f"part-{i}") for i in range(100))
    assert not put(bank, writer, "part-100")
    for file in bank.iterdir():
        file.unlink()
    assert put(bank, writer, "part-100")
