"""The journal: Optuna's own format, read on where it was left, locked and synced once for what belongs together."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raykd.errors import DamagedError, StorageError
from raykd.search.journal import Journal, JournalFile
from raykd.search.optuna_study import open_study
from tests.helpers.mounts import largest_file


def study_in(storage: JournalStorage) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="study", load_if_exists=True)


def run(study: optuna.Study, value: float) -> None:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("seconds", value)
    study.tell(trial, value)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "optuna.journal")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors of the files that were synced, one entry each time."""
    descriptors: list[int] = []
    monkeypatch.setattr(os, "fsync", descriptors.append)
    return descriptors


def test_optuna_and_raykd_write_one_journal_in_turns(path: str) -> None:
    ours, optunas = study_in(Journal(path)), study_in(JournalStorage(JournalFileBackend(path)))
    for value in range(4):
        run([ours, optunas][value % 2], value)
    for study in (ours, optunas, study_in(Journal(path))):
        assert [trial.value for trial in study.trials] == [0, 1, 2, 3]
        assert [trial.user_attrs["seconds"] for trial in study.trials] == [0, 1, 2, 3]
    assert ours.trials == optunas.trials


def test_what_belongs_together_is_synced_once(path: str, synced: list[int]) -> None:
    storage = Journal(path)
    study = study_in(storage)
    synced.clear()
    with storage.file.together():
        run(study, 1.0)
        with storage.file.together():
            run(study, 2.0)
        assert not synced and Path(f"{path}.lock").exists()
    assert len(synced) == 1 and not Path(f"{path}.lock").exists()
    with storage.file.together():
        assert len(study.trials) == 2
    assert len(synced) == 1, "nothing was written"
    study.set_user_attr("space", {})
    assert len(synced) == 2, "a record by itself is synced by itself"


def test_records_before_a_fault_are_kept_and_the_lock_is_not(path: str) -> None:
    storage = Journal(path)
    study = study_in(storage)

    def fail() -> None:
        with storage.file.together():
            run(study, 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not Path(f"{path}.lock").exists()
    assert [trial.value for trial in study_in(Journal(path)).trials] == [1.0]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(path: str) -> None:
    file = JournalFile(path)
    file.append_logs([{"number": 0}, {"number": 1}])
    with open(path, "a") as other:
        other.write('{"number"')
        other.flush()
        assert list(file.read_logs(1)) == [{"number": 1}]
        other.write(":2}\n")
    assert list(file.read_logs(2)) == [{"number": 2}]
    assert list(file.read_logs(3)) == []
    assert list(file.read_logs(0)) == [{"number": number} for number in range(3)], "for another reader"


def test_a_reader_that_stops_goes_on_with_the_next_record(path: str) -> None:
    file = JournalFile(path)
    file.append_logs([{"number": number} for number in range(5)])
    assert next(file.read_logs(0)) == {"number": 0}
    assert [record["number"] for record in file.read_logs(1)] == [1, 2, 3, 4]


def test_a_damaged_record_is_an_error_each_time(path: str) -> None:
    Path(path).write_text('{"number":0}\nno record\n{"number":2}\n')
    file = JournalFile(path)
    for _ in range(2):
        with pytest.raises(DamagedError, match="damaged in line 2"):
            list(file.read_logs(0))


def test_every_flipped_bit_of_a_record_is_found_or_harmless(path: str) -> None:
    records = [{"number": 0}, {"value": 0.8125, "name": "x,y"}, {"number": 2}]
    JournalFile(path).append_logs(records)
    written = Path(path).read_bytes()
    begin = written.index(b"\n") + 1
    end = written.index(b"\n", begin)
    found = 0
    for place in range(8 * begin, 8 * end):
        damaged = bytearray(written)
        damaged[place // 8] ^= 1 << place % 8
        Path(path).write_bytes(damaged)
        try:
            read = list(JournalFile(path).read_logs(0))
        except DamagedError:
            found += 1
        else:
            # The name of the checksum itself was hit, and what it stands for was not.
            assert {name: read[1][name] for name in ("value", "name")} == records[1] and read[2] == records[2]
    assert found > 8 * len('{"value":0.8125,"name":"x,y"}')


@pytest.mark.parametrize("harm", ["garbled", "zeros", "digit", "lost"])
def test_a_journal_damaged_in_the_middle_is_named_with_what_to_do(path: str, harm: str) -> None:
    study = study_in(Journal(path))
    for value in range(4):
        run(study, 0.25 * value)
    lines = Path(path).read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if b'"seconds":0.5' in line)
    damages = {
        "garbled": lines[place][:20] + b"\n",
        "zeros": bytes(len(lines[place]) - 1) + b"\n",
        "digit": lines[place].replace(b"0.5", b"0.6"),
    }
    Path(path).write_bytes(b"".join([*lines[:place], damages.get(harm, b""), *lines[place + 1 :]]))
    with pytest.raises(DamagedError, match=f"^{path} is damaged") as raised:
        open_study(Path(path), "study", 0)
    assert len(str(raised.value).splitlines()) == 2
    assert f"damaged in line {place + 1}" in str(raised.value)
    command = str(raised.value).splitlines()[1].partition(";")[0]
    subprocess.run(command, shell=True, check=True)
    kept = open_study(Path(path), "study", 0).trials
    assert [trial.value for trial in kept] == [0.0, 0.25, None]


def test_a_full_disk_leaves_a_journal_as_it_was(path: str) -> None:
    """The kernel refuses to let a file grow further, in the middle of a record."""
    storage = Journal(path)
    study = study_in(storage)
    run(study, 0.5)
    before = Path(path).read_bytes()
    full = pytest.raises(StorageError, match=f"^{path} cannot be written: File too large")
    with largest_file(len(before) + 20), full:
        study.ask()
    assert Path(path).read_bytes() == before
    run(study, 0.75)
    assert [trial.value for trial in study_in(Journal(path)).trials] == [0.5, 0.75]


def test_a_journal_that_may_only_be_read_is_not_written(path: str) -> None:
    run(open_study(Path(path), "study", 0), 0.5)
    before = Path(path).read_bytes()
    assert [trial.value for trial in open_study(Path(path), "study", 0).trials] == [0.5]
    assert Path(path).read_bytes() == before
    assert [file.name for file in Path(path).parent.iterdir()] == [Path(path).name]
