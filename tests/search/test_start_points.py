"""Start points: a study begins with them, trains them to the end, and learns from those that lie in its space."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from raykd.config import StudySettings
from raykd.errors import RaykdError
from raykd.results.trial_summary import TrialSummary
from raykd.search.optuna_study import open_study
from raykd.search.schedulers import make_scheduler
from raykd.search.start_points import StartPoint, settings_of
from raykd.settings_io import override
from raykd.study.published import as_published
from raykd.study.start_points import start_points
from tests.helpers.searches import DEFAULTS, Launch
from tests.helpers.spaces import BASE, samples, space_of

POINTS = [
    StartPoint("experiment", DEFAULTS),
    StartPoint("kd", None, {"method.name": "kd", "objective.kd_weight": 0.9}),
    StartPoint("swapped", {"temperature.multiplier": 2.0, "bias.form": "swap"}, {"objective.warmup_epochs": 1}),
]

WIDE = """
objective.kd_share: {low: 0.0, high: 1.0}
method.name: {choices: [kd, $own]}
method.dkd.non_target_share: {low: 0.2, high: 0.95, when: {method.name: dkd}}
temperature.policy: {choices: [constant, std]}
temperature.value: {low: 1.0, high: 16.0, log: true, when: {temperature.policy: constant}}
temperature.multiplier: {low: 0.5, high: 4.0, log: true, when: {temperature.policy: std}}
bias.form: {choices: [keep, pair]}
bias.strength: {low: 0.1, high: 1.0, when: {bias.form: pair}}
bias.denominator: {choices: [batch, subset], when: {bias.form: pair}}
schedule.hand_over: {choices: [labels, rectified], when: {bias.form: pair}}
start:
  strong: {bias.form: pair, bias.strength: 0.9}
