"""How a trial ended, decided in one place for Optuna, MLflow, the progress and the results. Pure: no Ray.

======================  ==============  ========
last result             state           Optuna
======================  ==============  ========
none, or                interrupted     RUNNING
``interrupted``
``failure``, or given   failed          FAIL
up by Tune
``diverged``, or the    diverged        PRUNED
metric is not finite
``finished``            finished        COMPLETE
any other               stopped early   PRUNED
======================  ==============  ========
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from raykd.search.names import METRIC, TIME
from raykd.tracking import TrialState
from raykd.training.messages import Report

OPTUNA_STATES: dict[TrialState, optuna.trial.TrialState] = {
    "finished": optuna.trial.TrialState.COMPLETE,
    "stopped early": optuna.trial.TrialState.PRUNED,
    "diverged": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
    "interrupted": optuna.trial.TrialState.RUNNING,
}

DIVERGED = "diverged"
"""Attribute of an Optuna trial, beside its state, that tells a diverged trial from one that was stopped early."""
ERROR = "error"
"""Attribute of an Optuna trial: why it failed."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    - state: ``interrupted`` means that it is not over: ``--resume`` runs it again
    - reason: why it failed, or None
    """

    state: TrialState
    reason: str | None = None

    @property
    def optuna_state(self) -> optuna.trial.TrialState:
        """The state that Optuna records; RUNNING where nothing is to be recorded."""
        return OPTUNA_STATES[self.state]


def outcome_of_result(result: Mapping[str, Any] | None, given_up: str | None = None, metric: str = METRIC) -> Outcome:
    """How a trial ended that Tune runs no more.

    Args:
        result: Its last result, see `raykd.search.trial.StudentTrial.step`. None or empty: it gave none.
        given_up: Why Tune gave the trial up after too many errors. None: it did not. A failure in the last result
            says more, and is then the reason.
        metric: The metric that the study optimises.
    """
    result = result or {}
    if result.get("interrupted"):
        return Outcome("interrupted")
    failure = result.get("failure")
    if failure is not None or given_up is not None:
        return Outcome("failed", str(given_up if failure is None else failure))
    if TIME not in result:
        return Outcome("interrupted")
    if result.get("diverged") or not math.isfinite(float(result.get(metric, math.nan))):
        return Outcome("diverged")
    return Outcome("finished" if result.get("finished") else "stopped early")


def outcome_of_report(report: Report) -> TrialState:
    """The state of a student whose training ended with this report; the report's ``failure`` is the reason."""
    if report.interrupted:
        return "interrupted"
    if report.failure is not None:
        return "failed"
    if report.diverged:
        return "diverged"
    return "finished" if report.finished else "stopped early"


def outcome_of_trial(trial: FrozenTrial) -> Outcome:
    """How a trial ended, as its Optuna study has it."""
    match trial.state:
        case optuna.trial.TrialState.COMPLETE:
            return Outcome("finished")
        case optuna.trial.TrialState.FAIL:
            return Outcome("failed", trial.user_attrs.get(ERROR))
        case optuna.trial.TrialState.PRUNED:
            return Outcome("diverged" if trial.user_attrs.get(DIVERGED) else "stopped early")
        case _:
            return Outcome("interrupted")
