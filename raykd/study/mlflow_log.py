"""What is logged to MLflow of a study and each of its trials: enough to compare them, and to replay one alone."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.study import Study

from raykd.cluster.resources import Plan
from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.places import SETTINGS, TRIALS, trial_name
from raykd.results.study import StudyResult
from raykd.results.trial_summary import RETRIED
from raykd.saved_settings import save_experiment
from raykd.search.names import METRIC
from raykd.search.retries import retry_of
from raykd.search.start_points import start_of
from raykd.settings_io import override
from raykd.storage import name_of
from raykd.tracking import Dataset, Tracker, TrialState
from raykd.tracking.code import installed, raykd_code, source_tags
from raykd.training.folder import description
from raykd.training.teacher_cache import teachers

log = logging.getLogger("raykd.tracking")

FIRST = (METRIC, f"best_{METRIC}")
"""The metrics that people sort by."""


TRIAL_ROLE = "trial"
"""Tag `raykd.role` of a trial's run, which tells it from those of finalists."""


@dataclass(frozen=True)
class Provenance:
    """Where the results of one launch come from.

    - experiment: its settings
    - data: the data that is trained on
    - plan: the sizes of its classrooms; None where no cluster was opened
    """

    experiment: Experiment
    data: DataInfo
    plan: Plan | None

    @cached_property
    def tags(self) -> dict[str, str]:
        """Tags of the launch's every run: data, versions and code."""
        return source_tags() | {
            "raykd.data_fingerprint": self.data.fingerprint,
            "raykd.versions": json.dumps(self.versions),
            "raykd.code": raykd_code(),
        }

    @property
    def versions(self) -> dict[str, str | int]:
        """What besides settings and data may change a result, if only in its last digits."""
        versions: dict[str, str | int] = {
            **{package: installed(package) for package in ("raykd", "torch", "torchvision", "ray")},
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        if self.plan is not None:
            versions["device"] = "cuda" if self.plan.gpus_per_worker else "cpu"
            versions |= {"workers": self.plan.workers, "threads": self.plan.threads_per_worker}
        return versions

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The splits that it looks at."""
        info, settings = self.data, self.experiment.data
        # A folder of images is known by its own name.
        name = name_of(settings.root) if info.name == "folder" and settings.root else info.name
        given = settings.model_dump(mode="json", exclude={"loader_processes", "download", "cache"}, exclude_none=True)
        return [
            Dataset(
                name=f"{name} {split}",
                context=context,
                fingerprint=info.fingerprint,
                images=info.split_sizes[split],
                classes=info.num_classes,
                shape=(info.channels, info.height, info.width),
                split_sizes=dict(info.split_sizes),
                settings={f"data.{key}": str(value) for key, value in given.items()},
            )
            for split, context in (("train", "training"), (settings.held_out, settings.held_out))
        ]


class TrialLog:
    """A study's trials in MLflow. No method raises: an exception would end the search."""

    def __init__(self, tracker: Tracker, provenance: Provenance, study: Study) -> None:
        self._tracker = tracker
        self._provenance = provenance
        self._study = study
        self._teachers: dict[str, str] = {}

    def start(self, number: int, values: Mapping[str, Any]) -> None:
        """Log that a trial starts with these searched settings, or is resumed."""
        provenance = self._provenance
        tags, artifacts = {"raykd.role": TRIAL_ROLE, **provenance.tags}, []
        try:
            trial = self._study.get_trials(deepcopy=False)[number]
            if start := start_of(trial):
                tags["raykd.start"] = start
            if (failed := retry_of(trial)) is not None:
                tags["raykd.retry_of"] = trial_name(failed)
                # Its run stays as it was, FAILED and with its reason.
                self._tracker.tags({"raykd.state": RETRIED, "raykd.retry": trial_name(number)}, trial_name(failed))
            experiment = override(provenance.experiment, values).with_given_teacher()
            tags["raykd.seed"] = str(experiment.training.seed)
            if experiment.training_spec().needs_teacher:
                # The key is a digest of all that decides the teacher.
                teacher = teachers(experiment, provenance.data.fingerprint)[-1].folder
                tags["raykd.teacher_key"] = name_of(teacher)
                self._teachers[trial_name(number)] = teacher
            file = experiment.folder / TRIALS / trial_name(number) / SETTINGS
            save_experiment(experiment, file)
            artifacts.append(file)
        except Exception as error:
            log.warning("the settings of %s could not be kept: %s", trial_name(number), error)
        self._tracker.start_trial(trial_name(number), values, tags, artifacts, provenance.datasets)

    def epoch(self, trial: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a trial's epoch, 1-based."""
        if epoch == 1 and "view" in metrics:
            self._tracker.tags({"raykd.first_view": f"{metrics['view']:.0f}"}, trial)
        # MLflow's comparison opens with the metric that was logged first.
        self._tracker.epoch(trial, epoch, {name: metrics[name] for name in FIRST if name in metrics} | dict(metrics))

    def end(self, trial: str, state: TrialState, reason: str | None, epochs: int, weights: str | None) -> None:
        """A trial is over after so many epochs, with weights of this digest."""
        digests = {"raykd.weights": weights, "raykd.teacher_weights": self._teacher_weights(trial)}
        self._tracker.tags({name: digest for name, digest in digests.items() if digest is not None}, trial)
        self._tracker.end_trial(trial, state, reason, {"epochs": epochs})

    def _teacher_weights(self, trial: str) -> str | None:
        folder = self._teachers.pop(trial, None)
        return None if folder is None else (description(folder) or {}).get("weights")


def log_outcome(tracker: Tracker, result: StudyResult) -> None:
    """Log what came of a study to its parent run: figures to sort by, and a description to read."""
    states = [trial.state for trial in result.trials]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    if RETRIED in counts:
        counts.setdefault("failed", 0)  # what an earlier launch has logged no longer holds
    metrics = {f"trials_{state.replace(' ', '_')}": float(count) for state, count in counts.items()}
    beside = []
    for name, title, model in (("teacher", "teacher", result.teacher), ("plain", "plain student", result.plain)):
        if model is not None:
            metrics[f"{name}_{METRIC}"] = accuracy = model["metrics"][METRIC]
            beside.append(f"{title} {accuracy:.2%}")
    tags, best = {}, "No trial finished"
    if result.best is not None and result.best.accuracy is not None:
        metrics[f"best_trial_{METRIC}"] = result.best.accuracy
        tags["raykd.best_trial"] = result.best.name
        best = f"**Best student: {result.best.label}, {result.best.accuracy:.2%}**"
    if result.finalists is not None and (winner := result.finalists.winner) and winner.accuracy:
        metrics["winner_mean_accuracy"] = winner.accuracy.mean
        baseline = result.finalists.best_baseline
        if baseline is not None and not result.finalists.unfinished_baselines:
            difference = winner.over(baseline, result.finalists.seeds)
            assert difference is not None
            metrics["winner_over_best_baseline"] = difference.mean
        best += f" ({winner.accuracy.mean:.2%} over {winner.accuracy.count} further seeds)"
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    # MLflow's page shows four lines.
    note = f"{best} ({', '.join(beside)}).\n\n{len(states)} trials: {ended}. Validation split, last epoch."
    tracker.study_metrics(metrics)
    tracker.tags(tags | {"mlflow.note.content": note})
