"""Costs measured on a few batches: the study's own data, networks and steps, on this machine's device."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from raykd.config import Experiment, TrainingSpec
from raykd.data import Batch, ImageData, evaluation_batches, load_data, training_batches
from raykd.models import build_model
from raykd.planning.costs import EpochCosts
from raykd.training.build import autocast_type
from raykd.training.external_teacher import fetch_external_teacher
from raykd.training.messages import Report, TrainRequest
from raykd.training.saved import save_model
from raykd.training.student import Student
from raykd.training.teacher import Teacher
from raykd.training.team import Team

BATCHES = 12
"""Batches that are timed, after `WARM_UP` others."""
WARM_UP = 3
PREFETCHED = 24
"""Streamed batches that may be loaded before the first is asked for; they would look as if they cost nothing."""
SECONDS = 20.0
"""Longest time of each measurement; slow networks are timed on fewer batches."""

FROZEN = "frozen"
"""Folder of the teacher that answers, where none is given."""


def measured_costs(experiment: Experiment, device: torch.device, threads: int = 1) -> EpochCosts:
    """Seconds of an epoch's parts, each timed alone on a few batches.

    Networks that are to be trained have random weights, which does not change their speed; a given teacher is fetched.

    Args:
        experiment: The experiment.
        device: The device that a worker would use.
        threads: CPU threads of a worker.

    Raises:
        RaykdError: Data, networks or the given teacher cannot be had as the settings ask.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="raykd-plan-") as folder:
            return _Stopwatch(experiment, device, Path(folder)).costs()
    finally:
        torch.set_num_threads(before)


class _Stopwatch:
    def __init__(self, experiment: Experiment, device: torch.device, folder: Path) -> None:
        self._experiment = experiment
        self._device = device
        self._folder = folder
        self._data: ImageData = load_data(experiment.data).to(device)

    def costs(self) -> EpochCosts:
        spec = self._experiment.training_spec()
        teacher = self._teacher(spec) if spec.needs_teacher else None
        batches = training_batches(self._data, batch_size=spec.training.batch_size, device=self._device)
        steps = batches.steps_per_epoch
        student = self._student_epoch(spec, teacher, "student")
        teacher_step = self._teacher_epoch()
        answers = self._seconds(batches.epoch(0), lambda _, batch: teacher.teach(batch)) if teacher else 0.0
        data = self._seconds_of_data(batches.epoch(1), steps)
        return EpochCosts(data=data * steps, teacher=answers * steps, student=student, teacher_step=teacher_step)

    def _teacher_epoch(self) -> float:
        """Seconds of an epoch of a teacher that is trained; 0 where a finished one is given, and no generous one."""
        teacher = self._experiment.teacher
        if teacher.source is not None and teacher.kind == "standard":
            return 0.0
        return self._student_epoch(self._experiment.standard_teacher_spec(), None, "teacher")

    def _teacher(self, spec: TrainingSpec) -> Teacher:
        info = self._data.info
        folder = self._random_teacher() if self._experiment.teacher.source is None else self._given_teacher()
        return Teacher(folder, info, autocast_type(spec.training, self._device), self._device)

    def _random_teacher(self) -> str:
        info, model = self._data.info, self._experiment.teacher.model.model_copy(update={"weights": None})
        network = build_model(model, num_classes=info.num_classes, in_channels=info.channels)
        folder = self._folder / FROZEN
        folder.mkdir()
        save_model(folder, network, self._experiment.standard_teacher_spec(), info, Report("teacher", "", epoch=1), [0])
        return str(folder)

    def _given_teacher(self) -> str:
        """The teacher itself: its network and the size of its images may be known to its source only."""
        experiment, teacher = self._experiment, self._experiment.teacher
        assert teacher.source is not None
        return fetch_external_teacher(
            teacher.source,
            teacher.model,
            self._data.info,
            str(self._folder),
            experiment.tracking,
            teacher.preprocessing,
            trust=teacher.trust,
        )

    def _student_epoch(self, spec: TrainingSpec, teacher: Teacher | None, name: str) -> float:
        """Seconds of an epoch of a student's own: steps, validation, report and checkpoint."""
        teacher_folder = None if teacher is None else teacher.folder
        request = TrainRequest(name, spec, teacher_folder, str(self._folder / name))
        student = Student(request, self._data, Team(device=self._device), teacher)
        size = spec.training.batch_size
        training = training_batches(self._data, batch_size=size, device=self._device)
        validation = evaluation_batches(self._data, "validation", batch_size=4 * size, device=self._device)
        if teacher is None:
            step = self._seconds(training.epoch(0), lambda number, batch: student.learn(number, batch, None))
        else:
            # The teacher's answers to one batch stand for all: its time is no part of a student's.
            first = next(iter(training.epoch(0)))
            knowledge = teacher.teach(first, student.teacher_layers)
            step = self._seconds(itertools.repeat(first), lambda number, batch: student.learn(number, batch, knowledge))
        student.network.eval()
        evaluation = self._seconds(
            iter(validation), lambda _, batch: student.evaluate_batch(batch.images, batch.labels, None)
        )
        started = self._now()
        student.finish_epoch(0, {"seconds": 0.0})
        closing = self._now() - started
        evaluations = math.ceil(self._data.info.split_sizes["validation"] / (4 * size))
        return step * training.steps_per_epoch + evaluation * evaluations + closing

    def _seconds_of_data(self, batches: Iterator[Batch], steps: int) -> float:
        skipped = min(PREFETCHED if self._data.streamed else WARM_UP, max(steps - BATCHES, 0))
        for _ in itertools.islice(batches, skipped):
            pass
        started = self._now()
        count = sum(1 for _ in itertools.islice(batches, BATCHES))
        return (self._now() - started) / max(count, 1)

    def _seconds(self, batches: Iterator[Batch], do: Callable[[int, Batch], object]) -> float:
        """The median seconds of what is done with a batch; the first ones are warm-up, where there are enough."""
        times: list[float] = []
        for number, batch in enumerate(itertools.islice(batches, WARM_UP + BATCHES)):
            started = self._now()
            do(number, batch)
            times.append(self._now() - started)
            if sum(times) > SECONDS and len(times) > WARM_UP:
                break
        kept = sorted(times[WARM_UP:] or times)
        return kept[len(kept) // 2]

    def _now(self) -> float:
        """The time after everything that was launched on the device is finished."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
