"""Shared by the benchmarks: searches as the main job runs them, each with what is measured of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from torch import nn

import raykd
from raykd.cluster.classrooms import Classrooms
from raykd.cluster.resources import Plan, Resources, plan_for
from raykd.data import load_data
from raykd.places import JOURNAL, RAY, trial_name
from raykd.progress import RunProgress
from raykd.search.names import METRIC
from raykd.search.optuna_study import open_study
from raykd.search.run import search
from raykd.search.space_file import load_space
from raykd.search.trial import TrialContext
from raykd.study.mlflow_log import Provenance, TrialLog
from raykd.study.train import train_teachers
from raykd.study.trial_callback import StudyCallback
from raykd.tracking import Tracker
from raykd.training.teacher_cache import teachers

NO_OP = f"{__name__}:no_op"
"""The import path of a student that costs nothing."""
SILENT = Console(quiet=True)


def no_op(num_classes: int, in_channels: int) -> nn.Module:
    """A student that costs nothing."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


@contextmanager
def open_classrooms(experiment: raykd.Experiment, students: int) -> Iterator[tuple[Classrooms, Plan]]:
    """Classrooms on the connected cluster, opened as the main job does, with the trained teachers of an experiment.

    Args:
        experiment: The experiment.
        students: How many there are to train, at the most.
    """
    plan = plan_for(experiment.cluster, Resources.now(), students=students)
    with Classrooms(plan, experiment.cluster, experiment.folder / RAY) as classrooms:
        chain = teachers(experiment, load_data(experiment.data).info.fingerprint)
        train_teachers(classrooms.broker, chain, SILENT)
        yield classrooms, plan


def trials_at_once(experiment: raykd.Experiment, plan: Plan) -> int:
    """How many trials of a study run at once."""
    return min(plan.classrooms * plan.seats, experiment.study.trials)


@dataclass(frozen=True)
class SearchResult:
    """A measured search.

    - seconds: from its start to its end
    - first: seconds until its first result
    - histories: the metrics of each trial's epochs, by the trial's name
    """

    seconds: float
    first: float
    histories: Mapping[str, list[Mapping[str, float]]]

    @property
    def metrics(self) -> list[Mapping[str, float]]:
        """Of all epochs of all trials."""
        return [epoch for history in self.histories.values() for epoch in history]

    @property
    def training(self) -> float:
        """Seconds that the students themselves report, in sum. Students of one class share its time."""
        return sum(epoch["seconds"] / epoch["class_size"] for epoch in self.metrics)

    def accuracy(self, trial: int, epoch: int) -> float:
        """Of a trial after an epoch. Of a trial that was stopped before, the last one."""
        history = self.histories[trial_name(trial)]
        return history[min(epoch, len(history)) - 1][METRIC]


class MeasuredSearch:
    """The search of a study. Its record and tracker are opened at once, before the time of the search counts.

    Args:
        experiment: The experiment.
        histories: Whether to keep the metrics of all trials for the result, which takes memory.

    Attributes:
        study: Optuna's record.
    """

    def __init__(self, experiment: raykd.Experiment, histories: bool = True) -> None:
        settings, folder = experiment.study, experiment.folder
        self.study = open_study(folder / JOURNAL, settings.name, settings.seed, trials=settings.trials)
        self._experiment = experiment
        self._space = load_space(settings.space, experiment)
        self._tracker = Tracker(experiment.tracking, folder, settings.name)
        self._tracker.start_study({})
        self._reports = _Reports(settings.trials, histories)

    @property
    def ended(self) -> int:
        """How many trials have ended by now."""
        return self._reports.ended

    def run(self, classrooms: Classrooms, plan: Plan) -> SearchResult:
        """Run all trials in open classrooms."""
        experiment, trials = self._experiment, self._experiment.study.trials
        data = load_data(experiment.data).info
        context = TrialContext(classrooms.name, experiment, (data.fingerprint,), trials_at_once(experiment, plan))
        reports = self._reports
        log = TrialLog(self._tracker, Provenance(experiment, data, plan), self.study)
        callback = StudyCallback(log, reports, classrooms.broker, experiment.training.epochs)
        started = time.perf_counter()
        search(context, self.study, self._space, [callback], trials)
        seconds = time.perf_counter() - started
        self._tracker.close()
        assert reports.first is not None
        return SearchResult(seconds, reports.first - started, reports.histories)


class _Reports(RunProgress):
    """Shows nothing, counts the trials that end, keeps their metrics, and notes when the first ones came."""

    def __init__(self, trials: int, histories: bool) -> None:
        super().__init__(SILENT, "search", trials, trials)
        self.first: float | None = None
        self.ended = 0
        self.histories: dict[str, list[Mapping[str, float]]] = {}
        self._keep = histories

    def epoch(self, name: str, metrics: Mapping[str, float]) -> None:
        super().epoch(name, metrics)
        self.first = self.first or time.perf_counter()
        if self._keep:
            self.histories.setdefault(name, []).append(metrics)

    def end_trial(self, name: str, state: str, epochs: int, of: int, accuracy: float | None) -> None:
        super().end_trial(name, state, epochs, of, accuracy)
        self.ended += 1
