"""Costs from one figure and the networks' counted operations, where nothing can be measured."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raykd.config import Experiment, ModelSettings
from raykd.data import load_data
from raykd.models import build_model
from raykd.planning.costs import EpochCosts

STREAMED = ("imagenet", "folder")
"""Data sets that need not be here to be planned for."""
STREAMED_SIZE, STREAMED_CLASSES = 224, 1000
BACKWARD = 2.0
"""A backward pass takes twice the operations of its forward pass."""


def derived_costs(
    experiment: Experiment,
    student_seconds: float,
    teacher_seconds: float | None = None,
    data_seconds: float = 0.0,
) -> EpochCosts:
    """Costs of an epoch from that of the plain student alone.

    Args:
        experiment: Names data and networks.
        student_seconds: Of the plain student's epoch, data and validation included.
        teacher_seconds: Of the teacher's answers to the training images. None: the student's, times what its forward
            pass takes more operations.
        data_seconds: What part of the student's is reading and augmenting images.

    Raises:
        RaykdError: Data or networks cannot be had as the settings ask.
    """
    classes, shape = _shape(experiment)
    student = operations(experiment.student, classes, shape)
    teacher = operations(experiment.teacher.model, classes, shape)
    own = max(student_seconds - data_seconds, 0.0)
    forward = own / (1 + BACKWARD) * teacher / student if teacher_seconds is None else teacher_seconds
    taught = experiment.training_spec().needs_teacher
    return EpochCosts(
        data=data_seconds,
        teacher=forward if taught else 0.0,
        student=own,
        teacher_step=forward * (1 + BACKWARD),
    )


def operations(settings: ModelSettings, classes: int, shape: tuple[int, int, int]) -> int:
    """Operations of a forward pass of one image (C, H, W), counted without memory."""
    with torch.device("meta"):
        network: nn.Module = build_model(settings, num_classes=classes, in_channels=shape[0]).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.empty(1, *shape))
    return max(counter.get_total_flops(), 1)


def _shape(experiment: Experiment) -> tuple[int, tuple[int, int, int]]:
    data = experiment.data
    if data.name in STREAMED:
        size = data.image_size or STREAMED_SIZE
        return STREAMED_CLASSES, (3, size, size)
    info = load_data(data).info
    return info.num_classes, (info.channels, info.height, info.width)
