"""Studies with several goals, without a cluster: what is recorded, what TPE makes of it, and the Pareto front."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from rich.console import Console
from torch import nn

from raykd.config import DataSettings, Experiment, ModelSettings, StudySettings
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.results.pareto import draw_front, keep_front
from raykd.results.study import StudyResult
from raykd.search.goals import check_goals, goals_of
from raykd.search.space_file import load_space
from raykd.search.student_size import StudentSizes, architectures, latency_ms
from raykd.tracking import Address
from tests.helpers.optuna_storages import Launch, experiment_in

SIZES = """
student.name: {choices: [resnet8, resnet14]}
student.arguments.width: {choices: [0.25, 0.5]}
temperature.multiplier: {low: 0.5, high: 8.0, log: true}
"""
GOALS = ("accuracy", "parameters")


def counted(values: Any) -> dict[str, float]:
    return {"parameters": 1000 * values["student.arguments.width"]}


def wait_for_resources(tmp_path: Path, trials: int = 6, text: str = SIZES) -> Launch:
    return Launch(*experiment_in(tmp_path, text, objectives=GOALS, trials=trials), sizes=counted)


def test_a_finished_trial_has_both_values_and_others_have_none(tmp_path: Path) -> None:
    launch = wait_for_resources(tmp_path)
    widths = [launch.suggest(f"t{i}")["student.arguments.width"] for i in range(4)]
    launch.searcher.on_trial_result("t0", {"epoch": 1, "validation_accuracy": 0.5})
    launch.end("t0", 0.75, epoch=2)
    launch.end("t1", 0.5, diverged=True)
    launch.end("t2", 0.5, finished=False)
    launch.searcher.on_trial_complete("t3", result={"failure": "why"})
    trials = launch.study.trials
    assert trials[0].values == [0.75, 1000 * widths[0]]
    assert trials[0].intermediate_values == {1: 0.5, 2: 0.75}
    assert [trial.state for trial in trials[1:]] == [TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL]
    assert [trial.values for trial in trials[1:]] == [None, None, None]
    assert [trial.user_attrs["parameters"] for trial in trials] == [1000 * width for width in widths]
    assert launch.study.metric_names == ["validation_accuracy", "parameters"]
    assert goals_of(launch.study) == GOALS


def test_tpe_goes_on_after_stopped_and_diverged_trials(tmp_path: Path) -> None:
    """Optuna's own TPE fails on stopped trials as soon as there are several goals."""
    launch = wait_for_resources(tmp_path, trials=24)
    ends: list[dict[str, Any]] = [{}, {"finished": False}, {"diverged": True}]
    for i in range(24):
        launch.suggest(f"t{i}")
        if i % 4 < 3:
            launch.end(f"t{i}", 0.5 + i / 100, **ends[i % 4])
    assert [trial.number for trial in launch.study.trials] == list(range(24))
    names = [trial.state.name for trial in launch.study.trials]
    assert (names.count("COMPLETE"), names.count("PRUNED"), names.count("RUNNING")) == (6, 12, 6)


def test_tpe_finds_the_front(tmp_path: Path) -> None:
    """The two goals want opposite widths and one multiplier, which random drawing would leave anywhere."""
    text = "student.arguments.width: {low: 0.25, high: 1.0}\ntemperature.multiplier: {low: 0.5, high: 8.0, log: true}"
    launch = wait_for_resources(tmp_path, trials=50, text=text)
    misses = []
    for i in range(50):
        config = launch.suggest(f"t{i}")
        misses.append(abs(config["temperature.multiplier"] - 1.0))
        launch.end(f"t{i}", config["student.arguments.width"] - 0.2 * misses[-1])
    assert sum(misses[-15:]) < 0.6 * sum(misses[1:16])


