"""The whole loss of one student: cross-entropy, and a method under temperature, bias handling and schedule.

    L = ce_weight CE + kd_weight warmup [b L_right + (1 - b) L_rectified]        (arXiv 2412.09874, AAAI 2025)

Its maths is float32 outside autocast, and never waits for the device: no value of a tensor decides what is done next.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from raykd.knowledge.bias import Form, rectify, wrong
from raykd.knowledge.methods import LogitMethod, dkd
from raykd.knowledge.schedule import ConstantSchedule, Schedule
from raykd.knowledge.temperature import StdTemperature, Temperature

Denominator = Literal["subset", "batch"]
"""What the sums over right and over wrong samples are divided by: each its own count, or both the whole batch's."""


@dataclass(frozen=True)
class Workers:
    """The data-parallel workers that share a batch: how many, and how a tensor of counts is summed over them.

    DDP averages gradients over workers, so a mean over the global batch is, on each worker, `count` times its local
    sum over the global count: then local batches may differ in size, and in how many wrong answers they hold.
    `sum` must return the total on every worker and leave its argument alone; it is called once per objective.
    """

    count: int
    sum: Callable[[Tensor], Tensor]


def _itself(counts: Tensor) -> Tensor:
    return counts


ALONE = Workers(count=1, sum=_itself)
"""A worker without colleagues."""


@dataclass(frozen=True)
class Losses:
    """What an objective gives: `total` to call backward on, and its detached `parts` (0-dim float32) to log.

    With several workers these are local shares: their average over workers is the global value, for every part.

    - cross_entropy, distillation: as in L, before ce_weight, and before kd_weight and warm-up
    - right, rectified: L_right and L_rectified, before b; with the form "keep" the latter is that of the wrong samples
      as they are, with "drop" it is 0
    - wrong_share: wrong samples over all samples
    - teacher_temperature, student_temperature: means over the batch

    Without distillation (no teacher, or kd_weight 0) there is only cross_entropy.
    """

    total: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """What multiplies the parts of the loss in one epoch.

    - distillation: kd_weight with its warm-up
    - right: b, the weight of right against rectified knowledge; 1 where the whole batch is one set
    """

    distillation: float
    right: float


