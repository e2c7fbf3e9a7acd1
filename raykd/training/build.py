"""From settings to the working parts of a training: objective, optimizer, learning rate."""

from __future__ import annotations

from collections.abc import Iterable

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

from raykd.config import TrainingSettings, TrainingSpec
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.knowledge import Objective
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod, HintShapes, Method, TeacherFree
from raykd.models import build_model
from raykd.seeds import seed_of

FUSED = ("cpu", "cuda")
"""Devices for which torch has fused optimizers."""


def build_network(spec: TrainingSpec, info: DataInfo, device: torch.device, *, weights: bool) -> nn.Module:
    """A student's network on its device, in the memory layout that suits this.

    Args:
        spec: The settings of its training, whose seed decides its fresh weights.
        info: The data.
        device: Where it is trained.
        weights: Whether the weights that the settings name are read; without, the network is fresh.

    Raises:
        RaykdError: It cannot be built as the settings say.
    """
    settings = spec.student if weights else spec.student.model_copy(update={"weights": None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(spec.training.seed, "weights"))
        network = build_model(settings, num_classes=info.num_classes, in_channels=info.channels)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    placed: nn.Module = network.to(device, memory_format=layout)  # type: ignore[call-overload]
    return placed


def build_objective(spec: TrainingSpec, shapes: HintShapes | None = None) -> Objective:
    """The whole loss that the settings describe.

    Args:
        spec: The settings of one training.
        shapes: Of the hints, where the method is a feature method.

    Raises:
        RaykdError: The method cannot compare such hints, or an import path leads nowhere.
    """
    method = spec.method.chosen()
    answers = spec.method.chosen_for_answers()
    if isinstance(answers, AnswerMethod) and answers.finite and spec.bias.leaves_nothing:
        raise RaykdError(
            f"method {spec.method.name} compares logits, and {spec.bias.leaves_nothing} with bias.form "
            f"{spec.bias.form} sends some of them to minus infinity: change it, or take another form"
        )
    for own in (method, answers):
        if isinstance(own, Method) and own.labels == "single" and spec.data.mixing:
            raise RaykdError(f"method {spec.method.name} needs images of one label, and {spec.data.mixing} mixes two")
    smoothing = method.smoothing if isinstance(method, TeacherFree) else None
    try:
        features = method.term(shapes) if isinstance(method, FeatureMethod) and shapes is not None else None
    except ValueError as error:
        raise RaykdError(f"method {spec.method.name}: {error}") from error
    ce_weight, kd_weight = spec.objective.weights
    return Objective(
        # Parameters that no loss reaches would stop several workers.
        method=None if answers is None or kd_weight == 0 else answers.term(),
        temperature=spec.temperature,
        bias=spec.bias,
        schedule=spec.schedule,
        ce_weight=ce_weight,
        kd_weight=kd_weight,
        warmup_epochs=spec.objective.warmup(spec.training.epochs),
        label_smoothing=spec.training.label_smoothing if smoothing is None else smoothing,
        features=features,
        feature_weight=method.weight if isinstance(method, FeatureMethod) else 0.0,
    )


def build_optimizer(settings: TrainingSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer at its peak learning rate; fused, as a step of small networks is bound by the number of calls."""
    parameters = list(parameters)
    fused = all(parameter.device.type in FUSED for parameter in parameters)
    match settings.optimizer:
        case "sgd":
            return SGD(
                parameters,
                lr=settings.learning_rate,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay,
                fused=fused,
            )
        case "adamw":
            return AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)


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
