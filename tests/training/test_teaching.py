"""The teacher: one answer for the whole class, given as it stands, whatever it was trained with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from raykd.data import DataInfo, load_data
from raykd.models import build_model
from raykd.training.classroom import Classroom
from raykd.training.folder import WEIGHTS, description, write_description
from raykd.training.messages import Report, WorkerCommands
from raykd.training.saved import load_model, save_model
from raykd.training.team import Team
from tests.helpers.networks import Counting
from tests.helpers.specs import of, plain, request_for, same, spec, state, train

STEPS, VALIDATION_BATCHES = 4, 2  # 100 training images in batches of 25; 144 validation images in batches of 100


@pytest.fixture(scope="module")
def data() -> DataInfo:
    return load_data(spec().data).info


@pytest.fixture
def counting_teacher(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "counting"
    train(request_for(plain(student={"name": "tests.helpers.networks:Counting"}), folder))
    Counting.calls.clear()
    Counting.copies.clear()
    yield folder
    Counting.calls.clear()
    Counting.copies.clear()


@pytest.mark.parametrize("students", [1, 4])
def test_a_teacher_is_asked_once_a_batch_however_many_listen(
    tmp_path: Path, counting_teacher: Path, students: int
) -> None:
    names = [f"student-{number}" for number in range(students)]
    specs = [spec(training={"seed": seed}, bank={"mode": "off"}) for seed in range(students)]
    train(*(request_for(what, tmp_path / name, counting_teacher) for what, name in zip(specs, names, strict=True)))
    assert len(Counting.copies) == 1
    assert [call["images"] for call in Counting.calls] == [100, 44] + [25] * 3 * STEPS
    assert not any(call["training"] or call["gradient"] for call in Counting.calls)


def test_a_teacher_stays_as_it_was_and_in_nobodys_checkpoint(tmp_path: Path, counting_teacher: Path) -> None:
    before = safetensors.torch.load_file(counting_teacher / WEIGHTS)
    train(request_for(spec(training={"weight_decay": 0.1}), tmp_path / "student", counting_teacher), epochs=2)
    (teacher,) = Counting.copies
    assert same(dict(teacher.state_dict()), before)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    student = build_model(spec().student, num_classes=10, in_channels=1)
    found = state(tmp_path / "student")
    assert found["network"].keys() == student.state_dict().keys()
    assert len(found["optimizer"]["param_groups"][0]["params"]) == len(list(student.parameters()))


def test_a_teacher_with_nobody_to_teach_is_not_asked(tmp_path: Path, counting_teacher: Path) -> None:
    taught_one = request_for(spec(bank={"mode": "off"}), tmp_path / "taught", counting_teacher)
    other = request_for(plain(bank={"mode": "off"}), tmp_path / "other")
    classroom = Classroom(Team())
    classroom.follow(WorkerCommands(enter=(taught_one, other), learn=(taught_one.ticket, other.ticket)))
    asked = len(Counting.calls)
    classroom.follow(WorkerCommands(learn=(other.ticket,)))
    assert len(Counting.calls) == asked
    classroom.follow(WorkerCommands(learn=(taught_one.ticket,)))
    assert len(Counting.calls) == asked + STEPS
    classroom.follow(WorkerCommands(leave=(taught_one.ticket,), learn=(other.ticket,)))
    assert len(Counting.copies) == 1


def test_two_teachers_teach_in_one_group(tmp_path: Path, teacher: Path, generous_teacher: Path) -> None:
    ways = {"by-standard": teacher, "by-generous": generous_teacher, "by-both-in-turn": teacher}
    reports = train(*(request_for(spec(), tmp_path / "class" / name, way) for name, way in ways.items()))
    assert {report.metrics["class_size"] for report in reports} == {3}
    for name, way in ways.items():
        train(request_for(spec(), tmp_path / "alone" / name, way))
        assert same(state(tmp_path / "class" / name), state(tmp_path / "alone" / name))
    one, other = (state(tmp_path / "class" / name)["network"] for name in ("by-standard", "by-generous"))
    assert not same(dict(one), dict(other))


def test_a_generous_teacher_has_learnt_from_the_standard_one(generous_teacher: Path) -> None:
    metrics = description(generous_teacher)["metrics"]
    assert metrics["distillation"] > 0
    assert metrics["teacher_agreement"] > 0.1
    assert metrics["kd_weight"] == metrics["right_weight"] == 1.0


def test_a_teacher_of_other_classes_is_refused_by_its_student_alone(
    tmp_path: Path, teacher: Path, data: DataInfo
) -> None:
    five = replace(data, num_classes=5, class_names=data.class_names[:5])
    (tmp_path / "five").mkdir()
    network = build_model(spec().student, num_classes=5, in_channels=1)
    save_model(tmp_path / "five", network, spec(), five, Report("five", "", 1), [0])
    misled = request_for(spec(), tmp_path / "misled", tmp_path / "five")
    reports = train(misled, request_for(spec(), tmp_path / "well", teacher))
    assert [(report.epoch, report.failure) for report in of(reports, "misled")] == [
        (1, f"the teacher in {tmp_path / 'five'} knows 5 classes, but digits has 10")
    ]
    assert of(reports, "well")[-1].finished


def test_a_teacher_that_is_not_there_is_told_to_its_student_alone(tmp_path: Path, teacher: Path) -> None:
    lost = request_for(spec(), tmp_path / "lost", tmp_path / "nowhere")
    reports = train(request_for(spec(), tmp_path / "well", teacher), lost)
    (report,) = of(reports, "lost")
    assert "no finished model in" in (report.failure or "")
    assert of(reports, "well")[-1].finished


def test_a_teacher_of_other_images_normalises_them_its_own_way(tmp_path: Path, teacher: Path, data: DataInfo) -> None:
    # The same weights, told to see the images brighter and with less contrast.
    foreign = tmp_path / "foreign"
    shutil.copytree(teacher, foreign)
    content = description(foreign)
    assert content is not None
    content["data"] |= {"mean": [data.mean[0] - 0.3], "std": [data.std[0] * 3]}
    write_description(foreign, content)
    reports = train(
        request_for(spec(), tmp_path / "home", teacher), request_for(spec(), tmp_path / "abroad", foreign), epochs=1
    )
    images = load_data(spec().data)
    validation = images.split("validation")
    agreement = {}
    for name, folder in (("home", teacher), ("abroad", foreign)):
        student = build_model(spec().student, num_classes=10, in_channels=1)
        student.load_state_dict(state(tmp_path / name)["network"])
        pixels = validation.images.float() / 255
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
        answers = student.eval()((pixels - mean) / std).argmax(1)
        agreement[name] = (answers == load_model(folder).predict(pixels)).double().mean().item()
        assert of(reports, name)[0].metrics["teacher_agreement"] == pytest.approx(agreement[name])
    wrong = {name: of(reports, name)[0].metrics["wrong_share"] for name in ("home", "abroad")}
    assert wrong["abroad"] != wrong["home"]
