"""The journal: Optuna's own format, read on where it was left, locked and synced once for what belongs together."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raykd.search.journal import Journal, JournalFile


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
        with pytest.raises(ValueError, match="Expecting value"):
            list(file.read_logs(0))
