"""Schedulers: whom they stop, and that a resumed one judges as if it had never been interrupted."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
import ray.cloudpickle as cloudpickle
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from raykd.config import StudySettings
from raykd.search.schedulers import feed_history, make_scheduler
from tests.helpers.searches import Launch, states

EPOCHS = 16


def settings(scheduler: str) -> StudySettings:
    return StudySettings.model_validate({"scheduler": scheduler, "grace_share": 0.25})


def accuracy(number: int, epoch: int) -> float:
    """Some learn well and some do not; trial 3 gets worse."""
    return round((1 - math.exp(-epoch / 4)) * (0.3 + 0.05 * (number * 7 % 11)) - 0.02 * epoch * (number == 3), 6)


class Tuning:
    """One launch as Tune would run it: round robin, one epoch each, with a real searcher and scheduler."""

    def __init__(self, folder: Path, scheduler: str, trials: int) -> None:
        self.launch = Launch(folder, trials=trials)
        self.scheduler = make_scheduler(settings(scheduler), EPOCHS)
        feed_history(self.scheduler, self.launch.study)
        self.seats: dict[str, tuple[Trial, int, int]] = {}
        self.stops: dict[int, int] = {}
        self.count = 0

    def run(self, ticks: int, seats: int = 3) -> None:
        """Until so many epochs are over, or all trials; then it is dropped."""
        for _ in range(ticks):
            while len(self.seats) < seats:
                trial = Trial("student", stub=True)
                config = self.launch.searcher.suggest(trial.trial_id)
                if config == Searcher.FINISHED:
                    break
                self.scheduler.on_trial_add(None, trial)
                self.seats[trial.trial_id] = (trial, config["trial"], 0)
            if not self.seats:
                return
            self._epoch()

    def _epoch(self) -> None:
        searcher = self.launch.searcher
        trial, number, epoch = self.seats.pop(next(iter(self.seats)))
        epoch += 1
        result = {"epoch": epoch, "validation_accuracy": accuracy(number, epoch), "finished": epoch == EPOCHS}
        failed = number == 6 and epoch == 6
        decision = None if failed else self.scheduler.on_trial_result(None, trial, result)
        if failed:
            self.scheduler.on_trial_error(None, trial)
            searcher.on_trial_complete(trial.trial_id, error=True)
        elif decision == TrialScheduler.STOP or epoch == EPOCHS:
            self.stops[number] = epoch
            self.scheduler.on_trial_complete(None, trial, result)
            searcher.on_trial_complete(trial.trial_id, result=result)
        else:
            searcher.on_trial_result(trial.trial_id, result)
            self.seats[trial.trial_id] = (trial, number, epoch)

    @property
    def rungs(self) -> dict[int, list[float]]:
        return {milestone: sorted(seen.values()) for milestone, seen in self.scheduler._brackets[0]._rungs}


def rungs_of(folder: Path) -> dict[int, list[float]]:
    """The rungs as a fresh launch sees them after the study is over."""
    tuning = Tuning(folder, "asha", trials=9)
    return tuning.rungs


def test_a_replayed_asha_has_the_rungs_of_the_live_one(tmp_path: Path) -> None:
    live = Tuning(tmp_path, "asha", trials=9)
    live.run(1000)
    assert set(live.rungs) == {4, 8, 16}
    assert len(live.rungs[4]) == 9
    assert 0 < len(live.rungs[16]) < len(live.rungs[8]) < 9
    assert rungs_of(tmp_path) == live.rungs


def test_a_resumed_asha_has_seen_all_that_the_interrupted_one_had(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    uninterrupted = Tuning(whole, "asha", trials=9)
    # One seat: the order of trials, and so every decision, does not depend on when it is interrupted.
    uninterrupted.run(1000, seats=1)
    for ticks in (21, 30, 1000):
        resumed = Tuning(parts, "asha", trials=9)
        resumed.run(ticks, seats=1)
    assert resumed.rungs == uninterrupted.rungs
    assert states(parts) == states(whole)
    assert set(states(whole)) == {"COMPLETE", "PRUNED", "FAIL"}


def test_a_trial_that_asha_stops_at_its_last_epoch_is_complete(tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, "asha", trials=1)
    tuning.run(1000)
    assert tuning.stops == {0: EPOCHS}
    assert states(tmp_path) == ["COMPLETE"]


def median_results(scheduler: MedianStoppingRule) -> list[list[tuple[int, float]]]:
    return sorted([(r["epoch"], r["validation_accuracy"]) for r in seen] for seen in scheduler._results.values())


def test_a_replayed_median_rule_has_the_results_of_the_live_one(tmp_path: Path) -> None:
    live = Tuning(tmp_path, "median", trials=9)
    live.run(1000)
    assert any(epoch < EPOCHS for epoch in live.stops.values())
    replayed = Tuning(tmp_path, "median", trials=9)
    assert isinstance(live.scheduler, MedianStoppingRule)
    assert isinstance(replayed.scheduler, MedianStoppingRule)
    assert median_results(replayed.scheduler) == median_results(live.scheduler)


def test_a_resumed_median_rule_judges_new_trials_by_old_ones(tmp_path: Path) -> None:
    Tuning(tmp_path, "median", trials=8).run(1000)
    weak = {"epoch": 4, "validation_accuracy": 0.0}
    resumed = Tuning(tmp_path, "median", trials=9)
    trial = Trial("student", stub=True)
    resumed.scheduler.on_trial_add(None, trial)
    assert resumed.scheduler.on_trial_result(None, trial, weak) == TrialScheduler.STOP
    fresh = make_scheduler(settings("median"), EPOCHS)
    fresh.on_trial_add(None, trial)
    assert fresh.on_trial_result(None, trial, weak) == TrialScheduler.CONTINUE


def test_the_median_rule_never_takes_a_seat_away_for_want_of_peers() -> None:
    class Controller:
        def get_live_trials(self) -> list[Trial]:
            return [Trial("waiting", stub=True)]

    scheduler = make_scheduler(settings("median"), EPOCHS)
    trial = Trial("student", stub=True)
    scheduler.on_trial_add(None, trial)
    for epoch in range(1, 9):
        result = {"epoch": epoch, "validation_accuracy": 0.5}
        assert scheduler.on_trial_result(Controller(), trial, result) == TrialScheduler.CONTINUE


def test_fifo_stops_nobody_and_takes_any_history(tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, "none", trials=4)
    tuning.run(1000)
    assert set(tuning.stops.values()) == {EPOCHS}
    assert type(Tuning(tmp_path, "none", trials=4).scheduler) is FIFOScheduler


@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_a_fed_scheduler_can_be_pickled(tmp_path: Path, scheduler: str) -> None:
    Tuning(tmp_path, scheduler, trials=3).run(1000)
    fed = Tuning(tmp_path, scheduler, trials=3).scheduler
    assert type(pickle.loads(cloudpickle.dumps(fed))) is type(fed)


@pytest.mark.parametrize(
    ("share", "epochs", "grace"), [(0.25, 16, 4), (0.25, 10, 3), (0.07, 100, 7), (0.0, 5, 1), (1, 3, 3)]
)
def test_the_grace_period_is_the_share_rounded_up(share: float, epochs: int, grace: int) -> None:
    asha = make_scheduler(StudySettings(scheduler="asha", grace_share=share, reduction_factor=3), epochs)
    assert isinstance(asha, AsyncHyperBandScheduler)
    assert asha._brackets[0]._rungs[-1][0] == grace
    assert asha._brackets[0].rf == 3
    assert (asha.metric, asha._time_attr, asha._mode, asha._max_t) == ("validation_accuracy", "epoch", "max", epochs)
