"""Batches, methods and repairs that several test files of this folder share."""

from __future__ import annotations

import torch

from raykd.knowledge import Answers, BiasSettings, Objective, ScheduleSettings, TemperatureSettings
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, LogitMethod, LogitTerm
from raykd.knowledge.methods.kd import Kd

ANSWER_METHODS = sorted(name for name, method in METHODS.items() if issubclass(method, AnswerMethod))
SAMPLE_METHODS = [name for name in ANSWER_METHODS if issubclass(METHODS[name], LogitMethod) or name == "ctkd"]
AMOUNTS = {
    "pair": "strength",
    "swap": None,
    "one_hot": "strength",
    "smooth": "strength",
    "revision": "eta",
    "margin": "margin",
}
"""The setting that says how strongly a form repairs."""
REPAIRS = list(AMOUNTS)
FORMS = [*REPAIRS, "drop", "keep"]


def constant(value: float) -> TemperatureSettings:
    return TemperatureSettings(policy="constant", value=value)


def std(multiplier: float, loss_weight: str = "temperature", **floor: float) -> TemperatureSettings:
    return TemperatureSettings(policy="std", multiplier=multiplier, loss_weight=loss_weight, **floor)


def repair_of(form: str, amount: float = 0.5, denominator: str = "subset") -> BiasSettings:
    """The formulas hold at the ends of all ranges; of these, the settings leave those of eta out."""
    setting = AMOUNTS.get(form)
    inside = {} if setting is None or (setting == "eta" and amount in (0, 1)) else {setting: amount}
    bias = BiasSettings(form=form, denominator=denominator, **inside)
    return bias if setting is None else BiasSettings.model_construct(**dict(bias) | {setting: amount})


def cosine(shape: float = 1.0) -> ScheduleSettings:
    return ScheduleSettings(form="cosine", shape=shape, hand_over="rectified")


def rising(shape: float = 1.0) -> ScheduleSettings:
    return ScheduleSettings(form="rising", shape=shape, hand_over="rectified")


def linear(shape: float = 1.0) -> ScheduleSettings:
    return ScheduleSettings(form="linear", shape=shape, hand_over="rectified")


def always(weight: float) -> ScheduleSettings:
    return ScheduleSettings(form="constant", weight=weight, hand_over="rectified")


def step(at: float) -> ScheduleSettings:
    return ScheduleSettings(form="step", step_at=at, hand_over="rectified")


REPAIRED = Objective(
    method=Kd().term(),
    temperature=constant(4.0),
    bias=repair_of("pair"),
    schedule=cosine(),
    ce_weight=0.5,
    kd_weight=0.5,
    warmup_epochs=0,
)


def policy_of(temperature) -> tuple[str, float]:
    """How `logit_reference` names a temperature."""
    if temperature.policy == "constant":
        return "constant", temperature.value
    return ("std" if temperature.loss_weight == "temperature" else "multiplier"), temperature.multiplier


def term_of(name: str) -> LogitTerm:
    """A method's term under its default settings, DKD's under the published ones."""
    return METHODS[name](**({"non_target_weight": 8.0} if name == "dkd" else {})).term()


def plain(name: str, temperature, kd_weight: float = 1.0, ce_weight: float = 0.0) -> Objective:
    """A method alone, over the whole batch."""
    return Objective(term_of(name), temperature, repair_of("keep"), step(0.5), ce_weight, kd_weight, 0)


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


def answers_of(student, teacher, labels, temperature=std(1.5), epoch: int = 0) -> Answers:  # noqa: B008
    """What a term is given, of unrepaired logits."""
    teacher_t = temperature.of(teacher)
    student_t = temperature.of_student(student, teacher_t)
    weight = temperature.squared_weight(teacher_t)
    return Answers(student / student_t, teacher / teacher_t, labels, student_t, teacher_t, weight, epoch)
