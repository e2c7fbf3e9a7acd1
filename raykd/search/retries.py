"""Failed trials that are tried again, by `study.retry_failed`.

Optuna keeps what has ended as it is. So a failed trial stays, and a new one with the same settings takes its place: it
has the next number, a folder and a run in MLflow of its own, and is trained from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from raykd.search.names import OUTSIDE, RETRY_OF, START, START_SETTINGS

KEPT = (START, START_SETTINGS, OUTSIDE)
"""Attributes that say what is trained; all others say how that went."""


def retry_of(trial: FrozenTrial) -> int | None:
    """The number of the failed trial that this one tries again, or None."""
    number: int | None = trial.user_attrs.get(RETRY_OF)
    return number


def retried(trials: Iterable[FrozenTrial]) -> dict[int, int]:
    """The numbers of failed trials that were tried again, with those of the trials that do so."""
    return {failed: trial.number for trial in trials if (failed := retry_of(trial)) is not None}


def failed_trials(study: Study) -> list[FrozenTrial]:
    """Those that failed and were not tried again."""
    known = study.get_trials(deepcopy=False)
    again = retried(known)
    return [trial for trial in known if trial.state == TrialState.FAIL and trial.number not in again]


def waiting_retries(study: Study) -> list[FrozenTrial]:
    """Those that try a failed one again and have not been handed out."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [trial for trial in waiting if retry_of(trial) is not None]


def retry_failed(study: Study) -> list[int]:
    """Let every failed trial be tried again, once for each call, and return their numbers."""
    failed = failed_trials(study)
    for trial in failed:
        attributes = {name: trial.user_attrs[name] for name in KEPT if name in trial.user_attrs}
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes | {RETRY_OF: trial.number},
            )
        )
    return [trial.number for trial in failed]
