"""The schedulers that stop trials early, and how a scheduler learns what earlier launches of its study have seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from raykd.config import StudySettings
from raykd.places import trial_name
from raykd.search.names import METRIC, TIME, TRIAL


def make_scheduler(
    settings: StudySettings, epochs: int, warmup: int = 0, is_spared: Callable[[int], bool] = lambda number: False
) -> TrialScheduler:
    """The scheduler of a study.

    asha also stops a trial at its last report, where nothing is left to stop: such a trial has ``finished`` in its
    last result, and counts as complete.

    Args:
        settings: Name of the scheduler and how early it may stop trials.
        epochs: Epochs of a whole trial.
        warmup: Epochs over which distillation sets in: before they are over, and one more, no trial is judged.
        is_spared: Whether a trial, by its number, is trained to the end whatever its results; they count for others.
    """
    # In binary 0.07 * 100 is a little above 7, which must not make it 8.
    grace = max(1, math.ceil(settings.grace_share * epochs - 1e-9), min(warmup + 1, epochs))
    if settings.early_stopping == "asha":
        return _SparingHalving(
            is_spared,
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
        return _SparingMedian(
            is_spared,
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            grace_period=grace,
            min_time_slice=math.inf,
        )
    return FIFOScheduler()  # type: ignore[no-untyped-call]


class _SparingHalving(AsyncHyperBandScheduler):
    """Successive halving that never stops some trials."""

    def __init__(self, is_spared: Callable[[int], bool], **options: Any) -> None:
        super().__init__(**options)
        self._is_spared = is_spared

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if _is_spared_one(trial, self._is_spared) else decision


class _SparingMedian(MedianStoppingRule):
    """The median stopping rule that never stops some trials."""

    def __init__(self, is_spared: Callable[[int], bool], **options: Any) -> None:
        super().__init__(**options)
        self._is_spared = is_spared

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if _is_spared_one(trial, self._is_spared):
            self.on_trial_complete(tune_controller, trial, result)  # records it, without judging
            return self.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)


def _is_spared_one(trial: Trial, is_spared: Callable[[int], bool]) -> bool:
    return TRIAL in trial.config and is_spared(trial.config[TRIAL])


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
