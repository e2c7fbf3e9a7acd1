"""The whole loss: its parts, weights, subsets and refusals; its values are in test_knowledge_objective_formula.py."""

import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torchdistill.losses.mid_level import KDLoss, LogitStdKDLoss

from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.knowledge import Objective, dkd, kd
from raykd.knowledge.methods.dkd import Dkd
from raykd.knowledge.methods.kd import Kd
from raykd.settings_io import override
from tests.helpers.logit_batches import (
    ANSWER_METHODS,
    FORMS,
    REPAIRED,
    always,
    batch,
    constant,
    cosine,
    gradient,
    repair_of,
    std,
    step,
    term_of,
)

PARTS = {
    "cross_entropy",
    "distillation",
    "right",
    "rectified",
    "wrong_share",
    "teacher_temperature",
    "student_temperature",
}


@pytest.mark.parametrize(
    ("temperature", "oracle"),
    [(constant(4.0), partial(KDLoss, temperature=4.0)), (std(2.0, "multiplier"), None)],
    ids=["kd", "standardised"],
)
def test_keep_is_the_field_s_plain_distillation(temperature, oracle):
    oracle = (oracle or partial(LogitStdKDLoss, temperature=2.0))(".", "output", ".", "output", alpha=0.1, beta=9.0)
    student, teacher, labels = batch(1)
    expected = oracle({".": {"output": student}}, {".": {"output": teacher}}, labels)
    objective = Objective(Kd().term(), temperature, repair_of("keep"), step(0.2), 0.1, 9.0, 0)
    losses = objective(student, teacher, labels, epoch=3, epochs=4)
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("term", "method"),
    [
        (Kd().term(), kd),
        (Dkd(non_target_weight=2.0).term(), partial(dkd, target_weight=1.0, non_target_weight=2.0)),
    ],
    ids=["kd", "dkd"],
)
@pytest.mark.parametrize("denominator", ["subset", "batch"])
def test_drop_is_the_method_on_right_rows_only(term, method, denominator):
    objective = replace(REPAIRED, bias=repair_of("drop", denominator=denominator), method=term)
    student, teacher, labels = batch(2)
    losses = objective(student, teacher, labels, epoch=1, epochs=4)
    is_right = teacher.argmax(dim=1) == labels
    distilled = 16 * method(student[is_right] / 4, teacher[is_right] / 4, labels[is_right])
    l_right = distilled.mean() if denominator == "subset" else distilled.sum() / len(labels)
    b = cosine().right_weight(0.25)
    expected = 0.5 * F.cross_entropy(student, labels) + 0.5 * b * l_right
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student))
    assert losses.parts["rectified"] == 0 and losses.parts["wrong_share"] == pytest.approx(1 / 3)


def test_strength_0_in_pair_form_is_the_teacher_as_it_is():
    student, teacher, labels = batch(3)
    losses = replace(REPAIRED, bias=repair_of("pair", 0.0))(student, teacher, labels, epoch=1, epochs=3)
    per_sample = 16 * kd(student / 4, teacher / 4, labels)
    is_wrong = teacher.argmax(dim=1) != labels
    torch.testing.assert_close(losses.parts["right"], per_sample[~is_wrong].mean().detach())
    torch.testing.assert_close(losses.parts["rectified"], per_sample[is_wrong].mean().detach())


def test_denominators_differ_by_the_subset_s_share():
    student, teacher, labels = batch(4, rows=12, wrong_rows=3)
    subset = REPAIRED(student, teacher, labels, epoch=1, epochs=2).parts
    whole = replace(REPAIRED, bias=repair_of("pair", denominator="batch"))(
        student, teacher, labels, epoch=1, epochs=2
    ).parts
    torch.testing.assert_close(whole["right"], subset["right"] * 9 / 12)
    torch.testing.assert_close(whole["rectified"], subset["rectified"] * 3 / 12)


@pytest.mark.parametrize("denominator", ["subset", "batch"])
@pytest.mark.parametrize(("wrong_rows", "empty", "full"), [(0, "rectified", "right"), (12, "right", "rectified")])
@pytest.mark.parametrize("form", FORMS)
def test_an_empty_subset_gives_0(form, wrong_rows, empty, full, denominator):
    objective = replace(REPAIRED, bias=repair_of(form, denominator=denominator))
    student, teacher, labels = batch(5, wrong_rows=wrong_rows)
    losses = objective(student, teacher, labels, epoch=1, epochs=2)
    assert losses.parts[empty] == 0
    assert torch.isfinite(losses.total) and torch.isfinite(gradient(losses.total, student)).all()
    assert losses.parts[full] > 0 or (form == "drop" and full == "rectified")


