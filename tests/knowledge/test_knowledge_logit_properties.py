"""What holds for every logit method: finite everywhere, blind to order and offset, satisfied with equals."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.logit_batches import (
    ANSWER_METHODS,
    FORMS,
    REPAIRED,
    SAMPLE_METHODS,
    answers_of,
    batch,
    constant,
    extreme,
    gradient,
    plain,
    repair_of,
    std,
    term_of,
)

few = settings(max_examples=6, deadline=None)
seeds = st.integers(0, 10**6)
TEMPERATURES = [
    *(constant(value) for value in (1e-4, 1e-3, 0.01, 1.0, 20.0, 1e4)),
    *(std(multiplier) for multiplier in (1e-4, 0.01, 1.0, 1e4)),
    std(2.0, "multiplier"),
]
mild = st.sampled_from([constant(4.0), std(1.5), std(2.0, "multiplier")])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ANSWER_METHODS)
@settings(max_examples=8, deadline=None)
@given(
    seed=seeds,
    scale=st.sampled_from([1.0, 100.0, 1e4]),
    amount=st.sampled_from([0.0, 0.5, 1.0]),
    temperature=st.sampled_from(TEMPERATURES),
)
def test_extremes_stay_finite_with_every_repair(method, form, seed, scale, amount, temperature):
    objective = replace(REPAIRED, method=term_of(method), bias=repair_of(form, amount), temperature=temperature)
    student, teacher, labels = extreme(seed, scale=scale)
    losses = objective(student, teacher, labels, epoch=1, epochs=2)
    assert torch.isfinite(losses.total) and all(torch.isfinite(part) for part in losses.parts.values())
    assert torch.isfinite(gradient(losses.total, student)).all()
    for learned in objective.modules:
        assert torch.isfinite(torch.autograd.grad(losses.total, learned.theta)[0])


@pytest.mark.parametrize("method", ANSWER_METHODS)
@few
@given(seed=seeds, temperature=mild, form=st.sampled_from(FORMS))
def test_the_order_of_samples_changes_nothing(method, seed, temperature, form):
    objective = replace(REPAIRED, method=term_of(method), bias=repair_of(form, 0.5), temperature=temperature)
    student, teacher, labels = batch(seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    straight = objective(student, teacher, labels, epoch=1, epochs=2)
    shuffled = objective(student[order], teacher[order], labels[order], epoch=1, epochs=2)
    torch.testing.assert_close(shuffled.total, straight.total)
    slopes = gradient(shuffled.total, student), gradient(straight.total, student)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", sorted({*ANSWER_METHODS} - {"mse"}))
@few
@given(seed=seeds, temperature=mild, form=st.sampled_from(FORMS), shifts=st.tuples(*[st.floats(-20, 20)] * 2))
def test_an_offset_of_all_logits_changes_no_distillation(method, seed, temperature, form, shifts):
    objective = replace(REPAIRED, method=term_of(method), bias=repair_of(form, 0.5), temperature=temperature)
    student, teacher, labels = batch(seed)
    moved = objective(student + shifts[0], teacher + shifts[1], labels, epoch=1, epochs=2).parts["distillation"]
    still = objective(student, teacher, labels, epoch=1, epochs=2).parts["distillation"]
    torch.testing.assert_close(moved, still, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", ["keep", "pair", "swap", "revision"])
def test_mse_keeps_the_offset_of_logits(form):
    student, teacher, labels = batch(1)
    objective = replace(plain("mse", constant(4.0)), bias=repair_of(form, 0.5))
    losses = [
        objective(student + shift, teacher + shift, labels, epoch=1, epochs=2).parts["distillation"]
        for shift in (0.0, 10.0)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-4)
    apart = objective(student + 10.0, teacher, labels, epoch=1, epochs=2).parts["distillation"]
    assert apart > losses[0] + 10


@few
@given(seed=seeds, scale=st.floats(0.1, 50), method=st.sampled_from(["kd", "dkd", "dist", "logit_standardisation"]))
def test_under_the_std_temperature_the_scale_of_logits_changes_no_distillation(seed, scale, method):
    student, teacher, labels = batch(seed)
    objective = replace(REPAIRED, method=term_of(method), temperature=std(2.0, "multiplier"))
    scaled = objective(student * scale, teacher * scale, labels, epoch=1, epochs=2).parts["distillation"]
    still = objective(student, teacher, labels, epoch=1, epochs=2).parts["distillation"]
    torch.testing.assert_close(scaled, still, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["kd", "dkd", "mse", "dist", "ctkd", "logit_standardisation"])
@few
@given(seed=seeds, temperature=mild)
def test_a_student_equal_to_its_teacher_has_no_loss_and_a_different_one_has(method, seed, temperature):
    student, teacher, labels = batch(seed)
    objective = plain(method, temperature)
    equal = teacher.clone().requires_grad_()
    losses = objective(equal, teacher, labels, epoch=1, epochs=2)
    # In float32; the loss weighs rounding errors by T^2 as well.
    assert abs(losses.total) < 1e-3 and gradient(losses.total, equal).abs().max() < 1e-3
    assert objective(student, teacher, labels, epoch=1, epochs=2).total > 0.01


@pytest.mark.parametrize("method", ["ttm", "wttm"])
def test_ttm_is_satisfied_by_the_untempered_student_of_a_tempered_teacher(method):
    _, teacher, labels = batch(2)
    objective = plain(method, constant(4.0))
    satisfied = objective((teacher / 4).requires_grad_(), teacher, labels, epoch=1, epochs=2)
    assert satisfied.total.abs() < 1e-5
    assert objective(teacher.clone(), teacher, labels, epoch=1, epochs=2).total > 0.01


def test_rld_is_satisfied_by_a_copy_of_a_right_teacher_and_not_of_a_wrong_one():
    _, teacher, labels = batch(3)
    rows = term_of("rld").rows(answers_of(teacher, teacher, labels, constant(4.0)))
    is_right = teacher.argmax(dim=1) == labels
    assert rows[is_right].abs().max() < 1e-5
    assert rows[~is_right].min() > 1e-3


@pytest.mark.parametrize("method", SAMPLE_METHODS)
def test_each_sample_s_loss_is_its_own(method):
    student, teacher, labels = batch(4)
    rows = term_of(method).rows(answers_of(student, teacher, labels))
    one = term_of(method).rows(answers_of(student[3:4], teacher[3:4], labels[3:4]))
    torch.testing.assert_close(one, rows[3:4])
    assert gradient(rows[3], student)[[0, 1, 2, 4, 5]].abs().max() == 0


@pytest.mark.parametrize("method", ["kd", "dkd", "ttm", "wttm", "ctkd", "rld"])
def test_an_answer_repaired_to_certainty_teaches_the_label_alone(method):
    student, teacher, labels = batch(5, rows=6, classes=100, wrong_rows=6)
    objective = replace(plain(method, constant(1.0)), bias=repair_of("one_hot", 1.0))
    slope = gradient(objective(student, teacher, labels, epoch=1, epochs=1).total, student)
    is_label = torch.nn.functional.one_hot(labels, 100).bool()
    assert (slope[is_label] < 0).all()
    if method in ("kd", "ttm", "wttm"):
        expected = (student.softmax(dim=1) - is_label.float()) / 6
        torch.testing.assert_close(slope, expected)
