"""Batches, methods and repairs that several test files of this folder share."""

from __future__ import annotations

import torch

from raykd.knowledge import (
    Answers,
    ConstantTemperature,
    CosineSchedule,
    Margin,
    Objective,
    OneHot,
    Pair,
    Revision,
    Smooth,
    StdTemperature,
    StepSchedule,
    Swap,
)
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, LogitMethod, LogitTerm
from raykd.knowledge.methods.kd import Kd

ANSWER_METHODS = sorted(name for name, method in METHODS.items() if issubclass(method, AnswerMethod))
SAMPLE_METHODS = [name for name in ANSWER_METHODS if issubclass(METHODS[name], LogitMethod) or name == "ctkd"]
REPAIRS = {
    "pair": Pair,
    "swap": lambda amount: Swap(),
    "one_hot": OneHot,
    "smooth": lambda amount: Smooth(amount, 0.1),
    "revision": Revision,
    "margin": Margin,
}
"""Repairs by name, of a strength, eta or margin."""
FORMS = [*REPAIRS, "drop", "keep"]
REPAIRED = Objective(
    method=Kd().term(),
    temperature=ConstantTemperature(4.0),
    repair=Pair(0.5),
    schedule=CosineSchedule(),
    ce_weight=0.5,
    kd_weight=0.5,
    warmup_epochs=0,
)


def repair_of(form: str, amount: float):
    return REPAIRS[form](amount) if form in REPAIRS else form


def policy_of(temperature) -> tuple[str, float]:
    """How `logit_reference` names a temperature."""
    if isinstance(temperature, ConstantTemperature):
        return "constant", temperature.value
    return ("std" if temperature.loss_weight == "temperature" else "multiplier"), temperature.multiplier


def term_of(name: str) -> LogitTerm:
    """A method's term under its default settings."""
    return METHODS[name]().term()


def plain(name: str, temperature, kd_weight: float = 1.0, ce_weight: float = 0.0) -> Objective:
    """A method alone, over the whole batch."""
    return Objective(term_of(name), temperature, "keep", StepSchedule(0.5), ce_weight, kd_weight, 0)


def batch(seed: int = 0, rows: int = 12, classes: int = 6, wrong_rows: int | None = None, scale: float = 3.0):
    """Student and teacher logits and labels, with exactly so many wrong rows (default: a third), in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, classes, generator=generator) * scale
    wrong_rows = rows // 3 if wrong_rows is None else wrong_rows
    offset = torch.randint(1, classes, (rows,), generator=generator)
    offset[torch.randperm(rows, generator=generator)[wrong_rows:]] = 0
    return student.requires_grad_(), teacher, (teacher.argmax(dim=1) + offset) % classes


def extreme(seed: int, rows: int = 24, classes: int = 10, scale: float = 1e4):
    """Confident in the label, in another class, agreeing, ranking the label last, equal, tied and without spread."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, classes, generator=generator) * scale
    labels = torch.randint(classes, (rows,), generator=generator)
    for row, (student_class, teacher_class) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        labels[row] = 0
        student[row, student_class] += 10 * scale
        teacher[row, teacher_class] += 10 * scale
    teacher[4, labels[4]] -= 20 * scale
    teacher[5, labels[5]] = teacher[5].max()
    student[6], teacher[7], student[8], teacher[8] = scale, scale, 0.0, 0.0
    student[9] = teacher[9]
    return student.requires_grad_(), teacher, labels


def gradient(loss: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, student, retain_graph=True)[0]


def answers_of(student, teacher, labels, temperature=StdTemperature(1.5), epoch: int = 0) -> Answers:  # noqa: B008
    """What a term is given, of unrepaired logits."""
    student_t, teacher_t = temperature.of(student), temperature.of(teacher)
    weight = temperature.squared_weight(teacher_t)
    return Answers(student / student_t, teacher / teacher_t, labels, student_t, teacher_t, weight, epoch)
