"""What a study's parts cost: seconds of an epoch, and seconds around the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EpochCosts:
    """Seconds of one epoch on one worker.

    A class of K students takes ``data + teacher + K * student``; a plain student alone ``data + student``.

    - data: reading and augmenting the images, once for a whole class
    - teacher: its answers to them, once for a whole class
    - student: a student's own steps, its validation and its checkpoint
    - teacher_step: the same of a teacher that is being trained
    """

    data: float
    teacher: float
    student: float
    teacher_step: float

    def of_class(self, students: int, plain: int = 0) -> tuple[float, float]:
        """Seconds that a class shares, and seconds of its students' own; `plain` of them have no teacher."""
        return self.data + (self.teacher if students > plain else 0.0), students * self.student

    def of_teachers(self, standard_epochs: int, generous_epochs: int) -> float:
        """Seconds until the teachers of a chain are trained, one after the other."""
        alone = self.data + self.teacher_step
        return standard_epochs * alone + generous_epochs * (alone + self.teacher)


@dataclass(frozen=True)
class Overheads:
    """Seconds around the epochs. `process_cpu`, `trial` and `result` are `benchmarks/scaling.py`'s, the rest estimates.

    - cluster: until a cluster has been joined and its broker lives
    - classroom: until a worker group has been started, torch imported, data and networks loaded
    - classroom_cpu: CPU seconds of a classroom's own controller, on the driver's node
    - tune: until Ray Tune hands out its first trial
    - process_cpu: CPU seconds of the start of a trial's process, on the driver's node
    - trial: of Tune and Optuna for each trial, one after the other, and none of its epochs
    - result: of Tune for each result, one after the other
    - epoch: of each class's epoch, until the broker has been heard
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


def costs_of_reports(metrics: Iterable[Mapping[str, float]], teacher_share: float = 0.5) -> EpochCosts:
    """The costs that a study's own reports tell: the line through its classes' sizes and seconds.

    Args:
        metrics: Of the trials' reports: `seconds` and `class_size`.
        teacher_share: What part of that which a class shares its teacher takes.
    """
    rows = [(each["class_size"], each["seconds"]) for each in metrics]
    sizes, seconds = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    # Every report counts its whole class's epoch.
    weights = np.sqrt(1 / sizes)
    columns = np.stack([np.ones_like(sizes), sizes], axis=1)
    shared, student = np.linalg.lstsq(columns * weights[:, None], seconds * weights, rcond=None)[0]
    if shared < 0 or student < 0 or len(set(sizes)) == 1:
        # Classes of one size, or too noisy ones, do not tell what is shared.
        shared, student = 0.0, float((seconds / sizes * weights**2).sum() / (weights**2).sum())
    shared = float(shared)
    return EpochCosts(shared * (1 - teacher_share), shared * teacher_share, float(student), float("nan"))
