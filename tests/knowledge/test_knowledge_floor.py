"""Students whose logits hardly differ yet: what standardises answers keeps its gradients bounded, and else its form."""

import math
from dataclasses import replace

import pytest
import torch

from raykd.knowledge.methods import METHODS
from tests.helpers.logit_batches import (
    ANSWER_METHODS,
    REPAIRED,
    answers_of,
    batch,
    constant,
    gradient,
    plain,
    std,
    term_of,
)

SPREADS = [0.0, 1e-8, 1e-5, 1e-3, 1e-2, 0.1, 1.0]
STANDARDISING = {
    "kd, std": ("kd", std(2.0)),
    "kd, multiplier": ("kd", std(2.0, "multiplier")),
    "dkd, std": ("dkd", std(2.0)),
    "mse, std": ("mse", std(2.0)),
    "rld, std": ("rld", std(2.0)),
    "ctkd, std": ("ctkd", std(2.0)),
    "logit_standardisation": ("logit_standardisation", constant(4.0)),
    "dist": ("dist", constant(4.0)),
    "dist, std": ("dist", std(2.0)),
}
"""Losses that divide by the spread of the student's answers."""


def of_spread(spread: float, seed: int = 0):
    """A batch whose student's logits have so much of the standard deviation of the teacher's, sample by sample."""
    student, teacher, labels = batch(seed, rows=8, classes=10)
    student = student.detach() - student.detach().mean(dim=1, keepdim=True)
    return spread * student / student.std(dim=1, keepdim=True) * teacher.std(dim=1, keepdim=True), teacher, labels


def slope(name: str, temperature, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, **changes):
    """The gradient of a method alone at a student's logits, computed in float64."""
    student = student.double().requires_grad_()
    answers = answers_of(student, teacher.double(), labels, temperature)
    term = METHODS[name](**changes).term() if changes else term_of(name)
    every = torch.ones_like(labels, dtype=torch.bool)
    loss = term.among(answers, every) if name == "dist" else term.rows(answers).mean()
    return gradient(loss, student)


def without_floor(name: str, temperature):
    """The papers' form: the temperature, and the method's own settings."""
    own = {"floor": 0.0} if "floor" in METHODS[name].model_fields else {}
    return temperature.model_copy(update={"floor": 0.0}), own


@pytest.mark.parametrize("case", STANDARDISING)
def test_near_zero_logits_get_gradients_of_the_size_that_others_get(case):
    name, temperature = STANDARDISING[case]
    usual = slope(name, temperature, *of_spread(1.0)).norm()
    papers, own = without_floor(name, temperature)
    for spread in SPREADS:
        found = slope(name, temperature, *of_spread(spread)).norm()
        assert found < usual * 2 / temperature.floor
        if 1e-5 <= spread <= 1e-3:
            # The fault: the papers' own form has no bound.
            assert slope(name, papers, *of_spread(spread), **own).norm() > 0.1 / spread * usual


