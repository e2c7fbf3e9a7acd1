"""The losses alone: values against independent ones and against raykd's own training, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import raykd
from raykd.errors import RaykdError
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod
from raykd.losses import DIST, DKD, KD, BiasRectifiedKD, DistillationLoss, FeatureDistillation, GenerousTeacherLoss
from raykd.models import build_model
from raykd.settings_io import override
from raykd.study.published import PAPERS
from raykd.training.build import build_objective

ANSWERS = [name for name, method in METHODS.items() if issubclass(method, AnswerMethod)]
FEATURES = [name for name, method in METHODS.items() if issubclass(method, FeatureMethod)]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of student and teacher, and labels; the teacher is right about some and wrong about others."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(32, 10, generator=generator) for _ in range(2))
    labels = torch.where(torch.arange(32) % 3 == 0, torch.arange(32) % 10, teacher.argmax(1))
    return student.requires_grad_(), teacher.requires_grad_(), labels


def test_kd_is_cross_entropy_and_the_divergence_of_softened_answers(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    for temperature, ce_weight, kd_weight in ((4.0, 0.5, 0.5), (1.0, 0.0, 2.0), (7.5, 0.1, 0.9)):
        loss = KD(temperature=temperature, ce_weight=ce_weight, kd_weight=kd_weight)
        divergence = nn.KLDivLoss(reduction="batchmean")(
            F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
        )
        expected = ce_weight * F.cross_entropy(student, labels) + kd_weight * temperature**2 * divergence
        torch.testing.assert_close(loss(student, teacher, labels), expected)


def test_dkd_is_what_its_paper_says(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = (values.double() if values.is_floating_point() else values for values in batch)
    target = F.one_hot(labels, 10).bool()
    p, q = (F.softmax(logits / 4, 1) for logits in (teacher, student))
    binary = [torch.stack([each[target], 1 - each[target]], 1) for each in (p, q)]
    others = [F.softmax((logits / 4)[~target].view(32, 9), 1) for logits in (teacher, student)]
    parts = [F.kl_div(mine.log(), theirs, reduction="batchmean") for theirs, mine in (binary, others)]
    expected = F.cross_entropy(student, labels) + 16 * (parts[0] + 8 * parts[1])
    loss = DKD(ce_weight=1.0, kd_weight=1.0, non_target_weight=8.0)
    torch.testing.assert_close(loss(*batch).double(), expected, rtol=1e-4, atol=1e-4)


def test_dist_is_one_minus_correlations_of_rows_and_columns(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    p, q = (F.softmax(logits, 1) for logits in (teacher, student))

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1).mean()

    expected = 2 * distance(p, q) + 2 * distance(p.T, q.T)
    loss = DIST(ce_weight=0.0, kd_weight=1.0, temperature=1.0, floor=0.0)
    torch.testing.assert_close(loss(student, teacher, labels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("epoch", [0, 60, 120, 240])
def test_the_papers_losses_are_those_of_raykds_training(batch: tuple[Tensor, Tensor, Tensor], epoch: int) -> None:
    published = override(raykd.Experiment(), PAPERS["teachers_bias"] | {"method.name": "kd"})
    generous = raykd.Experiment(teacher=raykd.TeacherSettings(kind="generous"))
    pairs = [
        (BiasRectifiedKD(240), published.training_spec()),
        (GenerousTeacherLoss(240), generous.generous_teacher_spec()),
    ]
    for loss, spec in pairs:
        expected = build_objective(spec)(*batch, epoch=epoch, epochs=240)
        assert torch.equal(loss(*batch, epoch=epoch), expected.total)
        assert loss.losses(*batch, epoch=epoch).parts.keys() == expected.parts.keys()


def test_weight_moves_over_the_epochs(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    loss = BiasRectifiedKD(10, ce_weight=0.0, kd_weight=1.0)
    first, middle, last = (loss.losses(*batch, epoch=epoch) for epoch in (0, 5, 10))
    torch.testing.assert_close(first.total.detach(), first.parts["right"])
    torch.testing.assert_close(last.total.detach(), last.parts["rectified"])
    torch.testing.assert_close(middle.total.detach(), (middle.parts["right"] + middle.parts["rectified"]) / 2)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_method_of_answers_teaches(batch: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    student, teacher, labels = batch
    loss = DistillationLoss(name, epochs=10)
    loss(student, teacher, labels, epoch=3).backward()
    assert student.grad is not None and student.grad.isfinite().all() and student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert all(parameter.grad is not None for parameter in loss.parameters())
    # In the precision of a GPU's forward pass it is the same but for that.
    half = loss(student.detach().bfloat16(), teacher.detach().bfloat16(), labels, epoch=3)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(student, teacher, labels, epoch=3), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", FEATURES)
def test_every_method_of_features_teaches(name: str) -> None:
    torch.manual_seed(0)
    settings = [raykd.ModelSettings(name=model, arguments={"width": 0.5}) for model in ("resnet8", "resnet14")]
    student, teacher = (build_model(each, num_classes=10, in_channels=3).train() for each in settings)
    labels = torch.arange(40) % 10
    loss = FeatureDistillation(name, student, teacher, (3, 16, 16), labels=labels if name == "crd" else None)
    images, indices = torch.rand(8, 3, 16, 16), torch.arange(8)
    step = loss(images, labels[:8], indices=indices)
    step.loss.backward()
    assert step.parts["features"] > 0
    assert step.logits.shape == (8, 10)
    assert all(parameter.grad is not None for parameter in (*student.parameters(), *loss.parameters()))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training and student.training
    # The networks' own parameters are not the method's.
    assert not {*map(id, loss.parameters())} & {*map(id, student.parameters()), *map(id, teacher.parameters())}


def test_answers_beside_features_are_repaired_as_alone() -> None:
    torch.manual_seed(0)
    student, teacher = (build_model(raykd.ModelSettings(name="resnet8"), num_classes=10, in_channels=1) for _ in "12")
    repair = {"bias": raykd.BiasSettings(form="pair"), "epochs": 10, "label_smoothing": 0.1}
    loss = FeatureDistillation("fitnet", student, teacher, (1, 16, 16), beside="dkd", weight=3.0, **repair)
    images, labels = torch.rand(8, 1, 16, 16), torch.arange(8)
    step = loss(images, labels, epoch=5)
    answers = DKD(**repair)(step.logits, teacher(images), labels, epoch=5)
    torch.testing.assert_close(step.loss, answers + 3 * step.parts["features"])
    with pytest.raises(RaykdError, match="epochs is missing: the schedule cosine"):
        FeatureDistillation("fitnet", student, teacher, (1, 16, 16), bias=raykd.BiasSettings(form="pair"))


def test_features_are_never_left_out_of_a_loss(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher = (build_model(raykd.ModelSettings(name="resnet8"), num_classes=10, in_channels=1) for _ in "12")
    loss = FeatureDistillation("fitnet", student, teacher, (1, 16, 16))
    with pytest.raises(ValueError, match="gets no hints"):
        loss._objective(*batch, epoch=0, epochs=1)


def test_layers_may_be_named() -> None:
    student, teacher = (build_model(raykd.ModelSettings(name="resnet8"), num_classes=10, in_channels=1) for _ in "12")
    named = {"student_layers": ("layer1",), "teacher_layers": ("layer3",)}
    with pytest.raises(RaykdError, match="fitnet"):
        FeatureDistillation("fitnet", student, teacher, (1, 16, 16), **named | {"teacher_layers": ("layer3", "layer2")})
    with pytest.raises(RaykdError, match="unknown hint layer 'layer9'"):
        FeatureDistillation("fitnet", student, teacher, (1, 16, 16), **named | {"student_layers": ("layer9",)})
    same = FeatureDistillation(
        "fitnet", student, teacher, (1, 16, 16), student_layers=("layer2",), teacher_layers=("layer2",)
    )
    assert "features" in same(torch.rand(4, 1, 16, 16), torch.arange(4)).parts


REFUSED: dict[str, tuple[Any, str]] = {
    "features": (lambda: DistillationLoss("fitnet"), "method fitnet compares features.*use FeatureDistillation"),
    "no teacher": (lambda: DistillationLoss("cross_entropy"), "cross_entropy has no teacher"),
    "name": (lambda: DistillationLoss("dkkd"), "did you mean 'dkd'"),
    "setting": (lambda: DKD(non_target_wait=2.0), "non_target_wait.*did you mean.*non_target_weight"),
    "value": (lambda: KD(temperature=-1.0), "temperature.value"),
    "weight": (lambda: KD(kd_weight=-1.0), "objective.kd_weight"),
    "repair": (lambda: BiasRectifiedKD(10, repair="par"), "bias.form"),  # type: ignore[arg-type]
    "strength": (lambda: BiasRectifiedKD(10, strength=2.0), "bias.strength"),
    "generous": (lambda: GenerousTeacherLoss(multiplyer=2.0), "multiplyer"),
    "schedule": (lambda: KD(bias=raykd.BiasSettings(form="pair")), "epochs is missing: the schedule cosine"),
    "warm-up": (lambda: KD(warmup_epochs=3), "epochs is missing: with warmup_epochs"),
    "epochs": (lambda: KD(epochs=0), "training.epochs"),
    "answers": (lambda: FeatureDistillation("kd", nn.Linear(1, 1), nn.Linear(1, 1), (1, 8, 8)), "answers alone"),
    "no features": (
        lambda: FeatureDistillation("fitnet", nn.Linear(1, 1), nn.Linear(1, 1), (1, 8, 8), weight=0.0),
        "fitnet has weight 0",
    ),
    "labels": (lambda: FeatureDistillation("crd", nn.Linear(1, 1), nn.Linear(1, 1), (1, 8, 8)), "labels is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_in_a_line_or_two(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(RaykdError, match=message) as caught:
        make()
    assert len(str(caught.value).splitlines()) <= 2


def test_an_epoch_that_there_is_not_is_refused(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="epoch"):
        BiasRectifiedKD(10)(*batch, epoch=11)
    # Where the epoch does not matter, any will do.
    assert torch.equal(KD()(*batch, epoch=11), KD()(*batch))
