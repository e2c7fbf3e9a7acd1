"""The searcher driven by hand, on a real journal: which trials are handed out, and what is recorded of them."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import ray.cloudpickle as cloudpickle
from optuna.trial import TrialState
from ray.tune.search import ConcurrencyLimiter, Searcher

from raykd.search.optuna_study import open_study
from tests.helpers.searches import DEFAULTS, Launch, states


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
        "start": "experiment",
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
