"""Failed trials that are tried again: new trials with the same settings, which take the failed ones' places."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.tune.search import Searcher

from raykd.command_line import parse
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.results.trial_summary import RETRIED, summaries
from raykd.search.optuna_study import remaining_trials
from raykd.search.plateau import ENDED
from raykd.search.retries import failed_trials, retry_failed
from raykd.search.start_points import StartPoint
from raykd.settings_io import load_experiment
from raykd.study.folder import begin_folder, check_folder
from tests.helpers.searches import DEFAULTS, Launch
from tests.helpers.small_study import small_experiment

POINTS = (StartPoint("experiment", DEFAULTS), StartPoint("kd", None, {"method.name": "kd"}))


def failed_study(folder: Path) -> tuple[Launch, list[dict[str, object]]]:
    """A study of four trials: a start point outside the space and a drawn one fail, two finish."""
    launch = Launch(folder, trials=4, start=POINTS)
    configs = [launch.suggest(f"a{i}") for i in range(4)]
    for i in (0, 3):
        launch.teach(f"a{i}", [0.5, 0.6])
    for i in (1, 2):
        launch.teach(f"a{i}", [0.1], failure="no space left on device")
    return launch, configs


def test_each_failed_trial_is_tried_again_once_with_its_settings(tmp_path: Path) -> None:
    launch, configs = failed_study(tmp_path)
    assert remaining_trials(launch.study, 4) == 0
    assert retry_failed(launch.study) == [1, 2]
    assert retry_failed(launch.study) == [], "what waits is not tried again"
    assert remaining_trials(launch.study, 4) == 2

    second = Launch(tmp_path, trials=4, start=POINTS)
    again = [second.suggest(f"b{i}") for i in range(2)]
    assert again == [{**configs[1], "trial": 4}, {**configs[2], "trial": 5}]
    assert second.searcher.suggest("b2") == Searcher.FINISHED
    second.teach("b0", [0.7])
    second.teach("b1", [0.1], failure="no space left on device")

    trials = summaries(second.study.trials)
    assert [trial.state for trial in trials] == ["finished", RETRIED, RETRIED, "finished", "finished", "failed"]
    assert [trial.retry for trial in trials] == [None, "trial-0004", "trial-0005", None, None, None]
    assert trials[1].error == "no space left on device" and trials[4].error is None
    assert [trial.start for trial in trials] == ["experiment", "kd", None, None, "kd", None]
    assert trials[4].values == {"method.name": "kd"}
    assert remaining_trials(second.study, 4) == 0
    assert [trial.number for trial in failed_trials(second.study)] == [5]
    assert retry_failed(second.study) == [5]
    assert Launch(tmp_path, trials=4, start=POINTS).suggest("c")["trial"] == 6


def test_more_trials_are_drawn_behind_those_that_are_tried_again(tmp_path: Path) -> None:
    launch, configs = failed_study(tmp_path)
    retry_failed(launch.study)
    second = Launch(tmp_path, trials=5, start=POINTS)
    again = [second.suggest(f"b{i}") for i in range(3)]
    assert [config["trial"] for config in again] == [4, 5, 6]
    assert again[1]["temperature.multiplier"] == configs[2]["temperature.multiplier"]
    assert second.searcher.suggest("b3") == Searcher.FINISHED


def test_a_search_that_has_ended_still_tries_failed_trials_again(tmp_path: Path) -> None:
    launch, _ = failed_study(tmp_path)
    launch.study.set_user_attr(ENDED, "nothing better comes")
    retry_failed(launch.study)
    assert remaining_trials(launch.study, 40) == 2
    second = Launch(tmp_path, trials=40, start=POINTS)
    assert [second.suggest(f"b{i}")["trial"] for i in range(2)] == [4, 5]
    assert second.searcher.suggest("b2") == Searcher.FINISHED


def test_it_is_for_studies_that_are_resumed(tmp_path: Path) -> None:
    with pytest.raises(RaykdError, match=r"study\.retry_failed .*: add --resume"):
        parse(Experiment(), "", ["--study.retry-failed"])
    given = parse(Experiment(), "", ["--study.retry-failed", "--resume"])
    assert given.study.retry_failed
    experiment = small_experiment(tmp_path)
    begin_folder(experiment)
    again = experiment.study.model_copy(update={"resume": True, "retry_failed": True})
    again_experiment = experiment.model_copy(update={"study": again})
    check_folder(again_experiment)
    begin_folder(again_experiment)
    saved = load_experiment(experiment.folder / "experiment.yaml", Experiment())
    assert not saved.study.retry_failed, "what fails later is not run again without being asked for"
