"""A Tune searcher on Optuna's ask-and-tell interface. The Optuna study is the record of all trials.

Ray's own OptunaSearch records stopped trials as complete, leaves diverged ones running for ever, fails on retried ones
and repeats its start point. Here the record is in a storage that outlives the driver, and an interrupted trial is
handed out again under its number and with its values.
"""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from raykd.errors import RaykdError, StorageError
from raykd.search.goals import goals_of, values_of
from raykd.search.names import METRIC, OUTSIDE, START_SETTINGS, TIME, TRIAL
from raykd.search.outcome import DIVERGED, ERROR, outcome_of_result
from raykd.search.plateau import ENDED, Plateau
from raykd.search.retries import retried, waiting_retries
from raykd.search.space import SearchSpace, Value
from raykd.search.start_points import StartPoint, enqueue, experiment_itself
from raykd.search.storage import recorded_together
from raykd.search.untried import Untried
from raykd.tracking.address import reason

STORAGE_FAULTS = (StorageError, StorageInternalError, OSError)
"""What a journal or a database raises when it cannot be written."""

_log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A trial that Tune runs now: its values and seconds by epoch."""

    trial: optuna.Trial
    values: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)


class OptunaSearcher(Searcher):
    """Suggests trials, and records in Optuna how they went and ended.

    A trial's config is its settings by dotted name, and under ``trial`` its number in the Optuna study. Results must
    carry ``epoch`` and the metric, and may say ``finished``, ``diverged`` and ``seconds`` (of this epoch). A trial ends

    - as COMPLETE, if it had all its epochs (``finished``), with the metric of the last one, and with several goals
      its student's size beside it;
    - as PRUNED, if it was stopped before, with the metric of the last one (with several goals: without values);
    - as PRUNED with the attribute ``diverged``, and infeasible, if it diverged: TPE ranks stopped trials by their
      epochs, and would otherwise be drawn to those that diverged late;
    - as FAIL with the attribute ``error``, if its student could not be trained (``failure``) or Tune gave it up.

    Its student's size, from `sizes`, becomes attributes when the trial is handed out for the first time, and is valid
    for all launches. When it ends, its attributes are ``epoch``, ``seconds`` (in sum), ``best_validation_accuracy``,
    ``best_epoch``, and what `keep` names.

    Args:
        study: From `raykd.search.optuna_study.open_study`.
        space: What to search. A study keeps the space that it was begun with.
        trials: Trials of the study over all its launches, however they ended.
        metric: What is maximised, or as `mode` says.
        mode: max or min; must be the study's direction.
        keep: Further keys of the last result to keep as attributes.
        seats: Gives the number of trials that may run at once; nothing more is suggested meanwhile. None: any number.
        ended: Says whether the run ends here: nothing is suggested any more. None: never.
        sizes: Gives the size of a trial's student from its settings, by the keys of `raykd.search.goals.GOALS`. None:
            it is no goal of the study.
        start: What a new study begins with. None: the experiment's own settings.
        plateau: Says when to end the search early. None: never.
        on_fault: Called when the record cannot be written: its trials stay open, and the run should end. None: nobody.
    """

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        trials: int,
        metric: str = METRIC,
        mode: Literal["max", "min"] = "max",
        keep: Sequence[str] = (),
        seats: Callable[[], int] | None = None,
        ended: Callable[[], bool] | None = None,
        sizes: Callable[[Mapping[str, Value]], Mapping[str, float]] | None = None,
        start: Sequence[StartPoint] | None = None,
        plateau: Plateau | None = None,
        on_fault: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._study = study
        self._space = space
        self._budget = trials
        self._keep = tuple(keep)
        self._seats = seats
        self._ended = ended
        self._sizes = sizes
        self._start = ((experiment_itself(space),) if start is None else tuple(start))[:trials]
        self._plateau = plateau
        self._untried = Untried(space)
        self._on_fault = on_fault
        self._goals = goals_of(study)
        self._running: dict[str, _Running] = {}
        self._interrupted: deque[FrozenTrial] = deque()
        self._same_space()
        self._take_over({})

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher; these belong to this process.
        return self.__dict__ | {"_seats": None, "_ended": None, "_sizes": None, "_on_fault": None}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The config of a trial: an interrupted one first, the start points in a new study, then what Optuna asks.

        None while all seats are taken.
        """
        if self._ended is not None and self._ended():
            return Searcher.FINISHED
        if self._seats is not None and len(self._running) >= self._seats():
            return None
        try:
            return self._suggested(trial_id)
        except STORAGE_FAULTS as error:
            self._tell_fault(error)
            return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record the metric of an epoch. Epochs already recorded, as delivered again after a fault, are passed over."""
        running = self._running.get(trial_id)
        if running is None:
            return
        try:
            self._report(running, result)
        except STORAGE_FAULTS as error:
            self._tell_fault(error)
        except Exception:
            # An exception here would end the sweep; one missing value does not.
            _log.exception("a result of trial %d could not be recorded", running.trial.number)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record how a trial ended, once. Without any result it stays open, for the next launch to hand out again."""
        running = self._running.pop(trial_id, None)
        if running is None:
            _log.warning("Tune trial %s has ended again, or was never handed out; the record stays as it is", trial_id)
            return
        try:
            with recorded_together(self._study):
                self._finish(running, result or {}, error)
        except STORAGE_FAULTS as fault:
            self._tell_fault(fault)
        except Exception:
            _log.exception("the end of trial %d could not be recorded; --resume runs it again", running.trial.number)

    def get_state(self) -> dict[str, Any]:
        """The number of the Optuna trial behind each Tune trial; everything else is in the study."""
        return {"running": {trial_id: running.trial.number for trial_id, running in self._running.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the trials that a restored Tune still has, but for those that have ended in the study since."""
        self._take_over(state["running"])

    def save(self, checkpoint_path: str) -> None:
        """Write the state for Tune's experiment snapshot."""
        Path(checkpoint_path).write_text(json.dumps(self.get_state()), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read the state from Tune's experiment snapshot."""
        self.set_state(json.loads(Path(checkpoint_path).read_text(encoding="utf-8")))

    def _suggested(self, trial_id: str) -> dict[str, Any] | str:
        # All values are on the disk before the trial is handed out; values recorded before are read, not drawn again.
        with recorded_together(self._study):
            trial = self._next_trial()
            if trial is None:
                return Searcher.FINISHED
            values: dict[str, Any] = dict(trial.user_attrs.get(START_SETTINGS, {}))
            if OUTSIDE not in trial.user_attrs:
                values |= self._space.sample(trial)
            self._note_size(trial, values)
        self._running[trial_id] = _Running(trial, self._reported(trial.number))
        return {**values, TRIAL: trial.number}

    def _tell_fault(self, error: Exception) -> None:
        """Say that the record cannot be written, which is no trial's fault."""
        _log.debug("the study's record cannot be written", exc_info=True)
        if self._on_fault is not None:
            self._on_fault(f"the study's record cannot be written: {reason(error)}")

    def _same_space(self) -> None:
        space = {row.name: row.range for row in self._space.describe()}
        begun_with = self._study.user_attrs.get("space")
        if begun_with is None:
            self._study.set_user_attr("space", space)
        elif begun_with != space:
            names = sorted(begun_with.keys() | space.keys())
            changed = ", ".join(name for name in names if begun_with.get(name) != space.get(name))
            raise RaykdError(
                f"study {self._study.study_name!r} was begun with another search space ({changed} changed):\n"
                f"restore {self._space.source}, or begin a new study with --study.name"
            )

    def _take_over(self, handed_out: Mapping[str, int]) -> None:
        open_trials = {trial.number: trial for trial in self._study.get_trials(states=(TrialState.RUNNING,))}
        self._running = {
            trial_id: _Running(self._reopened(open_trials[number]), self._reported(number))
            for trial_id, number in handed_out.items()
            if number in open_trials
        }
        taken = set(handed_out.values())
        self._interrupted = deque(trial for number, trial in sorted(open_trials.items()) if number not in taken)

    def _next_trial(self) -> optuna.Trial | None:
        if self._interrupted:
            return self._reopened(self._interrupted.popleft())
        enqueue(self._study, self._start)
        known = self._study.get_trials(deepcopy=False)
        begun = sum(trial.state != TrialState.WAITING for trial in known) - len(retried(known))
        waits = any(trial.state == TrialState.WAITING for trial in known)
        if not waiting_retries(self._study) and (begun >= self._budget or self._has_ended(waits)):
            return None
        if not waits and (settings := self._untried.instead(self._study)):
            self._study.enqueue_trial(dict(settings))
        return self._study.ask()

    def _has_ended(self, waits: bool) -> bool:
        """Whether nothing more is drawn, and nothing waits that need not be drawn; the reason is kept in the study."""
        if ENDED not in self._study.user_attrs:
            reason = self._plateau.reason(self._study) if self._plateau else None
            if reason := reason or (None if waits else self._untried.all_tried(self._study)):
                self._study.set_user_attr(ENDED, reason)
        return ENDED in self._study.user_attrs

    def _reopened(self, frozen: FrozenTrial) -> optuna.Trial:
        # Optuna has no public way to resume a trial of an earlier process.
        return optuna.Trial(self._study, frozen._trial_id)

    def _note_size(self, trial: optuna.Trial, values: Mapping[str, Value]) -> None:
        if self._sizes is None:
            return
        for key, size in self._sizes(values).items():
            if key not in trial.user_attrs:
                trial.set_user_attr(key, size)

    def _reported(self, number: int) -> dict[int, float]:
        return dict(self._study.get_trials(deepcopy=False)[number].intermediate_values)

    def _report(self, running: _Running, result: Mapping[str, Any]) -> None:
        if TIME not in result or self.metric not in result:
            return
        epoch, value = int(result[TIME]), float(result[self.metric])
        if "seconds" in result:
            running.seconds[epoch] = float(result["seconds"])
        if math.isfinite(value) and epoch not in running.values:
            # Optuna's own `report` refuses studies of several goals.
            self._study._storage.set_trial_intermediate_value(running.trial._trial_id, epoch, value)
            running.values[epoch] = value

    def _finish(self, running: _Running, result: Mapping[str, Any], error: bool) -> None:
        trial, values = running.trial, running.values
        if result.get("failure") is None:
            # The result at which a trial is stopped comes here only.
            self._report(running, result)
        after = f"after epoch {max(values)}" if values else "before its first epoch was over"
        given_up = f"given up by Tune {after}; the error.txt in its folder says why" if error else None
        outcome = outcome_of_result(result, given_up, self.metric)
        if outcome.state == "interrupted":
            _log.info("trial %d was interrupted; --resume runs it again", trial.number)
            return
        attributes = {key: _plain(result[key]) for key in self._keep if key in result}
        if values:
            best = (max if self.mode == "max" else min)(values.values())
            best_epoch = min(epoch for epoch in values if values[epoch] == best)
            attributes |= {"epoch": max(values), f"best_{self.metric}": best, "best_epoch": best_epoch}
        if running.seconds:
            attributes["seconds"] = sum(running.seconds.values())
        if outcome.state == "failed":
            attributes[ERROR] = outcome.reason
        if outcome.state == "diverged":
            attributes[DIVERGED] = True
            trial.set_constraint(DIVERGED, 1.0)
        for key, attribute in attributes.items():
            trial.set_user_attr(key, attribute)
        reached = None
        if outcome.state == "finished":
            reached = values_of(self._goals, float(result[self.metric]), trial.user_attrs)
        self._study.tell(trial, reached, outcome.optuna_state)


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's, which JSON can hold."""
    return value.item() if hasattr(value, "item") else value