@pytest.mark.parametrize("multiplier", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("loss_weight", ["temperature", "multiplier"])
@pytest.mark.parametrize("floor", [0.05, 0.1, 0.5, 1.0])
def test_the_bound_is_that_of_the_formula(multiplier, loss_weight, floor):
    temperature = std(multiplier, loss_weight, floor=floor)
    for spread in SPREADS:
        student, teacher, labels = of_spread(spread, seed=1)
        rows = len(labels) * slope("kd", temperature, student, teacher, labels).norm(dim=1)
        of_teacher = temperature.of(teacher.double())
        bound = math.sqrt(2) * temperature.squared_weight(of_teacher) / (floor * of_teacher.squeeze(1))
        assert (rows <= bound * (1 + 1e-9)).all()


@pytest.mark.parametrize("name", [*ANSWER_METHODS, "objective"])
@pytest.mark.parametrize("loss_weight", ["temperature", "multiplier"])
def test_above_the_floor_loss_and_gradient_are_the_papers_to_the_bit(name, loss_weight):
    student, teacher, labels = of_spread(0.6, seed=2)
    results = []
    for floor in (0.0, 0.1, 0.5):
        method = METHODS["kd" if name == "objective" else name]
        own = {"floor": floor} if "floor" in method.model_fields and name != "dist" else {}
        term, temperature = method(**own).term(), std(1.5, loss_weight, floor=floor)
        objective = replace(REPAIRED if name == "objective" else plain("kd", temperature), method=term)
        objective = replace(objective, temperature=temperature)
        own_student = student.clone().requires_grad_()
        total = objective(own_student, teacher, labels, epoch=1, epochs=2).total
        results.append((total, gradient(total, own_student)))
    assert all(torch.equal(total, results[0][0]) for total, _ in results)
    assert all(torch.equal(of_logits, results[0][1]) for _, of_logits in results)


def test_above_its_floor_dist_is_the_paper_s_to_the_bit():
    student, teacher, labels = of_spread(1.0, seed=2)
    totals = []
    for floor in (0.0, 0.1):
        own_student = student.clone().requires_grad_()
        objective = replace(plain("dist", constant(4.0)), method=METHODS["dist"](floor=floor).term())
        total = objective(own_student, teacher, labels, epoch=1, epochs=2).total
        totals.append((total, gradient(total, own_student)))
    assert torch.equal(totals[0][0], totals[1][0]) and torch.equal(totals[0][1], totals[1][1])


@pytest.mark.parametrize("case", STANDARDISING)
@pytest.mark.parametrize("spread", [1e-3, 0.02, 0.5])
def test_gradients_agree_with_differences_below_the_floor_and_above(case, spread):
    name, temperature = STANDARDISING[case]
    student, teacher, labels = of_spread(spread, seed=3)
    term, every = term_of(name), torch.ones_like(labels, dtype=torch.bool)

    def loss(scaled: torch.Tensor) -> torch.Tensor:
        # In units of the spread: else a step of the differences would leave the near-zero logits behind.
        answers = answers_of(scaled * spread, teacher.double(), labels, temperature)
        return term.among(answers, every) if name == "dist" else term.rows(answers).mean()

    assert torch.autograd.gradcheck(loss, [(student / spread).double().requires_grad_()])


@pytest.mark.parametrize("loss_weight", ["temperature", "multiplier"])
def test_below_the_floor_it_is_kd_at_the_temperatures_of_a_student_on_it(loss_weight):
    temperature = std(2.0, loss_weight)
    student, teacher, labels = of_spread(1e-3, seed=4)
    found = slope("kd", temperature, student, teacher, labels)
    of_teacher = 2.0 * teacher.double().std(dim=1, keepdim=True)
    of_student = temperature.floor * of_teacher
    p, q = (teacher.double() / of_teacher).softmax(dim=1), (student.double() / of_student).softmax(dim=1)
    weight = of_teacher**2 if loss_weight == "temperature" else 4.0
    torch.testing.assert_close(found, weight / of_student * (q - p) / len(labels))


def test_below_the_floor_a_student_is_led_to_it_along_its_teacher():
    temperature = std(2.0)
    student, teacher, labels = (x.double() if x.is_floating_point() else x for x in of_spread(1e-4, seed=5))
    student.requires_grad_()
    optimizer = torch.optim.SGD([student], lr=0.02)
    for _ in range(400):
        answers = answers_of(student, teacher, labels, temperature)
        optimizer.zero_grad()
        term_of("kd").rows(answers).sum().backward()
        optimizer.step()
    spread = student.detach().std(dim=1) / teacher.std(dim=1)
    assert (spread > 0.95 * temperature.floor).all()
    own, aim = (x - x.mean(dim=1, keepdim=True) for x in (student.detach(), teacher))
    assert (torch.cosine_similarity(own, aim, dim=1) > 0.99).all()


@pytest.mark.parametrize("case", STANDARDISING)
def test_constant_answers_of_student_or_teacher_are_no_exception(case):
    name, temperature = STANDARDISING[case]
    student, teacher, labels = of_spread(0.5, seed=6)
    for one, other in ((torch.zeros_like(student), teacher), (student, torch.zeros_like(teacher))):
        assert torch.isfinite(slope(name, temperature, one, other, labels)).all()


@pytest.mark.parametrize("case", ["kd, std", "logit_standardisation", "dist"])
def test_it_can_be_compiled_as_a_whole(case):
    name, temperature = STANDARDISING[case]
    objective = plain(name, temperature)
    compiled = torch.compile(objective.__call__, backend="aot_eager", fullgraph=True)
    for spread in (1e-3, 1.0):
        student, teacher, labels = of_spread(spread, seed=7)
        student.requires_grad_()
        expected = objective(student, teacher, labels, epoch=1, epochs=2).total
        found = compiled(student, teacher, labels, epoch=1, epochs=2).total
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradient(found, student), gradient(expected, student))
