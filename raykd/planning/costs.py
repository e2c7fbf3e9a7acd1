"""What a study's parts cost: seconds of an epoch, and seconds around the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raykd.config import Experiment, ModelSettings
from raykd.data import load_data
from raykd.models import build_model
from raykd.study.networks import given_teacher

STREAMED = ("imagenet", "folder")
"""Data sets that a study can be planned for without having them here."""
STREAMED_SIZE, STREAMED_CLASSES = 224, 1000
BACKWARD = 2.0
"""A backward pass takes twice the operations of its forward pass."""


@dataclass(frozen=True)
class EpochCosts:
    """Seconds of one epoch on one worker.

    A class of K students takes ``data + teacher + K * student``, a plain student alone ``data + student``.

    - data: reading and augmenting the images, once for a whole class
    - teacher: its answers to the images, once for a whole class
    - student: a student's own steps, its validation and its checkpoint
    - teacher_step: the same of a teacher that is trained
    """

    data: float
    teacher: float
    student: float
    teacher_step: float

    def of_class(self, students: int, plain: int = 0, answered: float = 1.0) -> tuple[float, float]:
        """Seconds that a class shares, and seconds of its students' own.

        Args:
            students: Of the class.
            plain: How many of them have no teacher.
            answered: To what share of the images the teacher's answers must be computed.
        """
        return self.data + (answered * self.teacher if students > plain else 0.0), students * self.student

    def times(self, folds: int) -> EpochCosts:
        """Of a trial with a student on each of so many folds, which share nothing."""
        return EpochCosts(*(folds * seconds for seconds in astuple(self)))

    def of_teachers(self, standard_epochs: float, generous_epochs: float) -> float:
        """Seconds until the teachers of a chain are trained, one after the other."""
        alone = self.data + self.teacher_step
        return standard_epochs * alone + generous_epochs * (alone + self.teacher)


@dataclass(frozen=True)
class Overheads:
    """Seconds around the epochs: `process_cpu`, `trial` and `result` by `benchmarks/scaling.py`, the rest estimates.

    - cluster: until Ray is connected and the broker runs
    - classroom: until a worker group has been started, torch imported, data and networks loaded
    - classroom_cpu: CPU seconds of a classroom's own controller, on the driver's node
    - tune: until Ray Tune hands out its first trial
    - process_cpu: CPU seconds of the start of a trial's process, on the driver's node
    - trial: of Tune and Optuna for each trial, one after the other, without its epochs
    - result: of Tune for each result, one after the other
    - epoch: of each class's epoch, until the broker's commands have arrived
    - ending: until the classrooms are closed, and the best student is kept and logged
    - worker_loss: share of the speed that each doubling of a classroom's workers loses
    """

    cluster: float = 5.0
    classroom: float = 10.0
    classroom_cpu: float = 3.0
    tune: float = 1.0
    process_cpu: float = 2.5
    trial: float = 0.14
    result: float = 0.01
    epoch: float = 0.01
    ending: float = 10.0
    worker_loss: float = 0.1

    def speed(self, workers: int) -> float:
        """How many times faster a classroom of so many workers is than one of a single worker."""
        return float(workers * (1 - self.worker_loss) ** math.log2(workers))


@dataclass(frozen=True)
class BankedViews:
    """The bank of a study's teacher.

    - missing: views that fit into the bank, and whose answers must be computed once
    - beyond: share of all views that do not fit, and whose answers are computed each time
    """

    missing: int
    beyond: float = 0.0

    def answers(self, epochs: int, before: int) -> float:
        """How many epochs' answers are computed in so many epochs, after so many others, of all classes together."""
        new = min(max(self.missing - before, 0), epochs)
        return new + (epochs - new) * self.beyond


def costs_of_reports(metrics: Iterable[Mapping[str, float]], teacher_share: float = 0.5) -> EpochCosts:
    """The costs that follow from a study's own reports: a line fitted to the sizes and seconds of its classes.

    Args:
        metrics: Of the trials' reports: `seconds` and `class_size`.
        teacher_share: What part of the shared seconds the teacher takes.
    """
    rows = [(report["class_size"], report["seconds"]) for report in metrics]
    sizes, seconds = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    # Every report counts its whole class's epoch.
    weights = np.sqrt(1 / sizes)
    columns = np.stack([np.ones_like(sizes), sizes], axis=1)
    shared, student = np.linalg.lstsq(columns * weights[:, None], seconds * weights, rcond=None)[0]
    if shared < 0 or student < 0 or len(set(sizes)) == 1:
        # From classes of one size, or noisy ones, it does not follow what is shared.
        shared, student = 0.0, float((seconds / sizes * weights**2).sum() / (weights**2).sum())
    shared = float(shared)
    return EpochCosts(shared * (1 - teacher_share), shared * teacher_share, float(student), float("nan"))


def derived_costs(
    experiment: Experiment,
    student_seconds: float,
    teacher_seconds: float | None = None,
    data_seconds: float = 0.0,
) -> EpochCosts:
    """Costs of an epoch where nothing can be measured: from those of the plain student, and counted operations.

    Args:
        experiment: Names data and networks.
        student_seconds: Of the plain student's epoch, data and validation included.
        teacher_seconds: Of the teacher's answers to the training images. None: the student's seconds, multiplied by how
            many more operations the teacher's forward pass takes.
        data_seconds: What part of the student's seconds is reading and augmenting images.

    Raises:
        RaykdError: Data or networks cannot be had as the settings ask.
    """
    classes, shape = _shape(experiment)
    student = operations(experiment.student, classes, shape)
    teacher = _operations_of_teacher(experiment, classes, shape)
    own = max(student_seconds - data_seconds, 0.0)
    forward = own / (1 + BACKWARD) * teacher / student if teacher_seconds is None else teacher_seconds
    return EpochCosts(
        data=data_seconds,
        teacher=forward if experiment.training_spec().needs_teacher else 0.0,
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


def _operations_of_teacher(experiment: Experiment, classes: int, shape: tuple[int, int, int]) -> int:
    """As `operations`; a given teacher may want its images larger than the student's."""
    teacher = experiment.teacher
    if teacher.source is None:
        return operations(teacher.model, classes, shape)
    model, wanted = given_teacher(teacher)
    size = wanted.image_size
    return operations(model, classes, shape if size is None else (shape[0], size, size))


def _shape(experiment: Experiment) -> tuple[int, tuple[int, int, int]]:
    """Number of classes, and shape of an image (C, H, W)."""
    data = experiment.data
    if data.name in STREAMED:
        size = data.image_size or STREAMED_SIZE
        return STREAMED_CLASSES, (3, size, size)
    info = load_data(data).info
    return info.num_classes, (info.channels, info.height, info.width)
