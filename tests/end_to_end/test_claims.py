"""A part of the study of the papers' claims on a real cluster: tuned, measured, resumed, and made into a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

import raykd
from raykd.config import Experiment
from raykd.data import evaluation_batches, load_data
from raykd.report.claims_page import claims_page
from raykd.results.claims import ClaimsRecord
from raykd.settings_io import override
from raykd.study.claims.contenders import CONTENDERS, SHORT
from raykd.training.saved import load_model
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

CONDITIONS = ("batch 8, Adam", "batch 256", "three times as long")


def study(folder: Path, **changes: object) -> Experiment:
    """The part that trains in other ways, two seeds each, on 100 digits."""
    small = {
        "data.train_images": 100,
        "training.epochs": 1,
        "teacher.training.epochs": 2,
        "claims.parts": ("recipe",),
        "claims.seeds": 2,
        "claims.tuning_trials": 2,
        "training.seed": 3,
    }
    return override(small_experiment(folder), small | changes)


@dataclass
class Result:
    folder: Path
    experiment: Experiment
    record: ClaimsRecord
    shown: str


@pytest.fixture(scope="module")
def tested(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("claims")
    console, shown = quiet_console()
    record = raykd.claims(study(folder), console)
    return Result(folder, study(folder), record, shown.getvalue())


def test_every_contender_has_a_student_under_every_condition_and_seed(tested: Result) -> None:
    found = {(each.variant, each.contender, each.seed) for each in tested.record.students}
    assert found == {(v, each.name, seed) for v in CONDITIONS for each in SHORT for seed in (4, 5)}
    epochs = {each.variant: each.epochs for each in tested.record.students}
    assert epochs == {"batch 8, Adam": 1, "batch 256": 1, "three times as long": 3}


def test_every_method_was_tuned_by_as_many_trials_before(tested: Result) -> None:
    assert [each.family for each in tested.record.tuned] == ["plain", "kd", "drop", "paper"]
    for each in tested.record.tuned:
        assert each.variant == "strong"
        assert len(each.accuracies) == 2


def test_figures_are_those_of_the_finished_models(tested: Result) -> None:
    data = load_data(override(tested.experiment, {"data.held_out": "test"}).data)
    student = next(each for each in tested.record.students if each.contender == "kd" and each.seed == 4)
    network = load_model(tested.experiment.folder / "students" / "batch-8-Adam-kd-4")
    (batch,) = evaluation_batches(data, "test", batch_size=1000)
    right = network(batch.pixels).argmax(1) == batch.labels
    assert student.accuracy == pytest.approx(float(right.float().mean()))
    assert student.teacher_accuracy is not None
    wrong = round((1 - student.teacher_accuracy) * len(right))
    assert student.beyond is not None
    assert student.beyond * wrong == pytest.approx(round(student.beyond * wrong), abs=1e-6)
    teachers = {each.teacher_accuracy for each in tested.record.students if each.contender == "kd" and each.seed == 5}
    assert student.teacher_accuracy not in teachers, "each seed has a teacher of its own"


def test_mlflow_holds_every_network(tested: Result) -> None:
    client = MlflowClient(f"sqlite:///{tested.experiment.folder}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name == "small"]
    runs = client.search_runs([experiment.experiment_id], max_results=500)
    names = {run.data.tags.get("raykd.trial") for run in runs}
    assert {"batch-256-paper-5", "tune-strong-kd-1"} <= names
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_resumed_study_trains_only_what_is_missing(tested: Result) -> None:
    more = override(study(tested.folder), {"study.resume": True, "claims.seeds": 3})
    before = {path: path.stat().st_mtime_ns for path in tested.experiment.folder.rglob("model.json")}
    console, _ = quiet_console()
    record = raykd.claims(more, console)
    assert {each.seed for each in record.students} == {4, 5, 6}
    assert record.students[: len(tested.record.students)] == tested.record.students
    assert record.tuned == tested.record.tuned
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    console, shown = quiet_console()
    assert raykd.claims(more, console) == record
    assert "classrooms" not in shown.getvalue(), "nothing was left to train"


def test_the_page_says_what_was_measured(tested: Result) -> None:
    page = claims_page(tested.record, "claims.json", {"differences": "d.svg", "wrong_share": "w.svg"})
    # On all test images, and on those that the teacher answers wrongly.
    assert page.count("| batch 256 | drop | kd |") == 2
    assert "30 students under 2 seeds" in page
    for contender in CONTENDERS["recipe"]:
        assert f"| {contender.name} | 2 |" in page
