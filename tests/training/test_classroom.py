"""The classroom: nobody notices who else sits there, whoever comes back goes on, and one student's fault is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raykd.config import TrainingSpec
from raykd.data import load_data
from raykd.training.classroom import Classroom
from raykd.training.folder import DESCRIPTION, FAILURE, WEIGHTS, description
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.saved import load_model
from raykd.training.team import Team
from tests.helpers.specs import of, plain, request_for, same, spec, state, train

# Students of one group that have nothing else in common.
CLASS: dict[str, TrainingSpec] = {
    "pair": spec(),
    "dropout": spec(
        student={"name": "tests.helpers.networks:WithDropout"}, training={"learning_rate": 0.02, "seed": 5}
    ),
    "plain": plain(student={"name": "tests.helpers.networks:WithDropout"}),
    "adamw": spec(training={"optimizer": "adamw", "learning_rate": 0.001}, bias={"form": "one_hot"}),
    "generous": spec(bias={"form": "keep"}, objective={"warmup_epochs": 2}, student={"name": "resnet14"}),
    "clipped": spec(training={"gradient_clip": 0.1, "nesterov": True}, method={"name": "kd"}, bias={"form": "drop"}),
    "smooth": spec(training={"label_smoothing": 0.1, "decay": "cosine"}, temperature={"policy": "constant"}),
    "swap": spec(training={"seed": 7, "warmup_epochs": 2}, bias={"form": "swap"}, schedule={"form": "step"}),
}


def enrol_class(folder: Path, teacher: Path, names: list[str]) -> list[TrainRequest]:
    return [request_for(CLASS[name], folder / name, None if name == "plain" else teacher) for name in names]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """Every student of the class, trained alone."""
    folder = tmp_path_factory.mktemp("alone")
    for request in enrol_class(folder, teacher, list(CLASS)):
        assert train(request)[-1].finished
    return folder


@pytest.mark.parametrize("names", [list(CLASS), list(reversed(CLASS))], ids=["in order", "reversed"])
def test_a_student_learns_the_same_alone_and_in_a_class_of_eight(
    tmp_path: Path, teacher: Path, alone: Path, names: list[str]
) -> None:
    reports = train(*enrol_class(tmp_path, teacher, names))
    assert [len(of(reports, name)) for name in names] == [3] * 8
    assert {report.metrics["class_size"] for report in reports} == {8}
    for name in CLASS:
        assert same(state(tmp_path / name), state(alone / name)), name


def test_eight_different_settings_give_eight_different_students(alone: Path) -> None:
    weights = {name: load_model(alone / name).network.state_dict() for name in CLASS}
    assert not any(same(weights[one], weights[other]) for one in CLASS for other in CLASS if one != other)


def test_students_may_come_and_go_beside_one_that_stays(tmp_path: Path, teacher: Path, alone: Path) -> None:
    stays, leaves, comes, waits = enrol_class(tmp_path, teacher, ["dropout", "pair", "swap", "clipped"])
    classroom = Classroom(Team())
    classroom.follow(WorkerCommands(enter=(stays, leaves), learn=(stays.ticket, leaves.ticket)))
    classroom.follow(WorkerCommands(leave=(leaves.ticket,), enter=(comes, waits), learn=(comes.ticket, stays.ticket)))
    reports = classroom.follow(WorkerCommands(leave=("nobody",), learn=("nobody", waits.ticket, stays.ticket)))
    assert [(report.student, report.epoch, report.finished) for report in reports] == [
        ("clipped", 1, False),
        ("dropout", 3, True),
    ]
    assert classroom.seated == (comes.ticket, waits.ticket)
    assert same(state(tmp_path / "dropout"), state(alone / "dropout"))
    assert state(tmp_path / "swap")["views"] == [1]
    assert state(tmp_path / "clipped")["views"] == [2]


def test_the_views_repeat_after_as_many_epochs_as_the_training_has(tmp_path: Path) -> None:
    first, late = request_for(plain(), tmp_path / "first"), request_for(plain(), tmp_path / "late")
    classroom = Classroom(Team())
    train(first, classroom=classroom, epochs=2)
    train(late, classroom=classroom)
    assert description(tmp_path / "first")["views"] == [0, 1, 2]
    assert description(tmp_path / "late")["views"] == [2, 0, 1]


@pytest.mark.parametrize("name", ["swap", "smooth", "dropout", "adamw"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_student_becomes_the_same_as_an_uninterrupted(
    tmp_path: Path, teacher: Path, alone: Path, name: str, epochs: int
) -> None:
    (request,) = enrol_class(tmp_path, teacher, [name])
    before = train(request, epochs=epochs)
    after = train(request)
    assert [report.epoch for report in before] == list(range(1, epochs + 1))
    assert after[:epochs] == before
    assert [(report.epoch, report.finished) for report in after] == [(1, False), (2, False), (3, True)]
    assert same(state(tmp_path / name), state(alone / name))
    assert description(tmp_path / name)["views"] == [0, 1, 2]


def test_a_class_that_was_interrupted_goes_on_together(tmp_path: Path, teacher: Path, alone: Path) -> None:
    names = ["dropout", "plain", "pair"]
    requests = enrol_class(tmp_path, teacher, names)
    train(*requests, epochs=1)
    train(*requests)
    assert all(same(state(tmp_path / name), state(alone / name)) for name in names)


def test_a_finished_student_only_tells_its_history_again(tmp_path: Path) -> None:
    request = request_for(plain(), tmp_path / "student", teacher="a teacher that is gone")
    told = train(request_for(plain(), tmp_path / "student"))
    files = {path: path.read_bytes() for path in (tmp_path / "student").iterdir()}
    classroom = Classroom(Team())
    again = classroom.follow(WorkerCommands(enter=(request,), learn=(request.ticket,)))
    assert classroom.seated == ()
    assert [(report.epoch, report.metrics, report.finished) for report in again] == [
        (report.epoch, report.metrics, report.finished) for report in told
    ]
    assert {report.ticket for report in again} == {request.ticket}
    assert {path: path.read_bytes() for path in (tmp_path / "student").iterdir()} == files


@pytest.mark.parametrize("lost", [(DESCRIPTION,), (DESCRIPTION, WEIGHTS)])
def test_a_student_that_died_between_checkpoint_and_model_writes_its_model_when_it_comes_back(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    request = request_for(plain(), tmp_path / "student")
    train(request)
    kept = {name: (tmp_path / "student" / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)}
    for name in lost:
        (tmp_path / "student" / name).unlink()
    assert train(request)[-1].finished
    assert {name: (tmp_path / "student" / name).read_bytes() for name in kept} == kept


def test_no_temporary_files_stay_behind(alone: Path) -> None:
    assert sorted(path.name for path in (alone / "pair").iterdir()) == ["checkpoint.pt", DESCRIPTION, WEIGHTS]


def test_the_checkpoint_of_another_lesson_is_refused(tmp_path: Path) -> None:
    train(request_for(plain(), tmp_path / "student"), epochs=1)
    (report,) = train(request_for(plain(training={"learning_rate": 0.06}), tmp_path / "student"))
    assert report.epoch == 1
    assert report.failure is not None
    assert "was written with other settings than student's" in report.failure


def test_a_lesson_is_the_same_wherever_and_however_its_data_is_read(tmp_path: Path) -> None:
    train(request_for(plain(), tmp_path / "student"), epochs=1)
    elsewhere = plain(data={"root": "/elsewhere", "loader_processes": 1})
    assert [report.epoch for report in train(request_for(elsewhere, tmp_path / "student"))] == [1, 2, 3]


def test_a_finished_model_is_its_students_network_in_evaluation_mode(tmp_path: Path) -> None:
    train(request_for(plain(student={"name": "tests.helpers.networks:Tied"}), tmp_path / "tied"))
    model = load_model(tmp_path / "tied")
    assert not model.training
    assert same(dict(model.network.state_dict()), dict(state(tmp_path / "tied")["network"]))
    assert model.network.again.weight is model.network.head.weight


@pytest.mark.parametrize(
    ("ill", "epoch", "reason"),
    [
        ({"name": "tests.helpers.networks:Unbuildable"}, 1, "ValueError: no network today (traceback in "),
        ({"name": "tests.helpers.networks:FallsIll"}, 2, "RuntimeError: feeling unwell (traceback in "),
        ({"name": "tests.helpers.networks:FailsAtExams"}, 1, "RuntimeError: lost its nerve (traceback in "),
        ({"name": "resnet9"}, 1, "unknown model 'resnet9': did you mean 'resnet"),
    ],
    ids=["cannot be built", "raises in a step", "raises when judged", "unknown"],
)
def test_a_student_with_a_fault_fails_alone(
    tmp_path: Path, teacher: Path, alone: Path, ill: dict[str, str], epoch: int, reason: str
) -> None:
    others = enrol_class(tmp_path, teacher, ["dropout", "pair"])
    failing = request_for(spec(student=ill), tmp_path / "ill", teacher)
    classroom = Classroom(Team())
    reports = train(others[0], failing, others[1], classroom=classroom)
    told = of(reports, "ill")
    assert [report.epoch for report in told] == list(range(1, epoch + 1))
    assert told[-1].failure is not None
    assert told[-1].failure.startswith(reason)
    assert told[-1].metrics == {}
    assert "\n" not in told[-1].failure
    assert (tmp_path / "ill" / FAILURE).exists() == ("traceback" in reason)
    if "traceback" in reason:
        assert "Traceback (most recent call last)" in (tmp_path / "ill" / FAILURE).read_text()
        assert told[-1].failure.endswith(f"{tmp_path / 'ill' / FAILURE})")
    for name in ("dropout", "pair"):
        assert same(state(tmp_path / name), state(alone / name))


def test_data_that_cannot_be_had_fails_its_students_only(tmp_path: Path) -> None:
    nowhere = request_for(plain(data={"name": "digitz"}), tmp_path / "nowhere")
    reports = train(nowhere, request_for(plain(), tmp_path / "here"))
    assert "did you mean 'digits'" in (of(reports, "nowhere")[0].failure or "")
    assert of(reports, "here")[-1].finished


def test_a_diverging_student_is_told_and_leaves(tmp_path: Path, teacher: Path, alone: Path) -> None:
    steady = enrol_class(tmp_path, teacher, ["pair"])[0]
    wild = request_for(plain(training={"learning_rate": 1e30}), tmp_path / "wild")
    classroom = Classroom(Team())
    first = train(wild, steady, classroom=classroom, epochs=1)
    assert [(report.student, report.diverged, report.finished) for report in first] == [
        ("wild", True, False),
        ("pair", False, False),
    ]
    assert classroom.seated == (steady.ticket,)
    train(classroom=classroom)
    assert same(state(tmp_path / "pair"), state(alone / "pair"))
    assert description(tmp_path / "wild") is None
    again = train(wild)
    assert [(report.epoch, report.diverged) for report in again] == [(1, True)]


def test_a_student_that_diverges_in_its_last_epoch_has_not_finished(tmp_path: Path) -> None:
    (report,) = train(request_for(plain(training={"learning_rate": 1e30, "epochs": 1}), tmp_path / "wild"))
    assert (report.diverged, report.finished) == (True, False)
    assert description(tmp_path / "wild") is None


def test_students_of_different_groups_sit_in_one_classroom(tmp_path: Path, teacher: Path, alone: Path) -> None:
    pair = enrol_class(tmp_path, teacher, ["pair"])[0]
    long = request_for(plain(training={"epochs": 5}), tmp_path / "long")
    small = request_for(plain(training={"batch_size": 10}), tmp_path / "small")
    other = request_for(plain(data={"train_images": 60}), tmp_path / "other")
    reports = train(pair, long, small, other)
    assert [len(of(reports, name)) for name in ("pair", "long", "small", "other")] == [3, 5, 3, 3]
    assert {report.metrics["class_size"] for report in reports} == {1}
    assert same(state(tmp_path / "pair"), state(alone / "pair"))


def test_the_global_random_numbers_do_not_matter(tmp_path: Path, teacher: Path, alone: Path) -> None:
    torch.manual_seed(12345)
    train(*enrol_class(tmp_path, teacher, ["dropout"]))
    assert same(state(tmp_path / "dropout"), state(alone / "dropout"))


def test_images_that_cannot_be_read_fail_those_who_look_at_them(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / "images" / split / name / f"{number}.png").write_text("no image")
    data = {"name": "folder", "root": str(tmp_path / "images"), "image_size": 32, "loader_processes": 0}
    looks = request_for(TrainingSpec.model_validate(plain().model_dump() | {"data": data}), tmp_path / "looks")
    reports = train(looks, request_for(plain(), tmp_path / "elsewhere"))
    (report,) = of(reports, "looks")
    assert (report.epoch, report.metrics) == (1, {})
    assert "cannot read the image" in (report.failure or "")
    assert of(reports, "elsewhere")[-1].finished


def test_a_student_of_other_images_than_those_of_this_node_is_refused_in_one_line(tmp_path: Path) -> None:
    """And one that is enrolled with these images is taught, as it is everywhere."""
    here = load_data(plain().data).info.fingerprint
    (refused,) = train(replace(request_for(plain(), tmp_path / "other"), data="0" * 64))
    assert refused.failure is not None
    assert refused.failure.startswith("the images of digits on node ") and "\n" not in refused.failure
    assert not (tmp_path / "other").exists()
    assert train(replace(request_for(plain(), tmp_path / "same"), data=here))[-1].finished
