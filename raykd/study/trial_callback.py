"""Tune's callbacks: they pass results on to MLflow and the progress, and withdraw ended trials from the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from raykd.errors import plain
from raykd.places import fold_name, trial_name
from raykd.progress import RunProgress
from raykd.search.names import METRIC, TIME, TRIAL
from raykd.search.outcome import Outcome, outcome_of_result
from raykd.study.mlflow_log import TrialLog
from raykd.tracking import Tracker


class StudyCallback(tune.Callback):
    """Passes every result of every trial on. What it calls does not raise: an exception here would end the search.

    Args:
        log: Logs them to MLflow.
        progress: Shows them.
        broker: Students whose trials have ended are withdrawn from it.
        epochs: Epochs of a whole trial.
        folds: Students of a trial.
    """

    def __init__(self, log: TrialLog, progress: RunProgress, broker: Any, epochs: int, folds: int = 1) -> None:
        self._log = log
        self._progress = progress
        self._broker = broker
        self._epochs = epochs
        self._folds = folds
        self._seen: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to restore them; a study is resumed from its own record instead.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        values = {name: value for name, value in trial.config.items() if name != TRIAL}
        self._log.start(trial.config[TRIAL], values)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        name, epoch = _name(trial), int(result[TIME])
        if "failure" in result or epoch <= self._seen.get(name, 0):
            return  # it was not trained, or a resumed trial delivers its history again
        self._seen[name] = epoch
        metrics = _taken_metrics(result)
        self._log.epoch(name, epoch, metrics)
        self._progress.epoch(name, metrics)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial, outcome_of_result(trial.last_result))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial, outcome_of_result(trial.last_result, given_up=_reason(trial)))

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        name = _name(trial)
        for fold in range(self._folds):
            self._broker.withdraw.remote(fold_name(name, fold))
        epochs = self._seen.get(name, 0)
        self._log.end(name, outcome.state, outcome.reason, epochs, trial.last_result.get("weights"))
        accuracy = trial.last_result.get(METRIC) if outcome.state in ("finished", "stopped early") else None
        self._progress.end_trial(name, outcome.state, epochs, self._epochs, accuracy)
        if outcome.state == "failed":
            self._progress.say(f"{name} failed: {outcome.reason}")
        # Tune keeps its trials until the study is over, and nobody asks for these.
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()


class SizeCallback(tune.Callback):
    """Logs each trial's size, where it is a goal of the study.

    Args:
        tracker: Logs the trials.
        sizes: Gives the size of a trial's student from its settings.
    """

    def __init__(self, tracker: Tracker, sizes: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> None:
        self._tracker = tracker
        self._sizes = sizes

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as StudyCallback's

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        values = {name: value for name, value in trial.config.items() if name != TRIAL}
        # As metrics, which MLflow's scatter and parallel coordinates set against the accuracy; known before epoch 1.
        self._tracker.epoch(_name(trial), 0, self._sizes(values))


def _name(trial: Trial) -> str:
    return trial_name(trial.config[TRIAL])


def _taken_metrics(result: dict[str, Any]) -> dict[str, float]:
    """The metrics of a result, which is emptied of them: Tune keeps a trial's last result, and its median rule all."""
    pairs: list[tuple[str, float]] = result.pop("metrics")
    metrics = dict(pairs)
    pairs.clear()  # the schedulers' copy of the result holds the same list
    result.pop("config", None)  # the trial has it already
    return metrics


def _reason(trial: Trial) -> str:
    """The last line of the error that Tune keeps of a trial."""
    error = trial.get_error()
    lines = plain(error).strip().splitlines() if error is not None else []
    return lines[-1] if lines else "its process was lost"