"""


def launch(folder: Path, trials: int = 6) -> Launch:
    return Launch(folder, trials=trials, start=POINTS)


def test_a_study_begins_with_its_start_points_and_keeps_all_their_settings(tmp_path: Path) -> None:
    first = launch(tmp_path)
    configs = [first.suggest(name) for name in "abcd"]
    assert configs[0] == {**DEFAULTS, "trial": 0}
    assert configs[1] == {"method.name": "kd", "objective.kd_weight": 0.9, "trial": 1}
    assert configs[2] == {
        "objective.warmup_epochs": 1,
        "temperature.multiplier": 2.0,
        "bias.form": "swap",
        "trial": 2,
    }
    assert [TrialSummary.of(first.trial(n)).start for n in range(4)] == ["experiment", "kd", "swapped", None]
    assert TrialSummary.of(first.trial(1)).values == {"method.name": "kd", "objective.kd_weight": 0.9}
    for config in configs:
        assert settings_of(first.trial(config["trial"])) == {k: v for k, v in config.items() if k != "trial"}


def test_a_killed_launch_leaves_each_start_point_in_the_study_once(tmp_path: Path) -> None:
    launch(tmp_path).suggest("a")
    second = launch(tmp_path)
    again = [second.suggest(name) for name in "abcd"]
    assert [config["trial"] for config in again] == [0, 1, 2, 3]
    assert again[1]["method.name"] == "kd" and "bias.form" not in again[1]
    names = [trial.user_attrs.get("start") for trial in second.study.trials]
    assert names == ["experiment", "kd", "swapped", None]


def test_a_study_that_is_smaller_than_its_start_points_has_the_first_ones(tmp_path: Path) -> None:
    small = launch(tmp_path, trials=2)
    for name in "ab":
        small.suggest(name)
        small.teach(name, [0.5, 0.6])
    assert small.searcher.suggest("c") == "FINISHED"
    assert [trial.state for trial in small.study.trials] == [TrialState.COMPLETE] * 2


def test_a_study_of_an_earlier_version_gets_no_start_points_later(tmp_path: Path) -> None:
    study = open_study(tmp_path / "optuna.journal", "study", 0, trials=6)
    study.enqueue_trial(DEFAULTS)
    study.ask()
    second = launch(tmp_path)
    second.suggest("a")
    assert "start" not in second.trial(1).user_attrs if len(second.study.trials) > 1 else True
    assert all("start" not in trial.user_attrs for trial in second.study.trials)


def test_the_sampler_still_sees_its_space_beside_a_start_point_outside(tmp_path: Path) -> None:
    def drawn(folder: Path, points: list[StartPoint]) -> list[dict[str, object]]:
        folder.mkdir()
        study = Launch(folder, trials=60, start=points)
        configs = []
        for number in range(40):
            config = study.suggest(str(number))
            value = 0.9 - abs(float(config.get("temperature.multiplier", 8.0)) - 2.0) / 10
            study.teach(str(number), [value, value])
            configs.append(config)
        return configs

    outside = drawn(tmp_path / "with", POINTS[:2])[2:]
    tuned = [abs(config["temperature.multiplier"] - 2.0) for config in outside[-8:]]
    # TPE has found the best temperature: hidden behind an empty common space it would go on at random.
    assert sorted(tuned)[len(tuned) // 2] < 1.0


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_start_point_is_never_stopped_and_its_results_count(name: str) -> None:
    settings = StudySettings.model_validate({"scheduler": name, "grace_share": 0.25})
    scheduler = make_scheduler(settings, 16, is_spared=lambda number: number == 0)

    def teach(number: int, accuracy: float) -> int:
        trial = Trial("student", config={"trial": number}, stub=True)
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, 17):
            result = {"epoch": epoch, "validation_accuracy": accuracy, "training_iteration": epoch}
            if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP and epoch < 16:
                scheduler.on_trial_complete(None, trial, result)
                return epoch
        scheduler.on_trial_complete(None, trial, result)
        return 16

    assert teach(1, 0.9) == 16
    assert teach(2, 0.8) in (4, 16)
    assert teach(0, 0.1) == 16  # spared
    assert teach(3, 0.05) == 4  # worse than all, so also than the start point


def test_no_trial_is_judged_before_its_warm_up_is_over() -> None:
    settings = StudySettings(scheduler="asha", grace_share=0.25)
    scheduler = make_scheduler(settings, 16, warmup=6)
    assert min(rung for bracket in scheduler._brackets for rung, _ in bracket._rungs) == 7


def test_published_settings_have_their_place_in_a_space_that_holds_them(tmp_path: Path) -> None:
    space = space_of(tmp_path, WIDE)
    kd = space.place_of(as_published(BASE, "kd"))
    assert kd == {
        "objective.kd_share": 0.9,
        "method.name": "kd",
        "temperature.policy": "constant",
        "temperature.value": 4.0,
        "bias.form": "keep",
    }
    dkd = space.place_of(as_published(BASE, "dkd"))
    assert dkd is not None
    assert (dkd["objective.kd_share"], dkd["method.dkd.non_target_share"]) == (0.5, pytest.approx(8 / 9))
    assert space.place_of(as_published(BASE, "dist")) is None


def test_the_usual_start_points_are_the_experiment_the_baselines_the_paper_and_the_spaces_own(tmp_path: Path) -> None:
    space = space_of(tmp_path, WIDE)
    points = start_points(BASE, space)
    assert [point.name for point in points] == ["experiment", "kd", "dkd", "teachers_bias", "strong"]
    assert all(point.parameters is not None for point in points)
    for point in points[1:4]:
        # What a trial would be trained with is what was published, whatever the space says.
        whole = override(BASE, {**point.settings, **(point.parameters or {})}).training_spec()
        published = as_published(BASE, point.name).training_spec() if point.name != "teachers_bias" else None
        if published is not None:
            assert whole.objective.weights == pytest.approx(published.objective.weights)
            assert whole.method.dkd.weights == pytest.approx(published.method.dkd.weights)
            assert (whole.temperature, whole.bias.form) == (published.temperature, published.bias.form)
    # The whole loss as published: the total weights come along with the shares.
    assert points[2].settings["objective.ce_weight"] == points[2].settings["objective.kd_weight"] == 1.0


def test_start_points_that_train_the_same_are_one(tmp_path: Path) -> None:
    base = as_published(BASE, "kd")
    space = space_of(tmp_path, WIDE, base)
    assert "method.dkd.non_target_share" not in space.names  # it waits for a method that is not this experiment's
    assert [point.name for point in start_points(base, space)] == ["experiment", "teachers_bias", "strong"]


def test_a_narrow_space_has_the_baselines_outside(tmp_path: Path) -> None:
    points = start_points(BASE, space_of(tmp_path, "temperature.multiplier: {low: 0.5, high: 4.0}"))
    places = {point.name: point.parameters for point in points}
    assert places == {"experiment": {"temperature.multiplier": 2.0}, "kd": None, "dkd": None}


def test_unknown_start_points_are_refused_with_the_nearest_name(tmp_path: Path) -> None:
    base = override(BASE, {"study.start": ["teachers_bais"]})
    with pytest.raises(RaykdError, match=r"did you mean 'teachers_bias'\?"):
        start_points(base, space_of(tmp_path, WIDE, base))


def test_the_experiments_own_value_stands_among_the_choices_once(tmp_path: Path) -> None:
    text = "method.name: {choices: [kd, $own]}"
    for own, expected in (("dist", ("kd", "dist")), ("kd", ("kd",))):
        space = space_of(tmp_path, text, override(BASE, {"method.name": own}))
        assert space.parameters[0].distribution == optuna.distributions.CategoricalDistribution(expected)
        assert {values["method.name"] for values in samples(space, 20)} == set(expected)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("start: [kd]", r"start must name settings for each start point, such as \{strong_repair"),
        ("start: {strong: {}}", "start must name settings for each start point"),
        ("start: {strong: {bias.strenght: 0.9}}", "did you mean 'bias.strength'"),
        ("start: {strong: {bias.strength: 2}}", "bias.strength: .* start, strong"),
        ("start: {long: {training.epochs: 99}}", "training.epochs cannot be searched"),
    ],
)
def test_wrong_start_points_of_a_space_are_refused(tmp_path: Path, start: str, message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        space_of(tmp_path, f"bias.strength: {{low: 0.0, high: 1.0}}\n{start}\n")
