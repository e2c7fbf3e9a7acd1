"""Losses of methods that compare answers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from raykd.config import BiasSettings, ScheduleSettings, TemperatureSettings, TrainingSpec
from raykd.errors import RaykdError
from raykd.knowledge import Losses
from raykd.knowledge.methods.base import FeatureMethod, TeacherFree
from raykd.losses.arguments import check_epochs, chosen, training_spec
from raykd.training.build import build_objective


class DistillationLoss(nn.Module):
    """The loss of a student that learns from labels and from a teacher's answers.

    Methods that learn something themselves, such as ctkd, have parameters: give `loss.parameters()` to the optimizer,
    too.

    Args:
        method: A method that compares answers: a name of `raykd list methods`, or an import path
            ``package.module:name``.
        epochs: How many epochs are trained; needed where the loss depends on the epoch.
        temperature: A constant one, or settings, such as ``TemperatureSettings(policy="std")``.
        ce_weight, kd_weight: Of the cross-entropy with the labels, and of the distillation.
        bias: What becomes of the teacher's wrong answers (arXiv 2412.09874). None: they are taught as they are.
        schedule: How weight moves from right to repaired answers. None: raykd's default, where there is a repair.
        warmup_epochs: Over which the weight of the distillation rises from 0.
        label_smoothing: Of the cross-entropy.
        settings: The method's own, such as ``non_target_weight=8.0`` of dkd (`raykd explain METHOD`).

    Raises:
        RaykdError: a name or value is wrong, `epochs` is missing, or the method compares features; a line says what to
            do.
    """

    def __init__(
        self,
        method: str = "kd",
        *,
        epochs: int | None = None,
        temperature: float | TemperatureSettings = 4.0,
        ce_weight: float = 0.5,
        kd_weight: float = 0.5,
        bias: BiasSettings | None = None,
        schedule: ScheduleSettings | None = None,
        warmup_epochs: int = 0,
        label_smoothing: float = 0.0,
        **settings: Any,
    ) -> None:
        spec = training_spec(
            chosen(method, settings, type(self)),
            temperature,
            {"ce_weight": ce_weight, "kd_weight": kd_weight, "warmup_epochs": warmup_epochs},
            epochs,
            {"label_smoothing": label_smoothing},
            bias=bias or BiasSettings(),
            schedule=schedule or ScheduleSettings(),
        )
        self.set_up(spec, epochs)

    def set_up(self, spec: TrainingSpec, epochs: int | None) -> None:
        """Build the loss of a training's settings; for classes that make these in another way.

        Raises:
            RaykdError: as the class.
        """
        super().__init__()
        method = spec.method.chosen()
        if isinstance(method, FeatureMethod):
            raise RaykdError(
                f"method {spec.method.name} compares features, which no logits hold: use FeatureDistillation"
            )
        if isinstance(method, TeacherFree):
            raise RaykdError(f"method {spec.method.name} has no teacher: use torch.nn.CrossEntropyLoss")
        check_epochs(spec, epochs)
        self._epochs = epochs
        self._objective = build_objective(spec)
        self.learned = nn.ModuleList(self._objective.modules)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, epoch: int = 0) -> Tensor:
        """The loss of a batch, 0-dim.

        Args:
            student_logits, teacher_logits: [B, C], before any temperature.
            labels: int64 [B].
            epoch: From 0.

        Raises:
            ValueError: shapes disagree, or the epoch is not one of `epochs`.
        """
        return self.losses(student_logits, teacher_logits, labels, epoch=epoch).total

    def losses(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, epoch: int = 0) -> Losses:
        """As `forward`, with the parts of the loss by name, to log them."""
        epochs = max(epoch, 1) if self._epochs is None else self._epochs
        return self._objective(student_logits, teacher_logits, labels, epoch=epoch, epochs=epochs)


class KD(DistillationLoss):
    """Knowledge distillation (Hinton et al., arXiv 1503.02531).

    Args:
        arguments: As of `DistillationLoss`, without the method.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("kd", **arguments)


class DKD(DistillationLoss):
    """Decoupled knowledge distillation (arXiv 2203.08679), both parts with weight 1 unless said otherwise.

    Args:
        arguments: As of `DistillationLoss`, without the method.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("dkd", **arguments)


class DIST(DistillationLoss):
    """Correlations of answers instead of divergences (arXiv 2205.10536).

    Args:
        arguments: As of `DistillationLoss`, without the method.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("dist", **arguments)
