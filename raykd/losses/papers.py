"""The losses of the two papers."""

from __future__ import annotations

from typing import Any, Literal

from raykd.config import (
    BiasSettings,
    Experiment,
    GenerousSettings,
    ScheduleSettings,
    TeacherSettings,
    TrainingSettings,
)
from raykd.losses.answers import DistillationLoss
from raykd.losses.arguments import check_keywords, plain_words

Repair = Literal["pair", "swap", "one_hot", "smooth", "revision", "margin", "drop"]


class BiasRectifiedKD(DistillationLoss):
    """Distillation with the teacher's wrong answers repaired, as arXiv 2412.09874 publishes it.

    On small images it was worse than plain distillation (docs/choosing.md); `denominator="batch"` and
    `hand_over="labels"` are milder forms.

    Args:
        epochs: How many epochs are trained: weight moves from right to repaired answers over them.
        method: As of `DistillationLoss`.
        repair: How wrong answers are repaired.
        strength: How strongly; 0.5 is the paper's.
        denominator: Average right and repaired answers each over its own samples, or both over the batch.
        schedule: How weight moves: cos^2, as in the paper, linearly, or not at all.
        hand_over: Where the weight goes that right answers lose.
        arguments: The others of `DistillationLoss`.
    """

    def __init__(
        self,
        epochs: int,
        *,
        method: str = "kd",
        repair: Repair = "pair",
        strength: float = 0.5,
        denominator: Literal["subset", "batch"] = "subset",
        schedule: Literal["cosine", "linear", "constant", "step", "rising"] = "cosine",
        hand_over: Literal["labels", "right", "rectified"] = "rectified",
        **arguments: Any,
    ) -> None:
        with plain_words("bias"):
            bias = BiasSettings(form=repair, strength=strength, denominator=denominator)
        with plain_words("schedule"):
            moved = ScheduleSettings(form=schedule, hand_over=hand_over)
        super().__init__(method, epochs=epochs, bias=bias, schedule=moved, **arguments)


class GenerousTeacherLoss(DistillationLoss):
    """What a generous teacher learns by from a standard one (Image and Vision Computing 150, 105199, stage 2).

    Called with the logits of the generous teacher, which learns, and of the standard one.

    Args:
        epochs: How many epochs are trained. None: the weight of the knowledge has no warm-up.
        settings: Of `raykd.GenerousSettings`, such as ``multiplier=2.0``.
    """

    def __init__(self, epochs: int | None = None, **settings: Any) -> None:
        check_keywords(settings, GenerousSettings.model_fields, GenerousTeacherLoss)
        warmup = {"warmup_epochs": 0} if epochs is None else {}
        with plain_words("teacher.generous"):
            generous = GenerousSettings(**warmup | settings)
        training = TrainingSettings(epochs=1 if epochs is None else epochs)
        teacher = TeacherSettings(kind="generous", generous=generous, training=training)
        self.set_up(Experiment(teacher=teacher).generous_teacher_spec(), epochs)
