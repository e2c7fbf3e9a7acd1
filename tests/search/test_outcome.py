"""How a trial ended: every last result, and that Optuna's record, MLflow and the results agree on it."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from raykd.results.trial_summary import TrialSummary
from raykd.search.outcome import Outcome, outcome_of_report, outcome_of_result, outcome_of_trial
from raykd.study.trial_callback import StudyCallback
from raykd.training.messages import Report
from tests.helpers.optuna_storages import Launch, experiment_in

EPOCH = {"epoch": 3, "validation_accuracy": 0.5}


@pytest.mark.parametrize(
    ("result", "given_up", "state", "reason", "recorded"),
    [
        ({**EPOCH, "finished": True}, None, "finished", None, TrialState.COMPLETE),
        (EPOCH, None, "stopped early", None, TrialState.PRUNED),
        (
            {**EPOCH, "finished": False, "diverged": False, "failure": None},
            None,
            "stopped early",
            None,
            TrialState.PRUNED,
        ),
        ({**EPOCH, "diverged": True}, None, "diverged", None, TrialState.PRUNED),
        ({**EPOCH, "diverged": True, "finished": True}, None, "diverged", None, TrialState.PRUNED),
        ({**EPOCH, "validation_accuracy": math.nan, "finished": True}, None, "diverged", None, TrialState.PRUNED),
        ({**EPOCH, "validation_accuracy": math.inf}, None, "diverged", None, TrialState.PRUNED),
        ({"epoch": 3, "finished": True}, None, "diverged", None, TrialState.PRUNED),
        ({**EPOCH, "failure": "too large"}, None, "failed", "too large", TrialState.FAIL),
        ({"failure": "too large"}, None, "failed", "too large", TrialState.FAIL),
        ({**EPOCH, "failure": "too large", "diverged": True}, "lost", "failed", "too large", TrialState.FAIL),
        ({**EPOCH, "finished": True}, "lost", "failed", "lost", TrialState.FAIL),
        ({}, "lost", "failed", "lost", TrialState.FAIL),
        (None, "lost", "failed", "lost", TrialState.FAIL),
        ({}, None, "interrupted", None, TrialState.RUNNING),
        (None, None, "interrupted", None, TrialState.RUNNING),
    ],
)
def test_every_last_result(
    result: dict[str, Any] | None, given_up: str | None, state: str, reason: str | None, recorded: TrialState
) -> None:
    outcome = outcome_of_result(result, given_up)
    assert (outcome.state, outcome.reason, outcome.optuna_state) == (state, reason, recorded)


def test_another_metric_decides_whether_a_trial_diverged() -> None:
    result = {"epoch": 1, "loss": 0.5}
    assert outcome_of_result(result, metric="loss").state == "stopped early"
    assert outcome_of_result({**result, "loss": math.nan}, metric="loss").state == "diverged"


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ({"finished": True}, "finished"),
        ({"diverged": True}, "diverged"),
        ({"failure": "too large"}, "failed"),
        ({"failure": "too large", "diverged": True}, "failed"),
        ({}, "stopped early"),
    ],
)
def test_every_last_report(report: dict[str, Any], state: str) -> None:
    assert outcome_of_report(Report("trial-0000", "ticket", 3, **report)) == state


@pytest.mark.parametrize(
    ("recorded", "attributes", "outcome"),
    [
        (TrialState.COMPLETE, {}, Outcome("finished")),
        (TrialState.PRUNED, {}, Outcome("stopped early")),
        (TrialState.PRUNED, {"diverged": True}, Outcome("diverged")),
        (TrialState.FAIL, {"error": "too large"}, Outcome("failed", "too large")),
        (TrialState.RUNNING, {}, Outcome("interrupted")),
        (TrialState.WAITING, {}, Outcome("interrupted")),
    ],
)
def test_every_recorded_trial(recorded: TrialState, attributes: dict[str, Any], outcome: Outcome) -> None:
    value = 0.5 if recorded == TrialState.COMPLETE else None
    trial = optuna.trial.create_trial(state=recorded, value=value, user_attrs=attributes)
    assert outcome_of_trial(trial) == outcome


ACCURACIES = st.floats(0, 1) | st.sampled_from([math.nan, math.inf, -math.inf])
RESULTS = st.fixed_dictionaries(
    {},
    optional={
        "epoch": st.integers(1, 9),
        "validation_accuracy": ACCURACIES,
        "finished": st.booleans(),
        "diverged": st.booleans(),
        "failure": st.none() | st.just("too large"),
        "weights": st.just("a" * 64),
    },
)


def trial_of(config: dict[str, Any], last: dict[str, Any]) -> Any:
    """What the callback looks at of Tune's trial."""
    means = {"metric_analysis": {"seconds": {"avg": 1.0}}, "metric_n_steps": {"seconds": {"5": [1.0]}}}
    return SimpleNamespace(config=config, last_result=last, get_error=lambda: "a line\nits last line", **means)


def test_tune_keeps_neither_metrics_nor_means() -> None:
    log, progress = Mock(), Mock()
    callback = StudyCallback(log, progress, Mock(), epochs=1)
    metrics = [("validation_accuracy", 0.5), ("train_loss", 2.0)]
    result = {**EPOCH, "config": {"trial": 7}, "metrics": metrics}
    schedulers = dict(result)
    trial = trial_of({"trial": 7}, result)
    callback.on_trial_result(0, [], trial, result)
    log.epoch.assert_called_once_with("trial-0007", 3, {"validation_accuracy": 0.5, "train_loss": 2.0})
    assert result == EPOCH and schedulers["metrics"] == []
    callback.on_trial_complete(0, [], trial)
    assert trial.metric_analysis == trial.metric_n_steps == {}


@given(last=RESULTS, given_up=st.booleans())
@settings(max_examples=60, deadline=None)
def test_optuna_mlflow_the_progress_and_the_results_agree(last: dict[str, Any], given_up: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        launch = Launch(*experiment_in(Path(folder)))
        config = launch.suggest("a")
        log, progress, broker = Mock(), Mock(), Mock()
        callback = StudyCallback(log, progress, broker, epochs=9)
        trial = trial_of(config, last)
        # As Tune does: of a trial that it gives up the searcher gets no result.
        if given_up:
            callback.on_trial_error(0, [], trial)
            launch.searcher.on_trial_complete("a", error=True)
        else:
            callback.on_trial_complete(0, [], trial)
            launch.searcher.on_trial_complete("a", result=last)
        summary = TrialSummary.of(launch.study.trials[0])
    name, state, reason, _, weights = log.end.call_args.args
    assert (name, weights) == ("trial-0000", last.get("weights"))
    assert progress.end_trial.call_args.args[:2] == (name, state)
    broker.withdraw.remote.assert_called_once_with(name)
    assert summary.state == state
    assert (summary.error is None) == (reason is None) == (state != "failed")
    if not given_up:
        assert summary.error == reason
