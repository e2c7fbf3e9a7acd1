"""What a student reports: every number against one that is computed another way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from raykd.config import TrainingSpec
from raykd.data import load_data, training_batches
from raykd.training.build import build_learning_rate, build_optimizer
from raykd.training.folder import description
from raykd.training.saved import load_model
from tests.helpers.specs import plain, request_for, spec, train

OF_ALL = {
    "loss", "cross_entropy", "train_accuracy", "validation_accuracy", "validation_loss", "best_validation_accuracy",
    "best_epoch", "learning_rate", "view", "class_size", "stack_size", "stack_slot", "seconds", "images_per_second",
    "banked", "compiled",
}  # fmt: skip
OF_THE_TAUGHT = {
    "distillation", "right", "rectified", "wrong_share", "teacher_temperature", "student_temperature",
    "teacher_agreement", "right_weight", "kd_weight",
}  # fmt: skip


def test_a_plain_student_reports_exactly_these_metrics(tmp_path: Path) -> None:
    for report in train(request_for(plain(), tmp_path / "student")):
        assert report.metrics.keys() == OF_ALL


@pytest.mark.parametrize("form", ["pair", "drop", "keep"])
def test_a_taught_student_reports_exactly_these_metrics(tmp_path: Path, teacher: Path, form: str) -> None:
    for report in train(request_for(spec(bias={"form": form}), tmp_path / "student", teacher)):
        assert report.metrics.keys() == OF_ALL | OF_THE_TAUGHT
        assert all(type(value) in (int, float) and math.isfinite(value) for value in report.metrics.values())


def test_epochs_count_from_one_and_the_best_is_the_earliest_of_the_best(tmp_path: Path) -> None:
    reports = train(request_for(plain(training={"epochs": 6, "learning_rate": 0.2}), tmp_path / "student"))
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert [report.last for report in reports] == [False] * 5 + [True]
    accuracies = [report.metrics["validation_accuracy"] for report in reports]
    for epoch, report in enumerate(reports, start=1):
        best = max(accuracies[:epoch])
        assert report.metrics["best_validation_accuracy"] == best
        assert report.metrics["best_epoch"] == accuracies.index(best) + 1
    assert description(tmp_path / "student")["metrics"] == reports[-1].metrics


def test_validation_metrics_are_those_of_the_finished_models(tmp_path: Path, teacher: Path) -> None:
    metrics = train(request_for(spec(), tmp_path / "student", teacher))[-1].metrics
    validation = load_data(spec().data).split("validation")
    pixels = validation.images.float() / 255
    with torch.no_grad():
        logits = load_model(tmp_path / "student")(pixels)
    answers = logits.argmax(1)
    assert metrics["validation_accuracy"] == pytest.approx((answers == validation.labels).double().mean().item())
    assert metrics["validation_loss"] == pytest.approx(F.cross_entropy(logits, validation.labels).item(), rel=1e-5)
    agreement = (answers == load_model(teacher).predict(pixels)).double().mean().item()
    assert metrics["teacher_agreement"] == pytest.approx(agreement)


def test_the_wrong_share_is_that_of_the_teacher_on_the_view(tmp_path: Path, teacher: Path) -> None:
    reports = train(request_for(spec(), tmp_path / "student", teacher))
    batches = training_batches(load_data(spec().data), batch_size=25)
    model = load_model(teacher)
    for view, report in enumerate(reports):
        shares = [(model.predict(batch.pixels) != batch.labels).double().mean() for batch in batches.epoch(view)]
        assert 0 < report.metrics["wrong_share"] == pytest.approx(torch.stack(shares).mean().item())
        assert report.metrics["view"] == view


def test_the_first_step_is_the_objectives(tmp_path: Path) -> None:
    # One batch an epoch: the first report's loss and accuracy are those of the initial weights on the first view.
    one = plain(training={"batch_size": 100, "epochs": 1}, student={"name": "tests.helpers.networks:Plain"})
    still = plain(
        training={"batch_size": 100, "epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0},
        student={"name": "tests.helpers.networks:Plain"},
    )
    report = train(request_for(one, tmp_path / "student"))[0]
    train(request_for(still, tmp_path / "initial"))
    (batch,) = training_batches(load_data(one.data), batch_size=100).epoch(0)
    with torch.no_grad():
        logits = load_model(tmp_path / "initial")(batch.pixels)
    assert report.metrics["loss"] == pytest.approx(F.cross_entropy(logits, batch.labels).item(), rel=1e-5)
    assert report.metrics["train_accuracy"] == pytest.approx((logits.argmax(1) == batch.labels).double().mean().item())


def test_the_loss_is_made_of_its_parts(tmp_path: Path, teacher: Path) -> None:
    what = spec(objective={"ce_weight": 0.7, "kd_weight": 2.0, "warmup_epochs": 2}, training={"epochs": 4})
    for epoch, report in enumerate(train(request_for(what, tmp_path / "student", teacher))):
        metrics = report.metrics
        right_weight = math.cos(math.pi / 2 * epoch / 4) ** 2
        assert metrics["kd_weight"] == 2.0 * min(epoch / 2, 1)
        assert metrics["right_weight"] == pytest.approx(right_weight)
        distillation = right_weight * metrics["right"] + (1 - right_weight) * metrics["rectified"]
        assert metrics["distillation"] == pytest.approx(distillation, rel=1e-5)
        total = 0.7 * metrics["cross_entropy"] + metrics["kd_weight"] * distillation
        assert metrics["loss"] == pytest.approx(total, rel=1e-5)


def expected_rate(training: dict[str, Any], epoch: int) -> float:
    """The learning rate of an epoch, from 0, from the settings' own words."""
    epochs, warmup, peak = training["epochs"], training.get("warmup_epochs", 0), 0.05
    if epoch < warmup:
        return peak * (epoch + 1) / (warmup + 1)
    match training["decay"]:
        case "multistep":
            return peak * 0.1 ** sum(epoch >= round(share * epochs) for share in training["milestones"])
        case "cosine":
            return peak * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2
    return peak