def test_schedule_and_warmup_weigh_the_parts():
    student, teacher, labels = batch(6)
    objective = replace(REPAIRED, warmup_epochs=8, ce_weight=0.25, kd_weight=3.0)
    for epoch in (0, 1, 4, 8, 16):
        losses = objective(student, teacher, labels, epoch=epoch, epochs=16)
        parts, b = losses.parts, cosine().right_weight(epoch / 16)
        torch.testing.assert_close(parts["distillation"], b * parts["right"] + (1 - b) * parts["rectified"])
        expected = 0.25 * parts["cross_entropy"] + 3.0 * min(epoch / 8, 1) * parts["distillation"]
        torch.testing.assert_close(losses.total.detach(), expected)
    by_step = replace(REPAIRED, schedule=step(0.5))
    before, after = (by_step(student, teacher, labels, epoch=epoch, epochs=16).parts for epoch in (7, 8))
    torch.testing.assert_close(before["distillation"], before["right"])
    torch.testing.assert_close(after["distillation"], after["rectified"])
    assert abs(before["right"] - before["rectified"]) > 0.01


def test_parts_are_detached_float32_scalars_with_the_documented_values():
    student, teacher, labels = batch(7)
    parts = replace(REPAIRED, temperature=std(2.0))(student, teacher, labels, epoch=0, epochs=1).parts
    assert set(parts) == PARTS
    for part in parts.values():
        assert part.shape == () and part.dtype == torch.float32 and not part.requires_grad
    torch.testing.assert_close(parts["cross_entropy"], F.cross_entropy(student, labels).detach())
    torch.testing.assert_close(parts["teacher_temperature"], 2 * teacher.std(dim=1).mean())
    torch.testing.assert_close(parts["student_temperature"], 2 * student.detach().std(dim=1).mean())
    assert parts["wrong_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_teacher_or_kd_weight_it_is_cross_entropy(smoothing):
    student, teacher, labels = batch(8)
    expected = 0.5 * F.cross_entropy(student, labels, label_smoothing=smoothing)
    objective = replace(REPAIRED, label_smoothing=smoothing)
    untaught = objective(student, None, labels, epoch=1, epochs=2)
    unweighed = replace(objective, kd_weight=0.0)(student, teacher, labels, epoch=1, epochs=2)
    no_method = replace(objective, method=None)(student, teacher, labels, epoch=1, epochs=2)
    for losses in (untaught, unweighed, no_method):
        torch.testing.assert_close(losses.total, expected)
        torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student))
        assert set(losses.parts) == {"cross_entropy"}
    taught = objective(student, teacher, labels, epoch=1, epochs=2).parts
    torch.testing.assert_close(taught["cross_entropy"], untaught.parts["cross_entropy"])


def test_the_teacher_gets_no_gradient():
    student, teacher, labels = batch(9)
    teacher.requires_grad_()
    REPAIRED(student, teacher, labels, epoch=1, epochs=2).total.backward()
    assert teacher.grad is None and student.grad is not None


def test_objectives_travel_between_processes():
    student, teacher, labels = batch(13)
    for name, form in [(name, "keep") for name in ANSWER_METHODS] + [("dkd", form) for form in FORMS]:
        objective = replace(REPAIRED, method=term_of(name), bias=repair_of(form, 0.5), warmup_epochs=20)
        travelled = pickle.loads(pickle.dumps(objective))
        expected = objective(student, teacher, labels, epoch=30, epochs=40)
        assert torch.equal(travelled(student, teacher, labels, epoch=30, epochs=40).total, expected.total)


def test_learned_parts_are_the_objective_s_modules():
    learning = replace(REPAIRED, method=term_of("ctkd"))
    assert learning.modules == [learning.method]
    assert REPAIRED.modules == [] == replace(REPAIRED, method=None).modules


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("bias.form", "mend"),
        ("bias.denominator", "half"),
        ("method.at.weight", float("nan")),
        ("training.label_smoothing", -0.1),
        ("objective.ce_weight", -1.0),
        ("objective.kd_weight", float("inf")),
        ("objective.warmup_epochs", -1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting, value):
    with pytest.raises(RaykdError, match=f"^{setting}: "):
        override(Experiment(), {setting: value})


def test_batches_that_do_not_fit_are_refused():
    student, teacher, labels = batch(14)
    for misfit, message in (
        ((student, teacher[:, :-1], labels), "same shape"),
        ((student, teacher, labels[:-1]), "class numbers"),
        ((student, teacher, F.one_hot(labels, 6).float()), "mixed labels"),
        ((student, teacher, labels.float()), "class numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            REPAIRED(*misfit, epoch=1, epochs=2)
    for epoch, epochs in ((-1, 2), (3, 2), (0, 0)):
        with pytest.raises(ValueError, match="epoch"):
            REPAIRED(student, teacher, labels, epoch=epoch, epochs=epochs)


def test_keep_ignores_schedule_and_denominator():
    student, teacher, labels = batch(15)
    plain = replace(REPAIRED, bias=repair_of("keep"))
    other = replace(plain, schedule=always(0.0), bias=repair_of("keep", denominator="batch"))
    expected = plain(student, teacher, labels, epoch=1, epochs=2).total
    assert torch.equal(other(student, teacher, labels, epoch=1, epochs=2).total, expected)
