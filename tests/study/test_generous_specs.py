"""The generous teacher's loss and each of its ablations, against the formulas written out in float64, loop by loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raykd.config import Ablation, Experiment
from raykd.errors import RaykdError
from raykd.settings_io import override
from raykd.study.compare_teachers import ABLATIONS, contenders
from raykd.training.build import build_objective

CLASSES, SAMPLES = 7, 12
WEIGHT, WARMUP = 1.7, 4


def spread(row: Sequence[float]) -> float:
    """The unbiased standard deviation."""
    mean = math.fsum(row) / len(row)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in row) / (len(row) - 1))


def softened(row: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp((value - max(row)) / temperature) for value in row]
    return [power / math.fsum(powers) for power in powers]


def divergence(p: Sequence[float], q: Sequence[float]) -> float:
    return math.fsum(mine * math.log(mine / other) for mine, other in zip(p, q, strict=True))


def without(row: Sequence[float], label: int) -> list[float]:
    return [*row[:label], *row[label + 1 :]]


def knowledge_lost(teacher: list[float], student: list[float], label: int, kind: dict[str, Any]) -> float:
    """What one sample adds to the distillation, with its squared temperature."""
    fixed = kind.get("policy") == "constant"
    hot = kind.get("value", 4.0) if fixed else kind.get("multiplier", 1.0) * spread(teacher)
    least = kind.get("floor", 0.1) * spread(teacher)
    own = kind.get("value", 4.0) if fixed else kind.get("multiplier", 1.0) * max(spread(student), least)
    p, q = softened(teacher, hot), softened(student, own)
    others = divergence(softened(without(teacher, label), hot), softened(without(student, label), own))
    match kind.get("knowledge", "non_target"):
        case "non_target":
            lost = WEIGHT * others
        case "full":
            lost = WEIGHT * divergence(p, q)
        case "decoupled":
            target = divergence([p[label], 1 - p[label]], [q[label], 1 - q[label]])
            lost = kind.get("target_weight", 1.0) * target + WEIGHT * others
    return hot**2 * lost


def expected(
    teacher: torch.Tensor, student: torch.Tensor, labels: list[int], epoch: int, kind: dict[str, Any]
) -> float:
    total = 0.0
    for t, s, label in zip(teacher.double().tolist(), student.double().tolist(), labels, strict=True):
        total -= math.log(softened(s, 1.0)[label])
        if kind.get("wrong") != "drop" or t.index(max(t)) == label:
            total += min(epoch / WARMUP, 1.0) * knowledge_lost(t, s, label, kind)
    return total / len(labels)


KINDS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "another multiplier": {"multiplier": 2.5},
    "fixed temperature": {"policy": "constant"},
    "another fixed temperature": {"policy": "constant", "value": 2.0},
    "the paper's to the letter": {"floor": 0.0},
    "full KL": {"knowledge": "full"},
    "full DKD": {"knowledge": "decoupled"},
    "full DKD, target weighed": {"knowledge": "decoupled", "target_weight": 0.3},
    "masked": {"wrong": "drop"},
    "all at once": {"knowledge": "full", "policy": "constant", "value": 3.0, "wrong": "drop"},
}


def generous(kind: dict[str, Any]) -> Experiment:
    settings = {"weight": WEIGHT, "warmup_epochs": WARMUP} | kind
    return override(Experiment(), {f"teacher.generous.{name}": value for name, value in settings.items()})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 10))
def test_each_kind_of_generosity_has_the_loss_of_its_formula(kind: dict[str, Any], seed: int, epoch: int) -> None:
    random = torch.Generator().manual_seed(seed)
    teacher = 3 * torch.randn(SAMPLES, CLASSES, generator=random)
    student = 2 * torch.randn(SAMPLES, CLASSES, generator=random)
    # A good teacher: right about most samples, by chance wrong about some.
    labels = torch.where(
        torch.rand(SAMPLES, generator=random) < 0.7, teacher.argmax(1), torch.arange(SAMPLES) % CLASSES
    )
    objective = build_objective(generous(kind).generous_teacher_spec())
    losses = objective(student, teacher, labels, epoch=epoch, epochs=10)
    assert losses.total.item() == pytest.approx(expected(teacher, student, labels.tolist(), epoch, kind), rel=1e-4)


def test_dropping_wrong_answers_leaves_the_right_ones_at_their_weight() -> None:
    """The masked loss differs from the paper's by the wrong samples' own terms and by nothing else."""
    teacher = torch.eye(4) * 5 + torch.arange(4) / 3
    student = torch.arange(16.0).view(4, 4).sin()
    labels = torch.tensor([0, 1, 2, 0])
    paper, masked = (build_objective(generous(kind).generous_teacher_spec()) for kind in ({}, {"wrong": "drop"}))
    student.requires_grad_()
    gradients = [
        torch.autograd.grad(objective(student, teacher, labels, epoch=9, epochs=10).total, student)[0]
        for objective in (paper, masked)
    ]
    assert torch.allclose(gradients[0][:3], gradients[1][:3])
    assert not torch.allclose(gradients[0][3], gradients[1][3])


def test_equal_losses_are_the_same_lesson_whatever_idle_settings_say() -> None:
    spec = generous({}).generous_teacher_spec()
    assert generous({"value": 9.0, "target_weight": 5.0}).generous_teacher_spec() == spec
    fixed = generous({"policy": "constant"}).generous_teacher_spec()
    assert generous({"policy": "constant", "multiplier": 9.0}).generous_teacher_spec() == fixed
    decoupled = generous({"knowledge": "decoupled"}).generous_teacher_spec()
    assert generous({"knowledge": "decoupled", "target_weight": 5.0}).generous_teacher_spec() != decoupled


def test_each_ablation_changes_one_setting_and_gives_a_teacher_of_its_own() -> None:
    assert set(ABLATIONS) == set(get_args(Ablation))
    experiment = override(Experiment(), {"comparison.ablations": tuple(ABLATIONS), "comparison.seeds": 2})
    found, _ = contenders(experiment, "abc")
    assert [each.name for each in found] == ["plain", "standard", "generous", *ABLATIONS]
    folders = [each.chain[-1].folder for each in found if each.chain]
    assert len(set(folders)) == len(folders) == 6
    (standard,) = found[1].chain
    for each in found[2:]:
        assert each.chain[0].folder == standard.folder
        assert each.chain[-1].teacher == standard.folder
    students = [student for each in found for student in each.students.values()]
    assert len({student.student for student in students}) == len({student.folder for student in students}) == 14


def test_all_students_of_a_seed_have_the_same_lesson_and_budget() -> None:
    experiment = override(Experiment(), {"comparison.seeds": 2, "training.seed": 5})
    (plain, standard, generous_one), _ = contenders(experiment, "abc")
    for seed in (5, 6):
        assert standard.students[seed].spec == generous_one.students[seed].spec
        assert standard.students[seed].spec.training == plain.students[seed].spec.training
        assert standard.students[seed].spec.training.seed == seed
        assert plain.students[seed].teacher is None
    assert standard.students[5].spec.training == experiment.training.model_copy(update={"stacking": "off"})


def test_what_cannot_be_compared_is_refused() -> None:
    same = {"teacher.generous.knowledge": "full", "comparison.ablations": ("full_kl",)}
    with pytest.raises(RaykdError, match="full_kl"):
        contenders(override(Experiment(), same), "abc")
    with pytest.raises(RaykdError, match="kd_weight"):
        contenders(override(Experiment(), {"objective.kd_weight": 0.0}), "abc")