@pytest.mark.parametrize("warmup", [0, 1, 3, 8, 10, 12])
@pytest.mark.parametrize(
    "decay",
    [
        {"decay": "multistep", "milestones": [0.5, 0.75, 0.9]},
        {"decay": "multistep", "milestones": [0.5, 0.5, 0.51]},
        {"decay": "multistep", "milestones": []},
        {"decay": "multistep", "milestones": [0.01, 0.99]},
        {"decay": "cosine"},
        {"decay": "constant"},
    ],
)
def test_the_learning_rate_follows_its_formula(decay: dict[str, Any], warmup: int) -> None:
    training = {"epochs": 10, "warmup_epochs": warmup} | decay
    settings = TrainingSpec.model_validate({"training": training}).training
    optimizer = build_optimizer(settings, [torch.nn.Parameter(torch.zeros(1))])
    schedule = build_learning_rate(settings, optimizer)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([expected_rate(training, epoch) for epoch in range(10)])


@pytest.mark.parametrize("decay", ["multistep", "cosine"])
def test_a_student_learns_at_the_rate_that_it_reports_also_after_an_interruption(tmp_path: Path, decay: str) -> None:
    training = {"epochs": 6, "warmup_epochs": 2, "decay": decay, "milestones": [0.5, 0.7]}
    request = request_for(
        plain(training=training, student={"name": "tests.helpers.networks:Plain"}), tmp_path / "student"
    )
    train(request, epochs=1)
    train(request, epochs=2)
    rates = [report.metrics["learning_rate"] for report in train(request)]
    assert rates == pytest.approx([expected_rate(training, epoch) for epoch in range(6)])


def one_step(folder: Path, **training: Any) -> tuple[float, float]:
    """The loss of a single step of plain gradient descent on the whole split, and how far it moved the weights."""
    settings = {"batch_size": 100, "epochs": 1, "momentum": 0.0, "weight_decay": 0.0, "decay": "constant"}
    weights = []
    for name, rate in (("moved", 1.0), ("still", 1e-30)):
        what = plain(
            training=settings | training | {"learning_rate": rate}, student={"name": "tests.helpers.networks:Plain"}
        )
        (report,) = train(request_for(what, folder / name))
        weights.append(torch.cat([tensor.flatten() for tensor in load_model(folder / name).network.parameters()]))
    return report.metrics["loss"], (weights[0] - weights[1]).norm().item()


def test_a_clipped_step_is_as_long_as_its_limit(tmp_path: Path) -> None:
    _, length = one_step(tmp_path / "free")
    assert length > 0.02
    assert one_step(tmp_path / "clipped", gradient_clip=0.01)[1] == pytest.approx(0.01, rel=1e-3)
    assert one_step(tmp_path / "loose", gradient_clip=100.0)[1] == pytest.approx(length)


def test_label_smoothing_is_in_the_loss_but_not_in_the_validation_loss(tmp_path: Path) -> None:
    sharp, _ = one_step(tmp_path / "sharp")
    smooth, _ = one_step(tmp_path / "smooth", label_smoothing=0.3)
    (batch,) = training_batches(load_data(spec().data), batch_size=100).epoch(0)
    logits = load_model(tmp_path / "sharp" / "still")(batch.pixels)
    assert sharp == pytest.approx(F.cross_entropy(logits, batch.labels).item(), rel=1e-5)
    assert smooth == pytest.approx(F.cross_entropy(logits, batch.labels, label_smoothing=0.3).item(), rel=1e-5)
    metrics = [description(tmp_path / name / "still")["metrics"]["validation_loss"] for name in ("sharp", "smooth")]
    assert metrics[0] == metrics[1]
