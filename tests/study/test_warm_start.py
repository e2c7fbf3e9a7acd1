"""What a new study learns from earlier ones, and what it must not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from ray.tune.search import Searcher

from raykd.config import Experiment, ModelSettings, TrainingSettings
from raykd.errors import RaykdError
from raykd.search.space import SearchSpace
from raykd.study.folder import begin_folder
from raykd.study.warm_start import (
    RECORD,
    as_trials,
    earlier_trials,
    misfit,
    remember_settings,
    remember_taken,
)
from tests.helpers.optuna_storages import SPACE, Launch, experiment_in

DATA = "fingerprint of the data"
LINE = "temperature.multiplier: {low: 0.5, high: 8.0, log: true}"


def accuracy(config: dict[str, Any]) -> float:
    """Best at a multiplier of e."""
    return 1.0 - abs(math.log(config.get("temperature.multiplier", 8.0)) - 1.0) / 10


def earlier_study(
    folder: Path, text: str = SPACE, trials: int = 12, experiment: Experiment | None = None, **study: Any
) -> Experiment:
    """A begun study `old` with finished trials, one stopped early, one diverged and one running."""
    given, space = experiment_in(folder, text, **({"name": "old", "trials": trials + 3} | study))
    given = given if experiment is None else experiment.model_copy(update={"study": given.study})
    begin_folder(given)
    launch = Launch(given, space)
    remember_settings(launch.study, given, DATA)
    for i in range(trials + 3):
        config = launch.suggest(f"t{i}")
        last = {trials: {"finished": False}, trials + 1: {"diverged": True}}.get(i, {})
        if i < trials + 2:
            launch.end(f"t{i}", accuracy(config), **last)
    return given


def test_finished_trials_are_taken_and_no_others(tmp_path: Path) -> None:
    earlier_study(tmp_path)
    experiment, space = experiment_in(tmp_path, name="new", warm_start=("old",))
    (taken,) = earlier_trials(experiment, space, DATA)
    assert len(taken.trials) == 12
    assert all(trial.values == [pytest.approx(accuracy(dict(trial.settings)))] for trial in taken.trials)
    assert str(taken) == "12 of 12 finished trials of old"


def test_they_are_no_trials_of_the_new_study(tmp_path: Path) -> None:
    earlier_study(tmp_path)
    setting = experiment_in(tmp_path, name="new", warm_start=("old",), trials=4)
    launch = Launch(*setting, earlier=as_trials(earlier_trials(*setting, DATA), setting[1]))
    assert [launch.suggest(f"t{i}")["trial"] for i in range(4)] == [0, 1, 2, 3]
    assert launch.searcher.suggest("t4") == Searcher.FINISHED
    assert len(launch.study.trials) == 4


def test_the_sampler_learns_from_them(tmp_path: Path) -> None:
    """From its second trial on a warm study draws nearer to the optimum; a cold one begins at random."""
    earlier_study(tmp_path, LINE, trials=30)
    distances = {}
    for start in ((), ("old",)):
        drawn = []
        for seed in range(4):
            setting = experiment_in(tmp_path, LINE, name=f"new{len(start)}{seed}", warm_start=start, seed=seed)
            launch = Launch(*setting, earlier=as_trials(earlier_trials(*setting, DATA), setting[1]))
            launch.suggest("default")
            for i in range(8):
                config = launch.suggest(f"t{i}")
                launch.end(f"t{i}", accuracy(config))
                drawn.append(config["temperature.multiplier"])
        distances[start] = sum(abs(math.log(value) - 1.0) for value in drawn)
    assert distances[("old",)] < 0.7 * distances[()]


def test_ten_earlier_trials_are_enough_not_to_draw_at_random(tmp_path: Path) -> None:
    """Studies of several seeds agree where to look first; at random, they would not."""
    earlier_study(tmp_path, LINE, trials=10)
    drawn = []
    for seed in range(6):
        setting = experiment_in(tmp_path, LINE, name=f"new{seed}", warm_start=("old",), seed=seed, trials=100)
        launch = Launch(*setting, earlier=as_trials(earlier_trials(*setting, DATA), setting[1]))
        launch.suggest("default")
        drawn.append(math.log(launch.suggest("drawn")["temperature.multiplier"]))
    assert stdev(drawn) < 0.2  # at random 0.8: the width of the range by the root of twelve


FEW = """
bias.form: {choices: [pair, swap, drop]}
bias.strength: {low: 0.1, high: 0.4, step: 0.1, when: {bias.form: pair}}
schedule.form: {choices: [linear, cosine]}
"""


def test_no_setting_is_tried_twice_and_then_the_search_ends(tmp_path: Path) -> None:
    """Of 12 settings an earlier study has tried five: the new one tries its own start point, and all that is left."""
    tried = []
    earlier_study(tmp_path, FEW, trials=5)
    setting = experiment_in(tmp_path, FEW, name="new", warm_start=("old",), trials=50)
    earlier = as_trials(earlier_trials(*setting, DATA), setting[1])
    assert len(setting[1].points(100)) == 12
    launch = Launch(*setting, earlier=earlier)
    while isinstance(config := launch.searcher.suggest(f"t{len(tried)}"), dict):
        tried.append({name: value for name, value in config.items() if name != "trial"})
        if len(tried) % 3 == 0:
            launch.end(f"t{len(tried) - 1}", 0.5)
        if len(tried) == 4:  # a resumed study draws what the first launch would have drawn
            launch = Launch(*setting, earlier=earlier)
            again = [launch.suggest(f"r{i}") for i in range(3)]
            assert [config["trial"] for config in again] == [0, 1, 3]
            settings = [{name: value for name, value in config.items() if name != "trial"} for config in again]
            assert settings == [tried[i] for i in (0, 1, 3)]
    assert config == Searcher.FINISHED
    texts = [json.dumps(each, sort_keys=True) for each in tried]
    before = [json.dumps(trial.params, sort_keys=True) for trial in earlier]
    assert len(set(texts)) == len(texts)
    assert not set(texts[1:]) & set(before)  # the first one is the study's own start point
    assert len({*texts, *before}) == 12
    assert launch.study.user_attrs["ended"] == "all 12 settings of the search space have been tried"


def test_the_second_study_of_a_seed_does_not_try_the_first_ones_settings_again(tmp_path: Path) -> None:
    """Both have the default seed, and are at random yet: TPE begins after ten trials or more."""
    earlier_study(tmp_path, trials=4)
    drawn = {}
    for name, start in (("cold", ()), ("warm", ("old",))):
        setting = experiment_in(tmp_path, name=name, warm_start=start, trials=100)
        launch = Launch(*setting, earlier=as_trials(earlier_trials(*setting, DATA), setting[1]))
        configs = [launch.suggest(f"t{i}") for i in range(5)][1:]  # the first one is the start point of both
        drawn[name] = {config["temperature.multiplier"] for config in configs}
    old = {trial.settings["temperature.multiplier"] for trial in earlier_trials(*setting, DATA)[0].trials}
    assert len(drawn["cold"] & old) > 1
    assert not drawn["warm"] & old


def test_a_resumed_study_knows_what_its_first_launch_took(tmp_path: Path) -> None:
    old = earlier_study(tmp_path, trials=6)
    setting = experiment_in(tmp_path, name="new", warm_start=("old",), trials=4)
    first = earlier_trials(*setting, DATA)
    remember_taken(begin_folder(setting[0]), first)
    whole = Launch(*setting, earlier=as_trials(first, setting[1]))
    configs = [whole.suggest(f"t{i}") for i in range(2)]

    more = Launch(old.model_copy(update={"study": old.study.model_copy(update={"trials": 30})}), setting[1])
    for i in range(4):
        more.suggest(f"m{i}")
        more.end(f"m{i}", 0.1)
    again = earlier_trials(*setting, DATA)
    assert [str(each) for each in again] == [str(each) for each in first]
    assert again[0].trials == tuple(first[0].trials)
    remember_taken(setting[0].folder, again)
    assert len(json.loads((setting[0].folder / RECORD).read_text())) == 1
    resumed = Launch(*setting, earlier=as_trials(again, setting[1]))
    assert [resumed.suggest(f"r{i}") for i in range(2)] == configs
    assert resumed.suggest("r2")["trial"] == 2


def test_a_study_in_a_storage_is_found_by_address_and_name(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/all.db"
    earlier_study(tmp_path, trials=3, storage=address)
    for name in ("old", str(tmp_path / "outputs/old"), f"{address}#old"):
        experiment, space = experiment_in(tmp_path, name="new", warm_start=(name,))
        assert [len(taken.trials) for taken in earlier_trials(experiment, space, DATA)] == [3]


def test_what_does_not_fit_is_left_out_and_counted(tmp_path: Path) -> None:
    earlier_study(tmp_path, trials=12)
    text = SPACE.replace("[pair, swap]", "[pair, drop]").replace("high: 8.0", "high: 3.0")
    experiment, space = experiment_in(tmp_path, text, name="new", warm_start=("old",))
    (taken,) = earlier_trials(experiment, space, DATA)
    assert 0 < len(taken.trials) < 12
    assert len(taken.trials) + sum(taken.misfits.values()) == 12
    assert set(taken.misfits) == {"bias.form outside pair | drop", "temperature.multiplier outside 0.5 to 3.0, log"}
    assert all(trial.settings["temperature.multiplier"] <= 3 for trial in taken.trials)
    assert "left out" in str(taken)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"temperature.multiplier": 1.0, "bias.form": "pair", "bias.strength": 0.2}, None),
        ({"temperature.multiplier": 1.0, "bias.form": "swap"}, None),
        (
            {"temperature.multiplier": 1.0, "bias.form": "swap", "bias.strength": 0.2},
            "bias.strength does not fit its condition",
        ),
        ({"temperature.multiplier": 1.0, "bias.form": "pair"}, "no bias.strength"),
        ({"bias.form": "swap"}, "no temperature.multiplier"),
        ({"temperature.multiplier": 9.0, "bias.form": "swap"}, "temperature.multiplier outside 0.5 to 8.0, log"),
        ({"temperature.multiplier": 1.0, "bias.form": "drop"}, "bias.form outside pair | swap"),
        ({"temperature.multiplier": 1.0, "bias.form": "swap", "bias.eta": 0.5}, "bias.eta is not searched here"),
    ],
)
def test_why_settings_do_not_fit(tmp_path: Path, values: dict[str, Any], reason: str | None) -> None:
    found = misfit(values, experiment_in(tmp_path)[1])
    assert found == reason or (reason is not None and found is not None and found.startswith(reason))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return experiment_in(tmp_path_factory.mktemp("space"))[1]


@settings(max_examples=50)
@given(st.floats(0.5, 8.0), st.sampled_from(["pair", "swap"]), st.floats(0, 1))
def test_whatever_the_space_gives_fits_it(space: SearchSpace, multiplier: float, form: str, strength: float) -> None:
    drawn = {"temperature.multiplier": multiplier, "bias.form": form, "bias.strength": strength}
    values = space.sample(FixedTrial(drawn))
    assert misfit(values, space) is None
    for name in values:  # and nothing that lacks a part of it, unless others depend on it
        assert misfit({other: value for other, value in values.items() if other != name}, space) is not None


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    old = earlier_study(tmp_path)
    new, space = experiment_in(tmp_path, name="new", warm_start=("old",))
    with pytest.raises(RaykdError, match=r"study.warm_start old: its data or its splits are others, so its accuracies"):
        earlier_trials(new, space, "other data")
    shorter = new.model_copy(update={"training": TrainingSettings(epochs=7)})
    with pytest.raises(RaykdError, match=r"training.epochs is 240 there and 7 here"):
        earlier_trials(shorter, space, DATA)
    wait_for_resources = new.study.model_copy(update={"objectives": ("accuracy", "parameters")})
    with pytest.raises(RaykdError, match=r"it has no parameters"):
        earlier_trials(new.model_copy(update={"study": wait_for_resources}), space, DATA)
    for name in (f"{old.folder}/study.journal#odl", "odl"):
        misspelt = new.model_copy(update={"study": new.study.model_copy(update={"warm_start": (name,)})})
        with pytest.raises(RaykdError, match=r"unknown study 'odl' in .*did you mean 'old'"):
            earlier_trials(misspelt, space, DATA)


def test_a_study_that_says_nothing_of_its_data_is_refused(tmp_path: Path) -> None:
    setting = experiment_in(tmp_path, name="old")
    begin_folder(setting[0])
    Launch(*setting)
    new, space = experiment_in(tmp_path, name="new", warm_start=("old",))
    with pytest.raises(RaykdError, match="it does not say what it was trained on"):
        earlier_trials(new, space, DATA)


def test_other_settings_are_told(tmp_path: Path) -> None:
    earlier_study(tmp_path, experiment=Experiment(student=ModelSettings(name="resnet14")))
    new, space = experiment_in(tmp_path, name="new", warm_start=("old",))
    (taken,) = earlier_trials(new, space, DATA)
    assert taken.differs == ("student.name resnet14 (here resnet20)",)
    assert "trained otherwise: student.name resnet14 (here resnet20)" in str(taken)


def test_of_several_goals_those_of_the_new_study_are_taken(tmp_path: Path) -> None:
    text = "student.arguments.width: {choices: [0.25, 0.5]}\n" + LINE
    setting = experiment_in(tmp_path, text, name="old", objectives=("parameters", "accuracy"), trials=2)
    begin_folder(setting[0])
    launch = Launch(*setting, sizes=lambda values: {"parameters": 1000 * values["student.arguments.width"]})
    remember_settings(launch.study, setting[0], DATA)
    for i in range(2):
        launch.suggest(f"t{i}")
        launch.end(f"t{i}", 0.5 + i / 4)
    new, space = experiment_in(tmp_path, text, name="new", warm_start=("old",))
    assert [trial.values for trial in earlier_trials(new, space, DATA)[0].trials] == [[0.5], [0.75]]
