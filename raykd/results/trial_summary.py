"""One trial of a study, as Optuna's record has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from raykd.places import label, trial_name
from raykd.search.goals import GOALS
from raykd.search.outcome import outcome_of_trial
from raykd.search.retries import retried
from raykd.search.start_points import settings_of, start_of

RETRIED = "retried"
"""State of a trial that failed and was tried again under another number; also of its run in MLflow."""


@dataclass(frozen=True)
class TrialSummary:
    """One trial.

    - name: as in folders and MLflow
    - state: finished, stopped early, diverged, failed, interrupted, or retried: it failed, and another trial, with the
      same settings, has taken its place
    - values: the searched settings by dotted name, and those that a start point sets besides
    - accuracy: on the validation split after its last epoch, or None
    - best_accuracy, best_epoch: of its best epoch
    - epochs: how many it had
    - seconds: of its class, while it was trained
    - parameters, latency_ms: of its student, if they are goals of the study (see `raykd.search.student_size`)
    - error: why it failed, or None
    - retry: the name of the trial that has taken its place, or None
    - start: the name of the start point that it is, or None
    """

    name: str
    state: str
    values: Mapping[str, Any]
    accuracy: float | None
    best_accuracy: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    parameters: int | None = None
    latency_ms: float | None = None
    error: str | None = None
    retry: str | None = None
    start: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial, retry: int | None = None) -> TrialSummary:
        """The summary of an Optuna trial; `retry` is the number of the trial that tries it again, if one does."""
        accuracies = trial.intermediate_values
        last, outcome = max(accuracies, default=0), outcome_of_trial(trial)
        return cls(
            name=trial_name(trial.number),
            state=outcome.state if retry is None else RETRIED,
            values=settings_of(trial),
            accuracy=accuracies.get(last),
            best_accuracy=trial.user_attrs.get("best_validation_accuracy"),
            best_epoch=trial.user_attrs.get("best_epoch"),
            epochs=last,
            seconds=trial.user_attrs.get("seconds", 0.0),
            parameters=trial.user_attrs.get(GOALS["parameters"].key),
            latency_ms=trial.user_attrs.get(GOALS["latency"].key),
            error=outcome.reason,
            retry=None if retry is None else trial_name(retry),
            start=start_of(trial),
        )

    @property
    def label(self) -> str:
        """The name, and what start point it is."""
        return label(self.name, self.start)

    @property
    def settings(self) -> str:
        """The searched settings in a line."""
        return ", ".join(f"{name}={_shown(value)}" for name, value in self.values.items())


def summaries(trials: Sequence[FrozenTrial]) -> list[TrialSummary]:
    """The summaries of a study's trials."""
    again = retried(trials)
    return [TrialSummary.of(trial, again.get(trial.number)) for trial in trials]


def ranked(trials: Iterable[TrialSummary]) -> list[TrialSummary]:
    """Finished trials, best first; of equals the earlier one."""
    finished = [trial for trial in trials if trial.state == "finished"]
    return sorted(finished, key=lambda trial: trial.accuracy or 0.0, reverse=True)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
