"""The functions kd and dkd against references in probabilities, and where probabilities break down."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchdistill.losses.mid_level import KDLoss, LogitStdKDLoss

from raykd.knowledge import dkd, kd
from raykd.knowledge.methods.dkd import non_target_kd, target_kd
from tests.helpers.logit_batches import constant, std

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)
METHODS = {
    "kd": kd,
    "dkd": partial(dkd, target_weight=1.0, non_target_weight=8.0),
    "target": target_kd,
    "non_target": non_target_kd,
}


def batch(seed: int, rows: int = 5, classes: int = 6, scale: float = 2.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * scale
    return student, teacher, torch.randint(classes, (rows,), generator=generator)


def loop_reference(name: str, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Textbook sums over probabilities, one sample and one class at a time."""
    losses = []
    for v, z, y in zip(student.numpy(), teacher.numpy(), labels.tolist(), strict=True):
        q, p = np.exp(v) / np.exp(v).sum(), np.exp(z) / np.exp(z).sum()
        full = sum(p[k] * math.log(p[k] / q[k]) for k in range(len(p)))
        target = p[y] * math.log(p[y] / q[y]) + (1 - p[y]) * math.log((1 - p[y]) / (1 - q[y]))
        non_target = 0.0
        for k in set(range(len(p))) - {y}:
            p_k, q_k = p[k] / (1 - p[y]), q[k] / (1 - q[y])
            non_target += p_k * math.log(p_k / q_k)
        losses.append({"kd": full, "target": target, "non_target": non_target, "dkd": target + 8 * non_target}[name])
    return losses


