"""The loss of methods that compare features, which must hear the networks' layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raykd.config import BiasSettings, ScheduleSettings, TemperatureSettings
from raykd.errors import RaykdError
from raykd.knowledge import Hints, captured
from raykd.knowledge.methods.base import FeatureMethod
from raykd.knowledge.methods.crd import Crd
from raykd.losses.arguments import check_epochs, chosen, training_spec
from raykd.training.build import build_objective
from raykd.training.hint_layers import compared_layers


@dataclass(frozen=True)
class Distilled:
    """What a step with a feature method gives.

    - loss: 0-dim, to call backward on
    - logits: the student's, [B, C]
    - parts: of the loss by name, detached
    """

    loss: Tensor
    logits: Tensor
    parts: dict[str, Tensor]


class FeatureDistillation(nn.Module):
    """The loss of a student that learns from features of its teacher as well as from its answers and the labels.

    It runs both networks, since it must hear their layers. Its parameters are those that the method learns itself; the
    student's are the student's own: ``SGD([*student.parameters(), *distillation.parameters()], lr=0.1)``.

    Args:
        method: A method that compares features: a name, or an import path.
        student, teacher: The networks. They are no modules of this one; the teacher is set to evaluation.
        image: Shape of an image: channels, height, width.
        epochs: How many epochs are trained; needed where the loss depends on the epoch.
        student_layers, teacher_layers: Whose outputs are compared, shallow to deep. None: those of the method's paper.
        beside: The method of answers whose loss is added, with the weight `kd_weight`.
        temperature, ce_weight, kd_weight, bias, schedule, label_smoothing: As of `DistillationLoss`.
        warmup_epochs: Over which the weights of answers and features rise from 0.
        labels: Of all training images, int64 [N]; crd alone needs them.
        settings: The method's own, such as ``weight=100.0``.

    Raises:
        RaykdError: a name or value is wrong, something is missing, or the networks have no such layers.
    """

    def __init__(
        self,
        method: str,
        student: nn.Module,
        teacher: nn.Module,
        image: tuple[int, int, int],
        *,
        epochs: int | None = None,
        student_layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
        beside: str = "kd",
        temperature: float | TemperatureSettings = 4.0,
        ce_weight: float = 0.5,
        kd_weight: float = 0.5,
        bias: BiasSettings | None = None,
        schedule: ScheduleSettings | None = None,
        warmup_epochs: int = 0,
        label_smoothing: float = 0.0,
        labels: Tensor | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        layers = {"student_layers": student_layers, "teacher_layers": teacher_layers, "beside": beside}
        objective = {"ce_weight": ce_weight, "kd_weight": kd_weight, "warmup_epochs": warmup_epochs}
        spec = training_spec(
            chosen(method, settings, type(self)) | layers,
            temperature,
            objective,
            epochs,
            {"label_smoothing": label_smoothing},
            bias=bias or BiasSettings(),
            schedule=schedule or ScheduleSettings(),
        )
        compares = spec.method.chosen()
        if not isinstance(compares, FeatureMethod):
            raise RaykdError(f"method {method} compares answers alone: use DistillationLoss")
        if compares.weight == 0:
            raise RaykdError(f"method {method} has weight 0, so its features would teach nothing: use DistillationLoss")
        if isinstance(compares, Crd) and labels is None:
            raise RaykdError(
                "labels is missing: crd contrasts images of other classes, so it needs all training labels"
            )
        check_epochs(spec, epochs)
        self._networks = (student, teacher.eval())
        self._epochs = epochs
        known = torch.empty(0, dtype=torch.int64) if labels is None else labels
        self._layers = compared_layers(spec.method, compares.where, student, teacher, image, image, known)
        self._objective = build_objective(spec, self._layers.shapes)
        self.learned = nn.ModuleList(self._objective.modules)

    def forward(self, images: Tensor, labels: Tensor, *, epoch: int = 0, indices: Tensor | None = None) -> Distilled:
        """The loss of a batch.

        Args:
            images: [B, C, H, W], as both networks take them.
            labels: int64 [B].
            epoch: From 0.
            indices: int64 [B], the images' places among the training images; crd alone needs them.

        Raises:
            RaykdError: the method needs `indices`, and there are none.
            ValueError: shapes disagree, or the epoch is not one of `epochs`.
        """
        if indices is None:
            if self._layers.shapes.labels.numel():
                raise RaykdError("indices is missing: the images' places among the training images, int64 [B]")
            indices = torch.arange(len(labels), device=labels.device)
        student, teacher = self._networks
        with captured(student, self._layers.student) as mine:
            logits = student(images)
        with torch.no_grad(), captured(teacher, self._layers.teacher) as theirs:
            answers = teacher(images)
        hints = Hints(
            tuple(mine[name] for name in self._layers.student),
            tuple(theirs[name] for name in self._layers.teacher),
            labels,
            indices,
        )
        epochs = max(epoch, 1) if self._epochs is None else self._epochs
        losses = self._objective(logits, answers, labels, epoch=epoch, epochs=epochs, hints=hints)
        return Distilled(losses.total, logits, losses.parts)
