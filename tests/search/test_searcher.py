"""The searcher driven by hand, on a real journal: who is handed out, what is recorded, and what survives a kill."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray.cloudpickle as cloudpickle
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from raykd.config import Experiment, StudySettings
from raykd.errors import RaykdError
from raykd.search.optuna_study import open_study
from raykd.search.schedulers import feed_history, make_scheduler
from raykd.search.searcher import OptunaSearcher
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space
from tests.helpers.paths import ROOT

SPACE = """
temperature.multiplier: {low: 0.5, high: 8.0, log: true}
bias.form: {choices: [pair, swap]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: pair}}
"""
DEFAULTS = {"temperature.multiplier": 1.0, "bias.form": "pair", "bias.strength": 0.5}


def space_in(folder: Path, text: str = SPACE) -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(str(path), Experiment())


class Launch:
    """One launch of a study; to drop it without telling anybody is to kill it."""

    def __init__(self, folder: Path, trials: int = 6, seed: int = 0, text: str = SPACE, **options: Any) -> None:
        self.study = open_study(folder / "optuna.journal", "study", seed, trials=trials)
        self.searcher = OptunaSearcher(self.study, space_in(folder, text), trials, **options)
        self.suggestions = 0

    def suggest(self, tune_id: str) -> dict[str, Any]:
        config = self.searcher.suggest(tune_id)
        assert isinstance(config, dict), config
        return config

    def teach(self, tune_id: str, values: list[float], finished: bool = True, **last: Any) -> None:
        """Report as Tune does: the result that ends a trial comes with its completion only."""
        results = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in enumerate(values, 1)]
        for result in results[:-1]:
            self.searcher.on_trial_result(tune_id, result)
        self.searcher.on_trial_complete(tune_id, result={**results[-1], "finished": finished, **last})

    def trial(self, number: int) -> optuna.trial.FrozenTrial:
        return self.study.trials[number]


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder / "optuna.journal", "study", 0).trials]


def test_the_first_trial_is_the_start_point_and_no_other(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    configs = [launch.suggest(f"t{i}") for i in range(6)]
    assert configs[0] == {**DEFAULTS, "trial": 0}
    assert [config["trial"] for config in configs] == list(range(6))
    assert all(config["temperature.multiplier"] != 1.0 for config in configs[1:])


def test_the_start_point_is_used_once_whenever_the_first_launch_died(tmp_path: Path) -> None:
    # Died between enqueuing and asking.
    first = Launch(tmp_path)
    first.study.enqueue_trial(first.searcher._space.defaults())
    second = Launch(tmp_path)
    assert second.suggest("a") == {**DEFAULTS, "trial": 0}
    assert second.suggest("b")["temperature.multiplier"] != 1.0
    assert len(second.study.trials) == 2


def test_config_and_record_agree_before_the_trial_starts(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    for i in range(6):
        config = launch.suggest(f"t{i}")
        on_disk = open_study(tmp_path / "optuna.journal", "study", 0).trials[i]
        assert {**on_disk.params, "trial": i} == config
        assert ("bias.strength" in config) == (config["bias.form"] == "pair")


def test_the_budget_counts_whatever_became_of_a_trial(tmp_path: Path) -> None:
    launch = Launch(tmp_path, trials=4)
    for i in range(4):
        launch.suggest(f"t{i}")
    launch.teach("t0", [0.5, 0.6])
    launch.teach("t1", [0.2], finished=False)
    launch.searcher.on_trial_complete("t2", error=True)
    assert launch.searcher.suggest("t4") == Searcher.FINISHED
    assert states(tmp_path) == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]


def test_a_finished_trial_is_complete_with_its_last_value_and_its_best_beside_it(tmp_path: Path) -> None:
    launch = Launch(tmp_path, keep=("views", "absent"))
    launch.suggest("a")
    launch.searcher.on_trial_result("a", {"epoch": 1, "validation_accuracy": 0.5, "seconds": 2.0})
    launch.searcher.on_trial_result("a", {"epoch": 2, "validation_accuracy": 0.9, "seconds": 1.0})
    launch.searcher.on_trial_result("a", {"epoch": 2, "validation_accuracy": 0.1, "seconds": 1.0})  # delivered again
    launch.searcher.on_trial_result("a", {"epoch": 3, "validation_accuracy": 0.9, "seconds": 1.5})
    last = {"epoch": 4, "validation_accuracy": 0.8, "seconds": 0.5, "finished": True, "views": [0, 4]}
    launch.searcher.on_trial_complete("a", result=last)
    trial = launch.trial(0)
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.8
    assert trial.intermediate_values == {1: 0.5, 2: 0.9, 3: 0.9, 4: 0.8}
    assert trial.user_attrs == {
        "views": [0, 4],
        "epoch": 4,
        "best_validation_accuracy": 0.9,
        "best_epoch": 2,
        "seconds": 5.0,
    }


def test_numpy_numbers_are_recorded(tmp_path: Path) -> None:
    import numpy as np

    launch = Launch(tmp_path, keep=("train_accuracy",))
    launch.suggest("a")
    result = {"epoch": np.int64(1), "validation_accuracy": np.float32(0.5), "train_accuracy": np.float32(0.25)}
    launch.searcher.on_trial_complete("a", result={**result, "finished": True})
    assert launch.trial(0).value == 0.5
    assert launch.trial(0).user_attrs["train_accuracy"] == 0.25


def test_a_stopped_trial_is_pruned_with_its_last_value(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    launch.suggest("a")
    launch.teach("a", [0.3, 0.2], finished=False)
    assert (launch.trial(0).state, launch.trial(0).value) == (TrialState.PRUNED, 0.2)
    assert "diverged" not in launch.trial(0).user_attrs


@pytest.mark.parametrize("last", [{"diverged": True}, {"validation_accuracy": math.nan}])
def test_a_diverged_trial_is_pruned_and_ranked_last(tmp_path: Path, last: dict[str, Any]) -> None:
    launch = Launch(tmp_path)
    launch.suggest("a")
    launch.teach("a", [0.9, 0.9, 0.1], finished=False, **last)
    trial = launch.trial(0)
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["diverged"] is True
    assert trial.constraints == {"diverged": 1.0}
    assert not any(math.isnan(value) for value in trial.intermediate_values.values())


def test_tpe_keeps_away_from_where_trials_diverge_late(tmp_path: Path) -> None:
    """Without the constraint TPE holds those that ran longest for the best of the stopped ones."""
    text = "bias.strength: {low: 0.0, high: 1.0}"
    launch = Launch(tmp_path, trials=40, text=text)
    for i in range(40):
        strength = launch.suggest(f"t{i}")["bias.strength"]
        if strength > 0.5:
            launch.teach(f"t{i}", [0.9] * 4, finished=False, diverged=True)
        else:
            launch.teach(f"t{i}", [0.1, 0.3 - 0.2 * strength], finished=False)
    late = [trial.params["bias.strength"] for trial in launch.study.trials[15:]]
    assert sum(strength > 0.5 for strength in late) < len(late) / 4


def test_nan_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    launch.suggest("a")
    launch.teach("a", [0.5, math.nan, 0.7])
    assert launch.trial(0).intermediate_values == {1: 0.5, 3: 0.7}
    assert launch.trial(0).state == TrialState.COMPLETE


def test_an_error_fails_with_a_note(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    launch.suggest("a")
    launch.suggest("b")
    launch.searcher.on_trial_result("a", {"epoch": 1, "validation_accuracy": 0.5})
    launch.searcher.on_trial_complete("a", error=True)
    launch.searcher.on_trial_complete("b", error=True)
    assert [trial.state for trial in launch.study.trials] == [TrialState.FAIL, TrialState.FAIL]
    assert launch.trial(0).user_attrs["error"].startswith("given up by Tune after epoch 1;")
    assert launch.trial(0).user_attrs["epoch"] == 1
    assert launch.trial(1).user_attrs["error"].startswith("given up by Tune before its first epoch was over;")


def test_a_retried_trial_does_not_disturb_the_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    launch = Launch(tmp_path)
    launch.suggest("a")
    launch.searcher.on_trial_complete("a", error=True)
    launch.teach("a", [0.5, 0.6])
    launch.searcher.on_trial_complete("never seen", result={"epoch": 1, "validation_accuracy": 1.0, "finished": True})
    assert states(tmp_path) == ["FAIL"]
    assert "Tune trial a has ended again" in caplog.text


def test_a_trial_stopped_without_a_result_is_handed_out_by_the_next_launch(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    config = launch.suggest("a")
    launch.searcher.on_trial_complete("a")
    assert states(tmp_path) == ["RUNNING"]
    assert Launch(tmp_path).suggest("b") == config


def test_trouble_with_the_record_is_logged_and_never_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    launch = Launch(tmp_path)
    launch.suggest("a")
    launch.suggest("b")
    launch.searcher.on_trial_result("a", {"epoch": 1, "validation_accuracy": "high"})
    launch.study.tell(1, state=TrialState.FAIL)  # somebody else finishes it behind the searcher's back
    launch.teach("b", [0.5])
    assert "a result of trial 0 could not be recorded" in caplog.text
    assert "the end of trial 1 could not be recorded" in caplog.text
    assert "UpdateFinishedTrialError" in caplog.text
    launch.teach("a", [0.4, 0.5])
    assert states(tmp_path) == ["COMPLETE", "FAIL"]


def test_interrupted_trials_come_first_under_their_numbers_with_their_values(tmp_path: Path) -> None:
    first = Launch(tmp_path, trials=5)
    configs = [first.suggest(f"a{i}") for i in range(4)]
    first.searcher.on_trial_result("a1", {"epoch": 1, "validation_accuracy": 0.5})
    first.teach("a2", [0.1, 0.2])
    del first

    second = Launch(tmp_path, trials=5)
    assert [second.suggest(f"b{i}") for i in range(3)] == [configs[0], configs[1], configs[3]]
    # The history is delivered again, from the start.
    second.teach("b1", [0.5, 0.6, 0.7])
    assert second.trial(1).intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}
    assert second.suggest("b3")["trial"] == 4
    assert second.searcher.suggest("b4") == Searcher.FINISHED
    assert len(second.study.trials) == 5


def test_a_trial_that_died_before_its_values_were_complete_gets_the_others_now(tmp_path: Path) -> None:
    study = open_study(tmp_path / "optuna.journal", "study", 0)
    study.ask()
    study.ask().suggest_float("temperature.multiplier", 0.5, 8.0, log=True)
    recorded = study.trials[1].params["temperature.multiplier"]
    launch = Launch(tmp_path)
    empty, partial = launch.suggest("a"), launch.suggest("b")
    assert (empty["trial"], partial["trial"]) == (0, 1)
    assert partial["temperature.multiplier"] == recorded
    for config in (empty, partial):
        assert {"temperature.multiplier", "bias.form"} <= config.keys()
        assert launch.trial(config.pop("trial")).params == config


def test_the_start_point_survives_a_death_between_asking_and_sampling(tmp_path: Path) -> None:
    first = Launch(tmp_path)
    first.study.enqueue_trial(DEFAULTS)
    first.study.ask()
    assert Launch(tmp_path).suggest("a") == {**DEFAULTS, "trial": 0}


def play(launch: Launch, trials: int, start: int = 0) -> None:
    for i in range(start, start + trials):
        config = launch.suggest(f"t{i}")
        launch.teach(f"t{i}", [1.0 - abs(math.log(config["temperature.multiplier"]) - 1.0)])


def test_a_resumed_study_draws_what_an_uninterrupted_one_draws(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    play(Launch(whole, trials=16), 16)
    for start in (0, 3, 6, 12):
        play(Launch(parts, trials=16), {0: 3, 3: 3, 6: 6, 12: 4}[start], start)
    params = [[t.params for t in open_study(f / "optuna.journal", "study", 0).trials] for f in (whole, parts)]
    assert params[0] == params[1]
    assert len({p["temperature.multiplier"] for p in params[1]}) == 16


def test_another_seed_draws_other_values(tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        launch = Launch(folder, seed=seed)
        launch.suggest("a")
        drawn.append(launch.suggest("b")["temperature.multiplier"])
    assert drawn[0] != drawn[1]


def test_tpe_learns(tmp_path: Path) -> None:
    """Random drawing would leave the last trials as far from the optimum as the first ones."""
    early, late = 0.0, 0.0
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        launch = Launch(folder, trials=30, seed=seed, text="temperature.multiplier: {low: 0.5, high: 8.0, log: true}")
        play(launch, 30)
        distances = [abs(math.log(trial.params["temperature.multiplier"]) - 1.0) for trial in launch.study.trials]
        early += sum(distances[:7])  # trials // 4 are drawn at random
        late += sum(distances[-7:])
    assert late < 0.7 * early


def test_a_changed_space_is_refused(tmp_path: Path) -> None:
    Launch(tmp_path)
    with pytest.raises(RaykdError) as caught:
        Launch(tmp_path, text=SPACE.replace("high: 8.0", "high: 4.0"))
    assert str(caught.value) == (
        "study 'study' was begun with another search space (temperature.multiplier changed):\n"
        f"restore {tmp_path / 'space.yaml'}, or begin a new study with --study.name"
    )


def test_a_snapshot_of_tune_keeps_its_trials(tmp_path: Path) -> None:
    first = Launch(tmp_path, trials=5)
    for name in ("a", "b", "c"):
        first.suggest(name)
    first.searcher.save_to_dir(str(tmp_path), "session")
    first.teach("b", [0.5])
    late = first.suggest("d")  # after the snapshot: Tune does not know it

    second = Launch(tmp_path, trials=5)
    second.searcher.restore_from_dir(str(tmp_path))
    second.teach("a", [0.3, 0.4])
    second.teach("b", [0.9])  # told already
    assert second.suggest("e") == late
    assert second.suggest("f")["trial"] == 4
    second.teach("c", [0.1])
    assert [(t.state.name, t.value) for t in second.study.trials[:3]] == [
        ("COMPLETE", 0.4),
        ("COMPLETE", 0.5),
        ("COMPLETE", 0.1),
    ]
    assert second.searcher.suggest("g") == Searcher.FINISHED


def test_tune_can_pickle_the_searcher_and_limit_its_concurrency(tmp_path: Path) -> None:
    launch = Launch(tmp_path, trials=3)
    copy = cloudpickle.loads(cloudpickle.dumps(launch.searcher))
    assert copy.suggest("a") == {**DEFAULTS, "trial": 0}
    limited = ConcurrencyLimiter(copy, max_concurrent=2)
    assert limited.suggest("b")["trial"] == 1
    assert limited.suggest("c")["trial"] == 2
    limited.on_trial_complete("b", result={"epoch": 1, "validation_accuracy": 0.5, "finished": True})
    assert limited.suggest("d") == Searcher.FINISHED
    assert states(tmp_path) == ["RUNNING", "COMPLETE", "RUNNING"]


def test_trials_are_handed_out_only_while_there_are_seats(tmp_path: Path) -> None:
    seats = 2
    launch = Launch(tmp_path, trials=5, seats=lambda: seats)
    limited = ConcurrencyLimiter(launch.searcher, max_concurrent=5)
    assert [limited.suggest(name)["trial"] for name in "ab"] == [0, 1]
    assert limited.suggest("c") is None
    seats = 3  # a node has joined
    assert limited.suggest("c")["trial"] == 2
    assert limited.suggest("d") is None
    seats = 1  # two have left; nobody's trial ends for that
    over = {"epoch": 1, "validation_accuracy": 0.5, "finished": True}
    for name in "ab":
        limited.on_trial_complete(name, result=over)
        assert limited.suggest("d") is None
    limited.on_trial_complete("c", result=over)
    assert limited.suggest("d")["trial"] == 3
    assert limited.suggest("e") is None
    assert states(tmp_path) == ["COMPLETE", "COMPLETE", "COMPLETE", "RUNNING"]


def test_the_seats_of_a_pickled_searcher_stay_behind(tmp_path: Path) -> None:
    lock = threading.Lock()  # cannot be pickled
    launch = Launch(tmp_path, trials=2, seats=lambda: int(lock.locked()))
    assert launch.searcher.suggest("a") is None
    copy = cloudpickle.loads(cloudpickle.dumps(launch.searcher))
    assert copy.suggest("a")["trial"] == 0


def test_a_journal_torn_by_a_crash_is_mended(tmp_path: Path) -> None:
    first = Launch(tmp_path)
    config = first.suggest("a")
    with (tmp_path / "optuna.journal").open("ab") as journal:
        journal.write(b'{"op_code": 8, "tri')
    second = Launch(tmp_path)
    assert second.suggest("b") == config
    second.teach("b", [0.5])
    assert states(tmp_path) == ["COMPLETE"]


def test_the_journals_folder_is_made_and_its_path_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = open_study(Path("outputs/study/optuna.journal"), "study", 0)
    monkeypatch.chdir("/")
    study.ask()
    assert len(open_study(tmp_path / "outputs/study/optuna.journal", "study", 0).trials) == 1


DRIVER = """
import json, sys, time
from pathlib import Path
from tests.search.test_searcher import Launch
launch = Launch(Path({folder!r}), trials=6)
configs = [launch.suggest(f"a{{i}}") for i in range(3)]
launch.teach("a0", [0.2, 0.4])
launch.searcher.on_trial_result("a1", {{"epoch": 1, "validation_accuracy": 0.7}})
print(json.dumps(configs), flush=True)
time.sleep(60)
"""


def test_a_killed_driver_loses_nothing(tmp_path: Path) -> None:
    script = DRIVER.format(folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert driver.stdout is not None
    configs = json.loads(driver.stdout.readline())
    driver.send_signal(signal.SIGKILL)
    driver.wait()

    launch = Launch(tmp_path, trials=6)
    assert [launch.suggest("b1"), launch.suggest("b2")] == configs[1:]
    launch.teach("b1", [0.7, 0.8])
    launch.teach("b2", [0.1], finished=False)
    for i in range(3, 6):
        assert launch.suggest(f"b{i}")["trial"] == i
    assert launch.searcher.suggest("b6") == Searcher.FINISHED
    assert [trial.value for trial in launch.study.trials[:3]] == [0.4, 0.8, 0.1]
    assert launch.trial(1).intermediate_values == {1: 0.7, 2: 0.8}


# Schedulers

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
    asha = make_scheduler(StudySettings(grace_share=share, reduction_factor=3), epochs)
    assert isinstance(asha, AsyncHyperBandScheduler)
    assert asha._brackets[0]._rungs[-1][0] == grace
    assert asha._brackets[0].rf == 3
    assert (asha.metric, asha._time_attr, asha._mode, asha._max_t) == ("validation_accuracy", "epoch", "max", epochs)
