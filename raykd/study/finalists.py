"""The last part of a study: its best settings, the best start point and the plain student under further seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raykd.cluster.client import train_to_end
from raykd.config import Experiment, StudySettings
from raykd.places import PLAIN
from raykd.results.finalists import Finalist, Finalists
from raykd.results.trial_summary import TrialSummary, ranked
from raykd.search.names import METRIC
from raykd.settings_io import override, setting_value
from raykd.study.contenders import seeded_views
from raykd.study.folds import Fold
from raykd.study.session import Session, untrained
from raykd.study.train import log_if_finished, train_logged
from raykd.training.folder import description
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

FIRST_SEED = 1001
"""Added to `training.seed`: neither the search nor a confirm uses these seeds."""
PLAIN_SECTIONS = ("training.", "data.", "student.")
"""Settings that the plain student has as well, as the experiment says."""


@dataclass(frozen=True)
class _Setting:
    """A setting that is taught again: its trial (None: without a teacher), its teachers, and its students by seed."""

    trial: TrialSummary | None
    teachers: Sequence[TrainRequest]
    students: Mapping[int, TrainRequest]

    @property
    def name(self) -> str:
        return PLAIN if self.trial is None else self.trial.name


class Final:
    """A study's finalists, known as soon as its trials have ended.

    Args:
        experiment: The study's.
        trials: All of its trials.
        folds: The study's. Of a finalist's students each is on one of them, in turn.
    """

    def __init__(self, experiment: Experiment, trials: Sequence[TrialSummary], folds: Sequence[Fold]) -> None:
        self._experiment = experiment
        self._seeds = experiment.study.finalist_seeds
        best = ranked(trials)
        chosen = best[: experiment.study.finalists]
        chosen += [trial for trial in best if trial.start is not None and trial not in chosen][:1]
        # With several goals no single trial is the best one.
        wanted = experiment.study.finalists > 0 and len(experiment.study.objectives) == 1 and chosen
        self._settings = [_setting(experiment, trial, folds) for trial in (*chosen, None)] if wanted else []

    @property
    def open_work(self) -> list[TrainRequest]:
        """The students that are not trained yet."""
        return untrained(student for setting in self._settings for student in setting.students.values())

    def train(self, session: Session, broker: Any) -> None:
        """Train what is not trained yet, in shared classes; each student is a child run in MLflow."""
        if not self.open_work:
            return
        tracker = session.tracker
        requests: list[TrainRequest] = []
        for setting in self._settings:
            for teacher in setting.teachers:
                train_to_end(broker, teacher)
        # Those of one seed see the same views, and so share a class.
        for seed in self._settings[0].students:
            for setting in self._settings:
                request = setting.students[seed]
                requests.append(request)
                values = {} if setting.trial is None else dict(setting.trial.values)
                tags = {"raykd.role": "finalist", "raykd.finalist": setting.name, "raykd.folder": request.folder}
                tracker.start_trial(request.student, {**values, "training.seed": seed}, tags)
                log_if_finished(request, tracker)

        train_logged(broker, requests, "finalists", session.console, tracker)

    def outcome(self, plain: Mapping[str, Any] | None) -> Finalists | None:
        """What they reached so far; None without finalists.

        Args:
            plain: The description of the study's plain student.
        """
        if not self._settings:
            return None
        rows = []
        for setting in self._settings:
            models = {seed: description(student.folder) for seed, student in setting.students.items()}
            accuracies = {seed: model["metrics"][METRIC] for seed, model in models.items() if model is not None}
            trial = setting.trial
            if trial is None:
                search = None if plain is None else plain["metrics"][METRIC]
                rows.append(Finalist(PLAIN, None, 0, search, accuracies))
            else:
                unlike = tuple(self._unlike_plain(trial))
                rows.append(Finalist(trial.name, trial.start, len(trial.values), trial.accuracy, accuracies, unlike))
        return Finalists(tuple(rows), self._seeds)

    def _unlike_plain(self, trial: TrialSummary) -> Iterator[str]:
        for name, value in trial.values.items():
            if name.startswith(PLAIN_SECTIONS) and value != setting_value(self._experiment, name):
                yield name


def most_students(settings: StudySettings) -> int:
    """How many students the finalists of a study have at the most: a start point may be among the best."""
    if not settings.finalists or len(settings.objectives) > 1:
        return 0
    return (settings.finalists + 2) * settings.finalist_seeds


def _setting(experiment: Experiment, trial: TrialSummary | None, folds: Sequence[Fold]) -> _Setting:
    name = PLAIN if trial is None else trial.name
    first = experiment.training.seed + FIRST_SEED
    chains: list[TrainRequest] = []
    students = {}
    for number in range(experiment.study.finalist_seeds):
        fold, seed = folds[number % len(folds)], first + number
        own = fold.experiment if trial is None else override(fold.experiment, trial.values)
        spec = own.training_spec() if trial is not None else own.training_spec().without_teacher()
        chain = teachers(own, fold.fingerprint) if spec.needs_teacher else []
        chains += chain
        students[seed] = seeded_views(f"{name}-seed-{seed}", spec, seed, chain, experiment, fold.fingerprint)
    return _Setting(trial, chains, students)
