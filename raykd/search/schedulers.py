"""The schedulers that stop trials early, and how a scheduler learns what earlier launches of its study have seen."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from raykd.config import StudySettings
from raykd.places import trial_name
from raykd.search.names import METRIC, TIME


def make_scheduler(settings: StudySettings, epochs: int) -> TrialScheduler:
    """The scheduler of a study.

    asha also stops a trial at its last report, where nothing is left to stop: such a trial has ``finished`` in its
    last result, and counts as complete.

    Args:
        settings: Name of the scheduler and how early it may stop trials.
        epochs: Epochs of a whole trial.
    """
    # In binary 0.07 * 100 is a little above 7, which must not make it 8.
    grace = max(1, math.ceil(settings.grace_share * epochs - 1e-9))
    if settings.early_stopping == "asha":
        return AsyncHyperBandScheduler(
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=settings.reduction_factor,
        )
    if settings.early_stopping == "median":
        # Without min_time_slice every trial without enough peers is paused after each epoch for one that waits, and
        # loses its seat.
        return MedianStoppingRule(
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            grace_period=grace,
            min_time_slice=math.inf,  # type: ignore[arg-type]
        )
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def feed_history(scheduler: TrialScheduler, study: Study, controller: Any = None) -> None:
    """Show a fresh scheduler all results of the study's finished trials, so that it judges as if it had seen them.

    Interrupted trials are left out: they are resumed, and deliver their whole history again themselves.

    Args:
        scheduler: From `make_scheduler`; it has seen nothing yet.
        study: Its finished, stopped and failed trials are fed in the order in which they ended.
        controller: Passed on to the scheduler. Those of `make_scheduler` need none.
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    for trial in sorted(ended, key=lambda trial: trial.datetime_complete or datetime.max):
        _feed(scheduler, trial, controller)


def _feed(scheduler: TrialScheduler, trial: FrozenTrial, controller: Any) -> None:
    results = [{TIME: epoch, METRIC: value} for epoch, value in sorted(trial.intermediate_values.items())]
    if not results:
        return
    # A stub needs no trainable. Its resources are filled in because a trial without them cannot be unpickled, and Tune
    # pickles the scheduler.
    stub = Trial("history", trial_id=trial_name(trial.number), stub=True)
    stub.create_placement_group_factory()  # type: ignore[no-untyped-call]
    scheduler.on_trial_add(controller, stub)
    for result in results:
        if isinstance(scheduler, MedianStoppingRule):
            # This records a result. on_trial_result would also judge it, and refuses all further results of a trial
            # that it finds, with hindsight, too weak.
            scheduler.on_trial_complete(controller, stub, result)
        else:
            scheduler.on_trial_result(controller, stub, result)
    if trial.state == TrialState.FAIL:
        scheduler.on_trial_error(controller, stub)
    else:
        scheduler.on_trial_complete(controller, stub, results[-1])