def test_a_resumed_study_of_two_goals_draws_the_same(tmp_path: Path) -> None:
    drawn = []
    for name, parts in (("whole", (16,)), ("parts", (3, 8, 16))):
        setting = experiment_in(tmp_path, SIZES, name=name, objectives=GOALS, trials=16)
        done = 0
        for end in parts:
            launch = Launch(*setting, sizes=counted)
            for i in range(done, end):
                config = launch.suggest(f"t{i}")
                launch.end(f"t{i}", 1 / (1 + config["temperature.multiplier"]))
            done = end
        drawn.append([trial.params for trial in launch.study.trials])
    assert drawn[0] == drawn[1]


def summarised(folder: Path, points: list[tuple[float, int]]) -> StudyResult:
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.set_metric_names(["validation_accuracy", "parameters"])
    for accuracy, parameters in points:
        study.add_trial(
            create_trial(
                values=[accuracy, parameters],
                intermediate_values={1: accuracy},
                user_attrs={"parameters": parameters, "best_validation_accuracy": accuracy, "best_epoch": 1},
            )
        )
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 1.0}, user_attrs={"parameters": 1}))
    teacher = {"metrics": {"validation_accuracy": 0.5}, "data": {"split_sizes": {"validation": 300}}}
    return StudyResult.of(folder, study, teacher, None, Address("", Path()))


POINTS = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.integers(1, 5)), min_size=1, max_size=10)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@settings(max_examples=60)
@given(POINTS)
def test_the_front_is_what_brute_force_finds(points: list[tuple[float, int]]) -> None:
    def beats(one: tuple[float, int], other: tuple[float, int]) -> bool:
        return one != other and one[0] >= other[0] and one[1] <= other[1]

    result = summarised(Path(), points)
    expected = {f"trial-{i:04d}" for i, point in enumerate(points) if not any(beats(other, point) for other in points)}
    assert {trial.name for trial in result.pareto} == expected
    accuracies = [trial.accuracy for trial in result.pareto]
    assert accuracies == sorted(accuracies, reverse=True)
    assert result.best == result.pareto[0]
    assert result.best.accuracy == result.ranked[0].accuracy


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_front_is_kept_and_shown(tmp_path: Path) -> None:
    result = summarised(tmp_path, [(0.9, 4000), (0.8, 5000), (0.7, 1234)])
    for trial in result.trials:
        folder = tmp_path / "trials" / trial.name
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(trial.name)
        (folder / "model.safetensors").write_text(trial.name)
        (folder / "checkpoint.pt").write_text("large")
    (tmp_path / "pareto" / "trial-0009").mkdir(parents=True)
    keep_front(result.pareto, result.folder, str(tmp_path))
    kept = sorted(str(file.relative_to(tmp_path / "pareto")) for file in (tmp_path / "pareto").rglob("*.*"))
    assert kept == [f"trial-000{number}/model.{kind}" for number in (0, 2) for kind in ("json", "safetensors")]
    console = Console(width=120, record=True, file=(tmp_path / "shown.txt").open("w"))
    result.show(console)
    text = console.export_text()
    front = text[text.index("Pareto front") :]
    assert "90.00%" in front
    assert "1,234" in front
    assert "5,000" not in front


def test_the_plots_are_files_that_can_be_opened(tmp_path: Path) -> None:
    launch = wait_for_resources(tmp_path)
    for i in range(4):
        launch.suggest(f"t{i}")
        launch.end(f"t{i}", 0.5 + i / 10)
    page = draw_front(launch.study, tmp_path)
    assert "student.arguments.width" in page.read_text()
    assert "http" not in page.read_text().partition("<body>")[0]  # opened without a network, too