@dataclass(frozen=True)
class Objective:
    """The loss of one student.

    - method, temperature: the host method on tempered logits; the temperature's squared weight multiplies it
    - form, strength: what is done about the teacher's wrong answers; see `raykd.knowledge.bias`. "keep" is plain
      distillation over the whole batch, and the schedule has no say; "drop" leaves b L_right alone
    - schedule: b, the weight of right against rectified knowledge
    - ce_weight, kd_weight: weights of cross-entropy and distillation
    - warmup_epochs: kd_weight is multiplied by min(epoch / warmup_epochs, 1), epoch from 0; 0 means no warm-up
    - denominator: see `Denominator`; arXiv 2412.09874 has "subset"
    - label_smoothing: of the cross-entropy

    Raises ValueError if a number is out of its range or a word is unknown.
    """

    method: LogitMethod
    temperature: Temperature
    form: Form
    strength: float
    schedule: Schedule
    ce_weight: float
    kd_weight: float
    warmup_epochs: int
    denominator: Denominator = "subset"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name, word, words in (
            ("form", self.form, get_args(Form)),
            ("denominator", self.denominator, get_args(Denominator)),
        ):
            if word not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}, not {word!r}")
        for name, number, most in (
            ("strength", self.strength, 1.0),
            ("label_smoothing", self.label_smoothing, 1.0),
            ("ce_weight", self.ce_weight, math.inf),
            ("kd_weight", self.kd_weight, math.inf),
            ("warmup_epochs", self.warmup_epochs, math.inf),
        ):
            if not (math.isfinite(number) and 0 <= number <= most):
                raise ValueError(f"{name} must be a finite number in [0, {most}], not {number}")

    @classmethod
    def generous(cls, multiplier: float, weight: float, warmup_epochs: int) -> "Objective":
        """Return the loss of a generous teacher, whose teacher is the standard one.

        Cross-entropy plus the non-target knowledge of all samples at T = multiplier * std, `weight` being
        generous_weight (Image and Vision Computing 150, 2024, 105199).
        """
        return cls(
            method=partial(dkd, target_weight=0.0, non_target_weight=weight),
            temperature=StdTemperature(multiplier),
            form="keep",
            strength=0.0,
            schedule=ConstantSchedule(1.0),
            ce_weight=1.0,
            kd_weight=1.0,
            warmup_epochs=warmup_epochs,
        )

    def weights(self, *, epoch: int, epochs: int) -> Weights:
        """Return the weights of an epoch, from 0, of `epochs`."""
        warmup = min(epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0
        right = 1.0 if self.form == "keep" else self.schedule.right_weight(epoch / epochs)
        return Weights(distillation=self.kd_weight * warmup, right=right)

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        *,
        epoch: int,
        epochs: int,
        workers: Workers = ALONE,
    ) -> Losses:
        """Return the losses of a batch: logits [B, C] of any float type before temperature, labels int64 [B].

        The teacher gets no gradient. Without teacher logits, or with kd_weight 0, L is ce_weight CE.

        Raises ValueError if shapes disagree, labels are not class numbers, or epoch is not in [0, epochs].
        """
        _check(student_logits, teacher_logits, labels, epoch, epochs)
        with _no_autocast(student_logits.device.type):
            student = student_logits.float()
            cross_entropy = F.cross_entropy(student, labels, reduction="sum", label_smoothing=self.label_smoothing)
            if teacher_logits is None or self.kd_weight == 0:
                samples = workers.sum(student.new_full((), student.shape[0]))
                cross_entropy = workers.count * cross_entropy / samples
                return Losses(self.ce_weight * cross_entropy, {"cross_entropy": cross_entropy.detach()})

            teacher = teacher_logits.detach().float()
            is_wrong = wrong(teacher, labels)
            counts = workers.sum(torch.stack([~is_wrong, is_wrong]).sum(dim=1, dtype=torch.float32))
            samples = counts.sum()
            # An empty subset sums to 0; at least 1 below it keeps it there.
            right_count, wrong_count = counts.clamp(min=1) if self.denominator == "subset" else samples.expand(2)

            def mean(values: Tensor, count: Tensor = samples) -> Tensor:
                return workers.count * values.sum() / count

            student_temperature, teacher_temperature = self.temperature.of(student), self.temperature.of(teacher)
            tempered_teacher = self._repaired(teacher / teacher_temperature, is_wrong, labels)
            loss = self.method(student / student_temperature, tempered_teacher, labels)
            loss = self.temperature.squared_weight(teacher_temperature) * loss
            if self.form == "drop":
                loss = loss.masked_fill(is_wrong, 0)
            right = mean(loss.masked_fill(is_wrong, 0), right_count)
            rectified = mean(loss.masked_fill(~is_wrong, 0), wrong_count)
            weights = self.weights(epoch=epoch, epochs=epochs)
            if self.form == "keep":
                distillation = mean(loss)
            else:
                distillation = weights.right * right + (1 - weights.right) * rectified
            parts = {
                "cross_entropy": mean(cross_entropy),
                "distillation": distillation,
                "right": right,
                "rectified": rectified,
                "wrong_share": mean(is_wrong),
                "teacher_temperature": mean(teacher_temperature),
                "student_temperature": mean(student_temperature),
            }
            total = self.ce_weight * parts["cross_entropy"] + weights.distillation * distillation
            return Losses(total, {name: part.detach() for name, part in parts.items()})

    def _repaired(self, tempered: Tensor, is_wrong: Tensor, labels: Tensor) -> Tensor:
        """Return the teacher's tempered logits [B, C], wrong rows replaced by log p' if the form is a repair."""
        if self.form in ("keep", "drop"):
            return tempered
        repaired = rectify(tempered, labels, form=self.form, strength=self.strength)
        return torch.where(is_wrong.unsqueeze(1), repaired, tempered)


def _no_autocast(device_type: str) -> AbstractContextManager[object]:
    # Autocast takes matrix products in bfloat16 even of float32. Devices without it ("meta") refuse even to disable it.
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _check(student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor, epoch: int, epochs: int) -> None:
    if student_logits.dim() != 2 or labels.shape != student_logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            "student logits must be [B, C] and labels class numbers [B] (mixed labels have no target class), "
            f"not {list(student_logits.shape)} and {labels.dtype} {list(labels.shape)}"
        )
    if teacher_logits is not None and teacher_logits.shape != student_logits.shape:
        raise ValueError(
            "teacher and student logits must have the same shape [B, C], "
            f"not {list(teacher_logits.shape)} and {list(student_logits.shape)}"
        )
    if not 0 <= epoch <= epochs or epochs < 1:
        raise ValueError(f"epoch must be in [0, epochs] and epochs at least 1, not {epoch} and {epochs}")
