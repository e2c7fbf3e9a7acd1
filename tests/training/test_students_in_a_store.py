"""Students whose folders are URLs of an object store learn as those on disk do, and outlive its absence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raykd.config import ModelSettings, TrackingSettings, TrainingSpec
from raykd.data import load_data
from raykd.errors import StorageError
from raykd.storage import below, read
from raykd.training.classroom import Classroom
from raykd.training.external_teacher import evaluate_external_teacher, fetch_external_teacher
from raykd.training.folder import CHECKPOINT, DESCRIPTION, FAILURE, WEIGHTS, description, keep_model
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.saved import load_model
from raykd.training.team import Team
from tests.helpers.object_store import ObjectStore, Request
from tests.helpers.specs import plain, request_for, same, spec, state, train

Enrol = Callable[..., TrainRequest]


@pytest.fixture
def submit(object_store: ObjectStore) -> Enrol:
    folder = object_store.folder()

    def request(what: TrainingSpec, teacher: str | None = None) -> TrainRequest:
        return TrainRequest("student", what, teacher, folder)

    return request


def copied(folder: str, target: Path) -> Path:
    """A copy of a student's folder, on disk."""
    target.mkdir()
    for name in (CHECKPOINT, WEIGHTS, DESCRIPTION):
        content = read(folder, name)
        assert content is not None
        (target / name).write_bytes(content)
    return target


def test_a_student_goes_on_from_the_store_and_ends_as_on_disk(submit: Enrol, teacher: Path, tmp_path: Path) -> None:
    assert train(request_for(spec(), tmp_path / "student", teacher))[-1].finished
    student = submit(spec(), teacher=str(teacher))
    assert len(train(student, epochs=2)) == 2
    assert description(student.folder) is None
    assert len(train(student)) == 3, "it tells its history, and learns one epoch more"
    assert same(state(copied(student.folder, tmp_path / "copy")), state(tmp_path / "student"))
    there, here = load_model(student.folder).state_dict(), load_model(tmp_path / "student").state_dict()
    assert same(dict(there), dict(here))
    assert [report.finished for report in train(student)] == [False, False, True]
    keep_model(student.folder, tmp_path / "kept")
    assert description(tmp_path / "kept") == description(student.folder)


def test_a_student_learns_from_a_teacher_in_the_store(
    submit: Enrol, object_store: ObjectStore, teacher: Path, tmp_path: Path
) -> None:
    data = spec().data
    info, half = load_data(data).info, ModelSettings(name="resnet8", arguments={"width": 0.5})
    teachers = below(object_store.folder(), "teachers")
    there = fetch_external_teacher(str(teacher), half, info, teachers, TrackingSettings())
    evaluate_external_teacher(there, data)
    assert fetch_external_teacher(there, half, info, teachers, TrackingSettings()) == there, "a URL is a source, too"
    here = fetch_external_teacher(str(teacher), half, info, str(tmp_path / "teachers"), TrackingSettings())
    evaluate_external_teacher(here, data)
    assert description(there) == description(here)
    student = submit(spec(), teacher=there)
    assert train(student)[-1].finished
    assert train(request_for(spec(), tmp_path / "student", teacher))[-1].finished
    assert same(state(copied(student.folder, tmp_path / "copy")), state(tmp_path / "student"))


def test_what_went_wrong_is_in_the_store(submit: Enrol) -> None:
    student = submit(plain(student={"name": "tests.helpers.networks:Unbuildable"}))
    (report,) = train(student)
    assert report.failure is not None
    assert below(student.folder, FAILURE) in report.failure
    assert b"Traceback" in (read(student.folder, FAILURE) or b"")


def test_a_store_that_is_away_is_nobodys_failure(
    submit: Enrol, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The classroom ends, to be started again; the student goes on from its last epoch."""
    monkeypatch.setattr("raykd.object_store.PATIENCE_SECONDS", 0.0)
    student = submit(plain())
    classroom = Classroom(Team())
    train(student, classroom=classroom, epochs=1)

    def puts(request: Request) -> bool:
        return request["REQUEST_METHOD"] in ("PUT", "POST")

    with object_store.cut(puts), pytest.raises(StorageError):
        classroom.follow(WorkerCommands(learn=classroom.seated))
    with object_store.cut(), pytest.raises(StorageError):
        Classroom(Team()).follow(WorkerCommands(enter=(student,)))
    reports = train(student)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert all(report.failure is None for report in reports)
    assert train(request_for(plain(), tmp_path / "student"))[-1].finished
    assert same(state(copied(student.folder, tmp_path / "copy")), state(tmp_path / "student"))
