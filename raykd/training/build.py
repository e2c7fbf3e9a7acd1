"""From settings to the working parts of a lesson: objective, optimizer, learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
)

from raykd.config import Lesson, MethodSettings, ScheduleSettings, TemperatureSettings, TrainingSettings
from raykd.knowledge import (
    ConstantSchedule,
    ConstantTemperature,
    CosineSchedule,
    LinearSchedule,
    LogitMethod,
    Objective,
    Schedule,
    StdTemperature,
    StepSchedule,
    Temperature,
    dkd,
    kd,
)


def build_objective(lesson: Lesson) -> Objective:
    """The whole loss that a lesson's settings describe."""
    return Objective(
        method=_method(lesson.method),
        temperature=_temperature(lesson.temperature),
        form=lesson.bias.form,
        strength=lesson.bias.strength,
        schedule=_schedule(lesson.schedule),
        ce_weight=lesson.objective.ce_weight,
        kd_weight=lesson.objective.kd_weight,
        warmup_epochs=lesson.objective.warmup_epochs,
        denominator=lesson.bias.denominator,
        label_smoothing=lesson.training.label_smoothing,
    )


def _method(settings: MethodSettings) -> LogitMethod:
    match settings.name:
        case "kd":
            return kd
        case "dkd":
            return partial(dkd, **settings.dkd.model_dump())


def _temperature(settings: TemperatureSettings) -> Temperature:
    match settings.policy:
        case "std":
            return StdTemperature(settings.multiplier, settings.loss_weight)
        case "constant":
            return ConstantTemperature(settings.value)


def _schedule(settings: ScheduleSettings) -> Schedule:
    match settings.form:
        case "cosine":
            return CosineSchedule(settings.shape)
        case "linear":
            return LinearSchedule(settings.shape)
        case "constant":
            return ConstantSchedule(settings.weight)
        case "step":
            return StepSchedule(settings.step_at)


def build_optimizer(settings: TrainingSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer at its peak learning rate."""
    match settings.optimizer:
        case "sgd":
            return SGD(
                parameters,
                lr=settings.learning_rate,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay,
            )
        case "adamw":
            return AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def build_learning_rate(settings: TrainingSettings, optimizer: Optimizer) -> LRScheduler:
    """The learning rate's course, to be stepped once an epoch: linear warm-up, then the chosen decay."""
    rest = max(settings.epochs - settings.warmup_epochs, 1)
    decay: LRScheduler
    match settings.decay:
        case "multistep":
            milestones = [round(share * settings.epochs) - settings.warmup_epochs for share in settings.milestones]
            decay = MultiStepLR(optimizer, milestones, gamma=settings.decay_factor)
        case "cosine":
            decay = CosineAnnealingLR(optimizer, T_max=rest)
        case "constant":
            decay = ConstantLR(optimizer, factor=1.0)
    if settings.warmup_epochs == 0:
        return decay
    # Epoch e of w trains at (e + 1) / (w + 1) of the peak, so the first epoch already learns and the peak comes after.
    rising = LinearLR(optimizer, start_factor=1 / (settings.warmup_epochs + 1), total_iters=settings.warmup_epochs)
    return SequentialLR(optimizer, [rising, decay], milestones=[settings.warmup_epochs])


def autocast_type(settings: TrainingSettings, device: torch.device) -> torch.dtype | None:
    """The precision of forward passes under autocast, or None for plain float32."""
    precision = settings.precision or ("bfloat16" if device.type == "cuda" else "float32")
    return torch.bfloat16 if precision == "bfloat16" else None
