"""Cross-fitting: no image is ever taught by a teacher that has seen it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from raykd.config import TrainingSpec
from raykd.data import ImageData, WholeViews, evaluation_batches, load_data, training_batches
from raykd.training.answers import answers_to
from raykd.training.bank.bank import Bank
from raykd.training.classroom import Classroom
from raykd.training.cross_fitting import CrossFittedTeacher, load_teacher
from raykd.training.folder import description, write_description
from raykd.training.messages import TrainRequest
from raykd.training.saved import load_model
from raykd.training.teacher_cache import kind_of
from raykd.training.team import Team
from tests.helpers.specs import of, request_for, same, spec, state, train
from tests.helpers.teachers import FOLDS, requests_of, with_teachers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(spec().data)


@pytest.fixture(scope="module")
def taught_by(cross_fitted: list[TrainRequest]) -> TrainRequest:
    """The request of the teachers as one."""
    return cross_fitted[-1]


@pytest.fixture(scope="module")
def teacher(taught_by: TrainRequest, data: ImageData) -> CrossFittedTeacher:
    teacher = load_teacher(taught_by.folder, data, 0, None, CPU)
    assert isinstance(teacher, CrossFittedTeacher)
    return teacher


def one_by_one(request: TrainRequest, data: ImageData, view: int) -> Tensor:
    """Logits [N, classes] of the teacher that has not seen the image, image by image, by what the folders say."""
    networks, unseen = [], []
    for folder in request.members:
        networks.append(load_model(folder))
        # Which images it has seen is read off the data that its own description leads to.
        seen = load_data(TrainingSpec.model_validate((description(folder) or {})["lesson"]).data).splits["train"].images
        images = data.splits["train"].images
        unseen.append([not bool((seen == image).flatten(1).all(1).any()) for image in images])
    answering = torch.tensor(unseen).int()
    assert answering.sum(0).tolist() == [1] * len(data.splits["train"]), "each image is new to one teacher"
    logits = torch.empty(len(data.splits["train"]), 10)
    with torch.no_grad():
        for batch in training_batches(data, batch_size=25).epoch(view):
            for pixels, index in zip(batch.pixels, batch.indices.tolist(), strict=True):
                logits[index] = networks[int(answering[:, index].argmax())](pixels[None])[0]
    return logits


def test_every_image_is_answered_by_the_teacher_that_has_not_seen_it(
    teacher: CrossFittedTeacher, taught_by: TrainRequest, data: ImageData
) -> None:
    expected = one_by_one(taught_by, data, view=1)
    for batch in training_batches(data, batch_size=25).epoch(1):
        for logits in (teacher.teach(batch).logits, teacher.answer(batch)):
            torch.testing.assert_close(logits, expected[batch.indices], rtol=1e-4, atol=1e-4)


def test_they_are_wrong_more_often_than_a_teacher_about_what_it_has_seen(
    teacher: CrossFittedTeacher, taught_by: TrainRequest, data: ImageData
) -> None:
    memory = load_teacher(taught_by.members[0], data, 0, None, CPU)
    batch = next(iter(training_batches(data, batch_size=100).epoch(0)))
    seen = torch.from_numpy(data.folds(FOLDS, 0) != 0)[batch.indices]
    wrong, from_memory = (each.answer(batch).argmax(1) != batch.labels for each in (teacher, memory))
    assert float(wrong[seen].float().mean()) > float(from_memory[seen].float().mean())


def test_held_out_images_are_answered_by_the_mean(
    teacher: CrossFittedTeacher, taught_by: TrainRequest, data: ImageData
) -> None:
    networks = [load_model(folder) for folder in taught_by.members]
    right = images = 0
    for batch in evaluation_batches(data, "validation", batch_size=64):
        with torch.no_grad():
            mean = sum(network(batch.pixels).softmax(1).numpy() for network in networks) / FOLDS
        assert teacher.classify(batch).tolist() == mean.argmax(1).tolist()
        right += int((mean.argmax(1) == batch.labels.numpy()).sum())
        images += len(batch)
    labels, answers = answers_to(data, "validation", {"teacher": taught_by.folder})
    assert (int((answers["teacher"] == labels).sum()), len(labels)) == (right, images)
    model = description(taught_by.folder)
    assert model is not None
    assert model["metrics"]["validation_accuracy"] == pytest.approx(right / images)
    assert model["weights"] == teacher.digest
    assert model["seconds"] == pytest.approx(sum((description(m) or {})["seconds"] for m in taught_by.members))


def test_the_bank_holds_what_they_answer(teacher: CrossFittedTeacher, data: ImageData) -> None:
    images = training_batches(data, batch_size=25)
    assert isinstance(images, WholeViews)
    settings = spec().bank.model_copy(update={"precision": "float32"})
    bank = Bank(settings, teacher, images, data.info, Team())
    assert bank.store(2)
    for batch in images.epoch(2):  # type: ignore[attr-defined]
        torch.testing.assert_close(bank.answers(2)[batch.indices], teacher.answer(batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["kd", "dist", "fitnet", "crd", "reviewkd"])
def test_students_learn_from_them_alone_or_in_a_class(taught_by: TrainRequest, tmp_path: Path, method: str) -> None:
    what = spec(method={"name": method})
    alone = request_for(what, tmp_path / "alone", taught_by.folder)
    assert train(alone)[-1].finished
    others = [request_for(what, tmp_path / name, taught_by.folder) for name in ("one", "other")]
    reports = train(*others)
    assert all(of(reports, name)[-1].finished for name in ("one", "other"))
    assert same(state(tmp_path / "alone"), state(tmp_path / "one"))
    assert 0 < reports[-1].metrics["wrong_share"] < 1


def test_a_restarted_student_becomes_the_same(taught_by: TrainRequest, tmp_path: Path) -> None:
    undisturbed = request_for(spec(), tmp_path / "undisturbed", taught_by.folder)
    resumed = request_for(spec(), tmp_path / "resumed", taught_by.folder)
    train(undisturbed)
    train(resumed, epochs=1)
    train(resumed)
    assert same(state(tmp_path / "undisturbed"), state(tmp_path / "resumed"))


def test_teachers_of_other_folds_are_refused(taught_by: TrainRequest, tmp_path: Path) -> None:
    cache = shutil.copytree(Path(taught_by.folder).parent, tmp_path / "cache")
    folder = cache / Path(taught_by.folder).name
    content = description(folder)
    assert content is not None
    write_description(folder, content | {"members": content["members"][::-1]})
    (report,) = train(request_for(spec(), tmp_path / "student", folder))
    assert report.failure is not None
    assert "was not trained without fold 0 of these images" in report.failure


def test_teachers_of_other_images_are_refused(taught_by: TrainRequest, tmp_path: Path) -> None:
    (report,) = train(request_for(spec(data={"seed": 1}), tmp_path / "student", taught_by.folder))
    assert report.failure is not None
    assert "was not trained without fold 0 of these images" in report.failure


def test_teachers_that_are_one_already_are_found(taught_by: TrainRequest) -> None:
    room = Classroom(Team())
    (report,) = train(replace(taught_by, ticket="again"), classroom=room)
    assert report.finished
    assert not room.seated


def test_requests_for_teachers(tmp_path: Path) -> None:
    plan = requests_of(with_teachers(tmp_path))
    assert [request.spec.data.left_out for request in plan] == [(0, 3), (1, 3), (2, 3), None]
    assert plan[-1].members == tuple(request.folder for request in plan[:3])
    assert len({request.folder for request in plan}) == 4
    generous = requests_of(with_teachers(tmp_path, teacher__kind="generous"))
    assert [kind_of(request) for request in generous] == ["standard", "generous"] * 3 + ["generous"]
    assert [request.folder for request in generous[0:6:2]] == [request.folder for request in plan[:3]]
    # Each is taught by the one that lacks the same fold.
    assert [request.teacher for request in generous[1:6:2]] == [request.folder for request in plan[:3]]
    assert generous[-1].members == tuple(request.folder for request in generous[1:6:2])


def test_noise_of_the_teachers_alone(tmp_path: Path) -> None:
    clean, noisy = requests_of(with_teachers(tmp_path)), requests_of(with_teachers(tmp_path, teacher__label_noise=0.2))
    assert [request.data for request in clean] == [request.data for request in noisy]
    assert not {request.folder for request in clean} & {request.folder for request in noisy}
    assert {request.spec.data.label_noise for request in noisy} == {0.2}
    both = with_teachers(tmp_path, data__label_noise=0.2)
    assert [request.folder for request in requests_of(both)] == [request.folder for request in noisy]
    assert both.training_spec().data.label_noise == 0.2
    alone = with_teachers(tmp_path, data__label_noise=0.2, teacher__label_noise=0.0)
    assert [request.folder for request in requests_of(alone)] == [request.folder for request in clean]
