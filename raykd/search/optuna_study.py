"""A study as Optuna has it: opened or begun, and how much of it is left to do. It needs no Ray."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from raykd.config import Goal
from raykd.search.goals import GOALS
from raykd.search.plateau import ENDED
from raykd.search.retries import retried, waiting_retries
from raykd.search.sampler import SeededByTrial
from raykd.search.storage import errors_told, open_storage

ENOUGH = 10
"""Trials after which Optuna's TPE begins. A study that learns from so many earlier ones draws none at random."""


def startup_trials(trials: int) -> int:
    """How many trials of a study have ended before TPE begins: half of them, 4 to 16, start points included.

    With a quarter of 32 trials, TPE stayed near the start points (benchmarks/search_efficiency.py).
    """
    return min(max(trials // 2, 4), 16)


def open_study(
    storage: Path | str,
    name: str,
    seed: int,
    goals: Sequence[Goal] = ("accuracy",),
    trials: int | None = None,
    earlier: Sequence[FrozenTrial] = (),
) -> Study:
    """Open the Optuna study of this name in a storage, or begin it.

    Every trial draws from a random stream of its own, derived from the seed and the trial's number. So a resumed study
    never repeats the stream of its first launch, and draws what it would have drawn without the interruption.

    Args:
        storage: A journal file, or the URL of a database; see `raykd.search.storage.storage_address`.
        name: Name of the study.
        seed: Seeds the sampler.
        goals: What it optimises, in the order of Optuna's values.
        trials: How many trials the study will have, see `startup_trials`. None: TPE begins after 10, as Optuna has it.
        earlier: Finished trials of earlier studies, from which TPE learns as well; see `raykd.search.sampler`.

    Raises:
        RaykdError: the storage cannot be used.
    """
    startup = ENOUGH if trials is None or len(earlier) >= ENOUGH else startup_trials(trials)
    with errors_told(storage):
        opened = open_storage(storage)
        # Optuna would write a record before it finds that a study is not new, and this one may be read only.
        if name not in optuna.study.get_all_study_names(opened):
            directions = [GOALS[goal].direction for goal in goals]
            optuna.create_study(storage=opened, study_name=name, directions=directions, load_if_exists=True)
        study = optuna.load_study(
            storage=opened,
            study_name=name,
            sampler=SeededByTrial(seed, startup, earlier),
            pruner=optuna.pruners.NopPruner(),  # Tune's scheduler decides who is stopped
        )
        if study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([GOALS[goal].key for goal in goals])
        return study


def read_study(storage: Path | str, name: str) -> Study:
    """Open the Optuna study of this name to look at it, while it may be running; nothing is locked or written.

    Args:
        storage: See `open_study`. It has this study.
        name: Name of the study.

    Raises:
        RaykdError: the storage cannot be used.
    """
    with errors_told(storage):
        return optuna.load_study(storage=open_storage(storage, reading=True), study_name=name)


def remaining_trials(study: Study, trials: int) -> int:
    """Of so many trials of a study, those that have not ended; where the search ended early, those that had begun.

    A failed trial that is tried again does not count.
    """
    if ENDED in study.user_attrs:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return len(running) + len(waiting_retries(study))
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    again = retried(study.get_trials(deepcopy=False))
    return trials - len(study.get_trials(deepcopy=False, states=ended)) + len(again)