def gradient_reference(name: str, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Derivatives by hand: softmax differences, of all classes, of the label's odds, and of the other classes."""
    gradients = np.zeros(student.shape)
    for i, (v, z, y) in enumerate(zip(student.numpy(), teacher.numpy(), labels.tolist(), strict=True)):
        q, p = np.exp(v) / np.exp(v).sum(), np.exp(z) / np.exp(z).sum()
        rest = np.arange(len(p)) != y
        q_rest = np.where(rest, q, 0) / (1 - q[y])
        p_rest = np.where(rest, p, 0) / (1 - p[y])
        target = (q[y] - p[y]) * np.where(rest, -q_rest, 1.0)
        gradients[i] = {
            "kd": q - p,
            "target": target,
            "non_target": q_rest - p_rest,
            "dkd": target + 8 * (q_rest - p_rest),
        }[name]
    return gradients


@pytest.mark.parametrize("name", METHODS)
@few
@given(seed=seeds, classes=st.integers(2, 12))
def test_values_and_gradients_are_the_textbook_ones(name, seed, classes):
    student, teacher, labels = batch(seed, classes=classes)
    expected = loop_reference(name, student, teacher, labels)
    expected_gradient = gradient_reference(name, student, teacher, labels)
    student.requires_grad_()
    loss = METHODS[name](student, teacher, labels)
    loss.sum().backward()
    assert loss.shape == (5,)
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(student.grad.numpy(), expected_gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_agree_with_differences(name):
    student, teacher, labels = batch(3, rows=2, classes=4)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: METHODS[name](v, teacher, labels), [student])


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_kd_is_torchdistill_s_kd(temperature):
    student, teacher, labels = (x.float() if x.is_floating_point() else x for x in batch(4))
    oracle = KDLoss(".", "output", ".", "output", temperature=temperature, alpha=0.1, beta=0.9)
    ours, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
    expected = oracle({".": {"output": theirs}}, {".": {"output": teacher}}, labels)
    policy = constant(temperature)
    t = policy.of(teacher)
    distillation = (policy.squared_weight(t) * kd(ours / policy.of(ours), teacher / t, labels)).mean()
    loss = 0.1 * torch.nn.functional.cross_entropy(ours, labels) + 0.9 * distillation
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("base", [1.0, 2.0, 6.0])
def test_std_temperature_weighed_by_its_multiplier_is_torchdistill_s_logit_standardisation(base):
    student, teacher, labels = (x.float() if x.is_floating_point() else x for x in batch(5))
    oracle = LogitStdKDLoss(".", "output", ".", "output", temperature=base, alpha=1e-9, beta=9.0)
    ours, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
    expected = oracle({".": {"output": theirs}}, {".": {"output": teacher}}, labels)
    policy = std(base, "multiplier")
    t = policy.of(teacher)
    loss = 9 * (policy.squared_weight(t) * kd(ours / policy.of(ours), teacher / t, labels)).mean()
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@few
@given(seed=seeds, classes=st.integers(2, 30), scale=st.floats(0.1, 5))
def test_kd_is_target_plus_its_share_of_non_target(seed, classes, scale):
    student, teacher, labels = batch(seed, classes=classes, scale=scale)
    p_label = torch.softmax(teacher, dim=1).gather(1, labels[:, None])[:, 0]
    parts = target_kd(student, teacher, labels) + (1 - p_label) * non_target_kd(student, teacher, labels)
    torch.testing.assert_close(parts, kd(student, teacher, labels), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", METHODS)
@few
@given(seed=seeds, student_shift=st.floats(-50, 50), teacher_shift=st.floats(-50, 50))
def test_shifting_a_row_changes_nothing(name, seed, student_shift, teacher_shift):
    student, teacher, labels = batch(seed)
    shifted = METHODS[name](student + student_shift, teacher + teacher_shift, labels)
    torch.testing.assert_close(shifted, METHODS[name](student, teacher, labels), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_a_student_equal_to_its_teacher_has_no_loss_and_a_different_one_has(name):
    student, teacher, labels = batch(6)
    torch.testing.assert_close(METHODS[name](teacher, teacher, labels), torch.zeros(5, dtype=torch.float64))
    assert (METHODS[name](student, teacher, labels) > 0).all()


@pytest.mark.parametrize("temperature", [1e-4, 0.01, 1.0, 1e4])
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("name", METHODS)
def test_extreme_logits_stay_finite(name, scale, temperature):
    student, teacher, labels = batch(7, rows=16, classes=10, scale=scale)
    # Confident in the label, confident in another class, and agreeing.
    for row, (student_class, teacher_class) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        labels[row] = 0
        student[row, student_class] += 10 * scale
        teacher[row, teacher_class] += 10 * scale
    student, teacher = student.float().requires_grad_(), teacher.float()
    loss = METHODS[name](student / temperature, teacher / temperature, labels)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(student.grad).all()
    assert (loss > -1e-5).all()


def test_dkd_of_hopelessly_apart_rows_has_the_right_value():
    # The teacher is sure of the label, the student as sure of another class: TCKD is the student's log-odds.
    teacher = torch.tensor([[2000.0, 0.0, -1000.0]])
    student = torch.tensor([[0.0, 3000.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    assert target_kd(student, teacher, label).item() == pytest.approx(3000.0)
    # Among the others the teacher says class 1, and so does the student.
    assert non_target_kd(student, teacher, label).item() == 0.0
    target_kd(student, teacher, label).sum().backward()
    torch.testing.assert_close(student.grad, torch.tensor([[-1.0, 1.0, 0.0]]))


def test_the_target_column_is_left_out_exactly():
    # A mask of -1000 leaves this target the largest of all.
    teacher = torch.tensor([[5000.0, 1.0, 2.0]])
    student = torch.tensor([[9000.0, 2.0, 1.0]])
    p, q = 1 / (1 + math.e), math.e / (1 + math.e)
    expected = p * math.log(p / q) + q * math.log(q / p)
    assert non_target_kd(student, teacher, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


def test_two_classes_have_no_non_target_knowledge():
    student, teacher, labels = batch(8, classes=2)
    assert non_target_kd(student, teacher, labels).tolist() == [0.0] * 5
    torch.testing.assert_close(target_kd(student, teacher, labels), kd(student, teacher, labels))


@pytest.mark.parametrize("name", ["dkd", "target", "non_target"])
def test_one_class_is_refused(name):
    with pytest.raises(ValueError, match="2 classes"):
        METHODS[name](torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))


def test_dkd_weighs_its_parts():
    student, teacher, labels = batch(9)
    expected = 0.5 * target_kd(student, teacher, labels) + 3.0 * non_target_kd(student, teacher, labels)
    torch.testing.assert_close(dkd(student, teacher, labels, target_weight=0.5, non_target_weight=3.0), expected)