def test_one_goal_has_no_front(tmp_path: Path) -> None:
    launch = Launch(*experiment_in(tmp_path))
    launch.suggest("a")
    launch.end("a", 0.5)
    result = StudyResult.of(tmp_path, launch.study, {}, None, Address("", Path()))
    assert result.goals == ("accuracy",)
    assert result.pareto == ()


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"objectives": ("parameters",)}, "must name accuracy"),
        ({"objectives": ("accuracy", "accuracy")}, "no objective twice"),
        ({"objectives": ()}, "must name accuracy"),
        ({"objectives": GOALS, "scheduler": "asha"}, "study.scheduler asha would stop small students"),
        ({"objectives": GOALS, "scheduler": "median"}, "study.scheduler median would stop small students"),
    ],
)
def test_goals_that_make_no_sense_are_refused(study: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StudySettings(**study)


def test_who_stops_early() -> None:
    assert StudySettings().early_stopping == "none"
    assert StudySettings(scheduler="auto").early_stopping == "asha"
    assert StudySettings(objectives=GOALS).early_stopping == "none"
    assert StudySettings(scheduler="median").early_stopping == "median"


def test_a_space_without_architectures_is_refused(tmp_path: Path) -> None:
    _, space = experiment_in(tmp_path, "temperature.multiplier: {low: 0.5, high: 8.0}")
    check_goals(("accuracy",), space)
    with pytest.raises(RaykdError, match="searches nothing of the student, so all are equally large"):
        check_goals(GOALS, space)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (SIZES, 4),
        ("student.arguments.width: {low: 0.25, high: 1.0, step: 0.25}", 4),
        ("student.arguments.width: {low: 0.25, high: 1.0}", 0),
        ("student.name: {choices: [resnet8, vgg8]}\n"
         "student.arguments.width: {choices: [0.5, 1.0], when: {student.name: resnet8}}", 3),
        ("student.arguments.depth: {low: 1, high: 65}", 0),
        ("student.arguments.depth: {low: 1, high: 64}", 64),
    ],
)  # fmt: skip
def test_architectures_are_counted(tmp_path: Path, text: str, count: int) -> None:
    found = architectures(experiment_in(tmp_path, text)[1])
    assert len(found) == count
    assert len({tuple(values.items()) for values in found}) == count


def test_parameters_are_those_of_the_network_and_known_ones_stay(tmp_path: Path) -> None:
    info = load_data(DataSettings()).info
    experiment, space = experiment_in(tmp_path, SIZES, objectives=GOALS)
    launch = Launch(experiment, space)
    sizes = StudentSizes(experiment, info, GOALS, launch.study)
    sizes.measure_all(space)
    values = {"student.name": "resnet8", "student.arguments.width": 0.5, "temperature.multiplier": 1.0}
    assert sizes(values) == {"parameters": 19_810}
    assert str(sizes).startswith("4 architectures, 5,142 to ")

    launch.study.add_trial(
        create_trial(
            params=values,
            distributions={p.name: p.distribution for p in space.parameters},
            values=[0.5, 1.0],
            user_attrs={"parameters": 7},
        )
    )
    resumed = StudentSizes(experiment, info, GOALS, launch.study)
    resumed.measure_all(space)
    assert resumed(values) == {"parameters": 7}


class Sleeper(nn.Module):
    """Takes a known time, but for its first passes and a few disturbed ones."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert torch.get_num_threads() == 1
        assert not self.training
        self.passes += 1
        time.sleep(0.05 if self.passes <= 10 or self.passes % 7 == 0 else 0.002)
        return images


def test_latency_is_the_median_of_undisturbed_passes() -> None:
    info = load_data(DataSettings()).info
    threads = torch.get_num_threads()
    assert 2.0 <= latency_ms(Sleeper(), info) < 15.0
    assert torch.get_num_threads() == threads


def test_a_larger_network_is_slower() -> None:
    info = load_data(DataSettings()).info
    small, large = (
        build_model(ModelSettings(name=name), num_classes=10, in_channels=1) for name in ("resnet8", "resnet56")
    )
    assert latency_ms(small, info) < latency_ms(large, info)


def test_the_shipped_space_suits_the_main_job() -> None:
    student = ModelSettings(name="resnet8", arguments={"width": 0.5})
    space = load_space("student_size", Experiment(student=student))
    assert len(architectures(space)) == 12
    check_goals(("accuracy", "parameters", "latency"), space)
