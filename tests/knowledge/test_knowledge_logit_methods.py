"""Every logit method: its value and gradient against float64 references and torchdistill's losses."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchdistill.losses.mid_level import DISTLoss, KDLoss, LogitStdKDLoss

from raykd.config import Experiment, TrainingSettings, TrainingSpec
from raykd.config.methods import MethodSettings
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import BatchMethod, TeacherFree
from raykd.knowledge.methods.baselines import LabelSmoothing
from raykd.knowledge.methods.corrected_kd import CorrectedKd
from raykd.knowledge.methods.ctkd import Ctkd
from raykd.knowledge.methods.dist import Dist
from raykd.knowledge.methods.logit_standardisation import LogitStandardisation
from raykd.knowledge.methods.rld import Rld
from raykd.knowledge.methods.ttm import Ttm, Wttm
from raykd.settings_io import override
from raykd.training.build import build_objective
from tests.helpers.logit_batches import (
    ANSWER_METHODS,
    SAMPLE_METHODS,
    answers_of,
    batch,
    constant,
    plain,
    policy_of,
    std,
    term_of,
)
from tests.helpers.logit_batches import gradient as gradient_of
from tests.helpers.logit_reference import HOSTS, LEARNED_T, dist, gradient, prepared

few = settings(max_examples=5, deadline=None)
seeds = st.integers(0, 10**6)
temperatures = st.sampled_from([constant(1.0), constant(4.0), std(1.5), std(0.7, "multiplier")])
float64 = partial(torch.Tensor.to, dtype=torch.float64)


def rows_of(student, teacher, labels, temperature):
    """What the reference takes of a batch."""
    samples = zip(student.detach().double().numpy(), teacher.double().numpy(), labels.tolist(), strict=True)
    return [prepared(v, z, y, policy_of(temperature))[0] for v, z, y in samples]


@pytest.mark.parametrize("name", SAMPLE_METHODS)
@few
@given(seed=seeds, classes=st.integers(2, 9), temperature=temperatures, scale=st.sampled_from([0.5, 3.0]))
def test_values_and_gradients_of_each_sample_are_those_of_the_formula(name, seed, classes, temperature, scale):
    student, teacher, labels = batch(seed, rows=4, classes=classes, scale=scale)
    student, teacher = student.detach().double().requires_grad_(), teacher.double()
    term = term_of(name)
    if isinstance(term, torch.nn.Module):
        term.double()
    loss = term.rows(answers_of(student, teacher, labels, temperature))
    assert loss.shape == (4,)
    rows = rows_of(student, teacher, labels, temperature)
    np.testing.assert_allclose(loss.detach().numpy(), [HOSTS[name](*row) for row in rows], rtol=1e-7, atol=1e-9)

    def total(v):
        return sum(HOSTS[name](*prepared(*each, policy_of(temperature))[0]) for each in zip(v, z, y, strict=True))

    z, y = teacher.numpy(), labels.tolist()
    expected = gradient(total, student.detach().numpy())
    np.testing.assert_allclose(gradient_of(loss.sum(), student).numpy(), expected, rtol=1e-5, atol=1e-6)


@few
@given(seed=seeds, classes=st.integers(2, 9), temperature=temperatures, chosen=st.lists(st.booleans(), min_size=5))
def test_dist_among_chosen_samples_is_that_of_the_smaller_batch(seed, classes, temperature, chosen):
    chosen = torch.tensor(chosen)
    student, teacher, labels = batch(seed, rows=len(chosen), classes=classes, scale=2.0)
    student, teacher = student.detach().double().requires_grad_(), teacher.double()
    loss = Dist().among(answers_of(student, teacher, labels, temperature), chosen)
    rows = rows_of(student[chosen], teacher[chosen], labels[chosen], temperature)
    assert loss.item() == pytest.approx(dist(rows), rel=1e-7, abs=1e-9)

    z, y, kept = teacher.numpy(), labels.tolist(), chosen.nonzero()[:, 0].tolist()

    def total(v):
        return dist([prepared(v[i], z[i], y[i], policy_of(temperature))[0] for i in kept])

    expected = gradient(total, student.detach().numpy())
    np.testing.assert_allclose(gradient_of(loss, student).numpy(), expected, rtol=1e-4, atol=1e-6)
    smaller = Dist().among(
        answers_of(student[chosen], teacher[chosen], labels[chosen], temperature),
        torch.ones(int(chosen.sum()), dtype=torch.bool),
    )
    torch.testing.assert_close(loss, smaller)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_dist_of_hardly_any_samples_is_finite(count):
    student, teacher, labels = batch(3)
    chosen = torch.arange(12) < count
    loss = Dist().among(answers_of(student, teacher, labels, constant(4.0)), chosen)
    slope = gradient_of(loss, student)
    assert torch.isfinite(loss) and torch.isfinite(slope).all()
    assert slope[count:].abs().max() == 0
    if count == 0:
        assert loss == 0
    if count == 1:
        # One sample has no correlation within classes: its whole share is lost, at no slope.
        expected = dist(rows_of(student, teacher, labels, constant(4.0))[:1])
        assert loss.item() == pytest.approx(expected, rel=1e-5) and expected > 2 * 16


@pytest.mark.parametrize("weight", [(1.0, 0.0), (0.0, 1.0), (3.0, 0.5)])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_dist_is_torchdistill_s(tau, weight):
    inter, intra = weight
    student, teacher, labels = batch(4, rows=16, classes=8)
    oracle = DISTLoss(".", "output", ".", "output", beta=inter, gamma=intra, tau=tau)
    expected = oracle({".": {"output": student}}, {".": {"output": teacher}})
    term = Dist(inter_weight=inter, intra_weight=intra).term()
    loss = term.among(answers_of(student, teacher, labels, constant(tau)), torch.ones(16, dtype=torch.bool))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient_of(loss, student), gradient_of(expected, student), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "temperature", "oracle"),
    [
        ("kd", constant(1.0), partial(KDLoss, temperature=1.0)),
        ("kd", constant(4.0), partial(KDLoss, temperature=4.0)),
        ("kd", constant(20.0), partial(KDLoss, temperature=20.0)),
        ("kd", std(2.0, "multiplier"), partial(LogitStdKDLoss, temperature=2.0)),
        ("logit_standardisation", constant(4.0), partial(LogitStdKDLoss, temperature=2.0)),
        ("logit_standardisation", std(0.3), partial(LogitStdKDLoss, temperature=2.0)),
    ],
)
def test_the_objective_is_torchdistill_s_loss(name, temperature, oracle):
    student, teacher, labels = batch(5)
    oracle = oracle(".", "output", ".", "output", alpha=0.1, beta=9.0)
    expected = oracle({".": {"output": student}}, {".": {"output": teacher}}, labels)
    total = plain(name, temperature, kd_weight=9.0, ce_weight=0.1)(student, teacher, labels, epoch=1, epochs=2).total
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient_of(total, student), gradient_of(expected, student), rtol=1e-3, atol=1e-5)


def test_logit_standardisation_takes_its_base_temperature():
    student, teacher, labels = batch(6)
    oracle = LogitStdKDLoss(".", "output", ".", "output", temperature=5.0, alpha=1e-9, beta=1.0)
    expected = oracle({".": {"output": student}}, {".": {"output": teacher}}, labels)
    rows = LogitStandardisation(base_temperature=5.0).rows(answers_of(student, teacher, labels))
    torch.testing.assert_close(rows.mean(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [*map(constant, (1e-4, 4.0, 1e4)), std(1e-3)])
def test_logit_standardisation_does_not_mind_the_policy(temperature):
    student, teacher, labels = batch(6, scale=0.3)
    expected = LogitStandardisation().rows(answers_of(student, teacher, labels, constant(1.0)))
    rows = LogitStandardisation().rows(answers_of(student, teacher, labels, temperature))
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-6)


def test_mse_is_that_of_the_logits_under_any_constant_temperature():
    student, teacher, labels = batch(7)
    for value in (0.5, 1.0, 20.0):
        loss = METHODS["mse"]().rows(answers_of(student, teacher, labels, constant(value)))
        torch.testing.assert_close(loss.mean(), F.mse_loss(student, teacher))


@few
@given(seed=seeds, exponent=st.floats(0.05, 1.0))
def test_ttm_and_wttm_raise_the_teacher_to_a_power_and_leave_the_student(seed, exponent):
    student, teacher, labels = (float64(x) if x.is_floating_point() else x for x in batch(seed))
    answers = answers_of(student, teacher, labels, constant(1 / exponent))
    powers = teacher.softmax(dim=1) ** exponent
    u = powers.sum(dim=1)
    expected = F.kl_div(student.log_softmax(dim=1), powers / u[:, None], reduction="none").sum(dim=1)
    torch.testing.assert_close(Ttm().rows(answers), expected)
    torch.testing.assert_close(Wttm().rows(answers), u * expected)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("temperature", [*map(constant, (1e-4, 1e-2, 1.0, 1e4)), std(1e-4)])
def test_wttm_s_weight_stays_within_its_bounds(temperature, scale, offset):
    # A sum of C powers of probabilities: at most 1 for exponents from 1, at most C^(1 - exponent) below.
    student, teacher, labels = batch(8, rows=64, classes=10, scale=scale)
    answers = answers_of(student, teacher + offset, labels, temperature)
    weighted, unweighted = Wttm().rows(answers), Ttm().rows(answers)
    most = 10 ** (1 - 1 / answers.teacher_temperature[:, 0]).clamp(min=0)
    assert (weighted >= 0).all() and (weighted <= most * 1.01 * unweighted).all()


def test_rld_leaves_out_the_label_and_all_that_the_teacher_ranks_above_it():
    teacher = torch.tensor([[4.0, 1.0, 3.0, 0.0, -1.0]])
    answers = partial(answers_of, teacher=teacher, labels=torch.tensor([1]), temperature=constant(2.0))
    student = torch.tensor([[0.5, 0.2, -1.0, 2.0, 0.3]], requires_grad=True)
    ranking = Rld(confidence_weight=0.0, ranking_weight=1.0)
    loss = ranking.rows(answers(student)).sum()
    p = torch.tensor([0.0, -0.5]).softmax(0)
    expected = 4 * F.kl_div(torch.tensor([1.0, 0.15]).log_softmax(0), p, reduction="sum")
    torch.testing.assert_close(loss, expected)
    assert gradient_of(loss, student)[0, :3].tolist() == [0.0, 0.0, 0.0]
    # A class that ties with the label is left out as well, and a single class has no divergence.
    tied = torch.tensor([[4.0, 1.0, 3.0, 1.0, -1.0]])
    assert ranking.rows(answers(student, teacher=tied)).item() == 0.0
    # So has a label that is ranked last.
    assert ranking.rows(answers(student, labels=torch.tensor([4]))).item() == 0.0


@pytest.mark.parametrize("gap", [80.0, 200.0, 1e6])
def test_rld_learns_below_a_label_that_is_far_below_the_teacher_s_answer(gap):
    teacher = torch.tensor([[gap, 0.0, -1.0, -2.0]])
    student = torch.tensor([[1.0, 2.0, 0.0, 0.5]], requires_grad=True)
    ranking = Rld(confidence_weight=0.0, ranking_weight=1.0)
    loss = ranking.rows(answers_of(student, teacher, torch.tensor([1]), constant(1.0))).sum()
    p, q = torch.tensor([-1.0, -2.0]).softmax(0), torch.tensor([0.0, 0.5]).softmax(0)
    torch.testing.assert_close(loss, (p * (p / q).log()).sum())
    expected = torch.cat([torch.zeros(2), q - p]).unsqueeze(0)
    torch.testing.assert_close(gradient_of(loss, student), expected)


def test_rld_takes_its_own_temperature_for_the_confidence():
    student, teacher, labels = batch(9)
    confidence = Rld(confidence_weight=2.0, ranking_weight=0.0, confidence_temperature=3.0)
    for temperature in (constant(4.0), std(1.5)):
        rows = confidence.rows(answers_of(student, teacher, labels, temperature))
        p = (teacher / 3).softmax(dim=1).max(dim=1).values
        q = (student / 3).softmax(dim=1).gather(1, labels[:, None])[:, 0]
        expected = 2 * 9 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())
        torch.testing.assert_close(rows, expected, rtol=1e-3, atol=1e-4)


def test_ctkd_rises_to_a_reversed_gradient_over_its_curriculum():
    # zhengli97/CTKD: (cos(pi i / 10) + 1) / 2 - 1 for i of at most 10.
    published = [0, -0.024472, -0.095492, -0.206107, -0.345492, -0.5, -0.654508, -0.793893, -0.904508, -0.975528, -1]
    assert [Ctkd().reversal(epoch) for epoch in range(13)] == pytest.approx([*published, -1, -1], abs=1e-6)
    assert Ctkd(adversary=0.5).reversal(5) == pytest.approx(-0.25)
    assert Ctkd(curriculum_epochs=0).reversal(0) == -1


@pytest.mark.parametrize("epoch", [0, 3, 5, 10, 200])
@pytest.mark.parametrize("temperature", [constant(1.0), std(0.5)])
def test_ctkd_climbs_the_loss_of_its_temperature(temperature, epoch):
    student, teacher, labels = (float64(x) if x.is_floating_point() else x for x in batch(10))
    answers = answers_of(student, teacher, labels, temperature, epoch)
    term = Ctkd().term().double()
    assert [name for name, _ in term.named_parameters()] == ["theta"] and term.theta.item() == 1.0

    def loss_at(theta):
        t = 1 + 20 / (1 + math.exp(-theta))
        p, q = (x.div(t).softmax(dim=1) for x in (answers.teacher, answers.student))
        return (answers.squared_weight * t**2 * (p * (p / q).log()).sum(dim=1)).sum().item()

    loss = term.rows(answers).sum()
    assert loss.item() == pytest.approx(loss_at(1.0)) and pytest.approx(1 + 20 / (1 + 1 / math.e)) == LEARNED_T
    slope = (loss_at(1 + 1e-5) - loss_at(1 - 1e-5)) / 2e-5
    (theta_gradient,) = torch.autograd.grad(loss, term.theta)
    assert theta_gradient.item() == pytest.approx(-slope * (1 - math.cos(math.pi * min(epoch, 10) / 10)) / 2, rel=1e-5)


@pytest.mark.parametrize("amount", [0.0, 0.1, 1.0])
def test_label_smoothing_is_torch_s_without_a_teacher(amount):
    student, teacher, labels = batch(11)
    spec = TrainingSpec(
        method=MethodSettings.of(LabelSmoothing(amount=amount)), training=TrainingSettings(label_smoothing=0.7)
    )
    objective = build_objective(spec)
    expected = 0.5 * F.cross_entropy(student, labels, label_smoothing=amount)
    for knowledge in (teacher, None):
        losses = objective(student, knowledge, labels, epoch=1, epochs=2)
        torch.testing.assert_close(losses.total, expected)
        torch.testing.assert_close(gradient_of(losses.total, student), gradient_of(expected, student))
        assert set(losses.parts) == {"cross_entropy"}
    log_q = student.log_softmax(dim=1)
    by_hand = (1 - amount) * -log_q.gather(1, labels[:, None]).mean() - amount * log_q.mean()
    torch.testing.assert_close(2 * expected, by_hand)


def test_cross_entropy_leaves_the_smoothing_to_the_training_settings():
    student, teacher, labels = batch(12)
    spec = TrainingSpec(method=MethodSettings(name="cross_entropy"), training=TrainingSettings(label_smoothing=0.2))
    total = build_objective(spec)(student, teacher, labels, epoch=1, epochs=2).total
    torch.testing.assert_close(total, 0.5 * F.cross_entropy(student, labels, label_smoothing=0.2))


@pytest.mark.parametrize("name", METHODS)
def test_published_settings_exist_and_every_method_explains_itself(name):
    method = METHODS[name]
    experiment = override(Experiment(), {"method.name": name, **method.published})
    assert experiment.method.name == name
    assert method.formula and method.source and method.__doc__
    assert issubclass(method, TeacherFree) or "objective.kd_weight" in method.published


def test_no_method_is_forgotten_here():
    assert {*SAMPLE_METHODS} == {*HOSTS}
    assert {name for name in ANSWER_METHODS if issubclass(METHODS[name], BatchMethod)} == {"dist"}


@few
@given(seed=seeds, value=st.sampled_from([1.0, 2.0, 8.0]))
def test_the_correction_is_the_slope_of_the_loss_in_the_teacher_s_probabilities(seed, value):
    """Dao et al., section 4.2: the first-order term of what the loss would be with the label instead of the teacher."""
    student, teacher, labels = batch(seed, rows=3, scale=0.5)  # no probability below `smallest`
    student, teacher = student.detach().double(), teacher.double()
    assert teacher.softmax(1).min() > 0.01
    answers = answers_of(student, teacher, labels, constant(value))
    corrections = CorrectedKd(strength=0.0).rows(answers) - CorrectedKd().rows(answers)

    def cross_entropy(probabilities):
        target = (probabilities.log() / value).softmax(1)
        return -(target * (student / value).log_softmax(1)).sum(1)

    probabilities = teacher.softmax(1).requires_grad_()
    (slopes,) = torch.autograd.grad(cross_entropy(probabilities).sum(), probabilities)
    away = F.one_hot(labels, teacher.shape[1]).double() - probabilities.detach()
    torch.testing.assert_close(corrections, -(value**2) * (slopes * away).sum(1))


def test_without_a_temperature_the_corrected_loss_is_that_of_the_label():
    student, teacher, labels = batch(3, scale=0.5)
    rows = CorrectedKd().rows(answers_of(student, teacher, labels, constant(1.0)))
    p = teacher.softmax(1)
    entropy = -(p * p.log()).sum(1)
    torch.testing.assert_close(rows + entropy, F.cross_entropy(student, labels, reduction="none"))


def test_a_correction_of_no_strength_is_kd():
    student, teacher, labels = batch(4)
    answers = answers_of(student, teacher, labels, constant(4.0))
    torch.testing.assert_close(CorrectedKd(strength=0.0).rows(answers), METHODS["kd"]().rows(answers))
