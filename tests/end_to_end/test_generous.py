"""A small comparison of teachers over a real Ray cluster, read back from disk and from MLflow."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from torch import nn

import raykd
from raykd.config import Experiment
from raykd.results.comparison import ComparisonResult
from raykd.seeds import seed_of
from raykd.settings_io import override
from raykd.training.folder import description
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

NAMES = ["plain", "standard", "generous", "masked"]
SEEDS = (3, 4)


def comparison(folder: Path, **changes: object) -> Experiment:
    """Three teachers and no teacher, two students each, on 300 digits."""
    small = {
        "training.epochs": 2,
        "training.seed": SEEDS[0],
        "teacher.generous.warmup_epochs": 1,
        "comparison.ablations": ("masked",),
        "comparison.seeds": len(SEEDS),
    }
    return override(small_experiment(folder), small | changes)


def resumed(experiment: Experiment) -> Experiment:
    return override(experiment, {"study.resume": True})


def written(folder: Path) -> dict[Path, int]:
    """When each checkpoint below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("checkpoint.pt"))}


def runs_of(result: ComparisonResult) -> tuple[MlflowClient, Run, dict[str, Run]]:
    client = MlflowClient(result.place.uri)
    every = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    (parent,) = [run for run in every if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["raykd.trial"]: run for run in every if run is not parent}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children.values())
    return client, parent, children


def summary_of(parent: Run) -> dict[str, float]:
    """The parent's metrics but for those of the nodes."""
    return {name: value for name, value in parent.data.metrics.items() if not name.startswith("system/")}


@dataclass
class Compared:
    experiment: Experiment
    result: ComparisonResult
    shown: str


@pytest.fixture(scope="module")
def compared(cluster, tmp_path_factory) -> Compared:
    experiment = comparison(tmp_path_factory.mktemp("comparison"))
    console, shown = quiet_console()
    result = raykd.compare_teachers(experiment, console)
    return Compared(experiment, result, shown.getvalue())


def test_every_teacher_has_taught_the_same_student_under_every_seed(compared):
    assert [row.name for row in compared.result.rows] == NAMES
    for row in compared.result.rows:
        assert sorted(row.students) == list(SEEDS)
        for seed, student in row.students.items():
            assert student["epochs"] == 2
            assert student["lesson"]["training"]["seed"] == seed
            assert ("distillation" in student["metrics"]) == (row.name != "plain")
        accuracies = [student["metrics"]["validation_accuracy"] for student in row.students.values()]
        assert row.accuracy.mean == pytest.approx(fmean(accuracies))
        assert row.accuracy.sd == pytest.approx(stdev(accuracies))
    assert compared.result.row("plain").teacher is None
    budgets = {row.students[3]["lesson"]["training"]["batch_size"] for row in compared.result.rows}
    assert budgets == {compared.experiment.training.batch_size}


def test_the_generous_teachers_were_taught_by_the_standard_one(compared):
    standard, generous, masked = (compared.result.row(name).teacher for name in NAMES[1:])
    assert "distillation" not in standard["metrics"]
    assert generous["lesson"]["method"]["dkd"]["target_weight"] == 0
    assert generous["lesson"]["bias"]["form"] == "keep"
    assert masked["lesson"]["bias"]["form"] == "drop"
    assert "distillation" in generous["metrics"]
    assert generous["metrics"]["right_weight"] == masked["metrics"]["right_weight"] == 1


def test_each_teacher_s_seconds_are_those_of_its_epochs(compared):
    client, _, children = runs_of(compared.result)
    for name in NAMES[1:]:
        row = compared.result.row(name)
        assert row.teacher["alone"]
        run = children[f"teacher-{name}"]
        seconds = [point.value for point in client.get_metric_history(run.info.run_id, "seconds")]
        assert len(seconds) == 3
        assert row.seconds == row.teacher["seconds"] == pytest.approx(sum(seconds))
        assert row.seconds_per_image == pytest.approx(sum(seconds) / (3 * 300))
        assert run.data.metrics["total_seconds"] == pytest.approx(sum(seconds))
    standard, generous = compared.result.row("standard"), compared.result.row("generous")
    assert compared.result.cost_ratio(generous) == pytest.approx(generous.seconds / standard.seconds)
    # The students sat together: nobody can tell whose the seconds of their classes were.
    assert not all(student["alone"] for row in compared.result.rows for student in row.students.values())


def test_mlflow_holds_what_the_table_says(compared):
    client, parent, children = runs_of(compared.result)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["raykd.kind"] == "compare_teachers"
    assert parent.data.params["teacher.generous.knowledge"] == "non_target"
    assert parent.data.params["comparison.seeds"] == "2"
    metrics = summary_of(parent)
    assert metrics == pytest.approx(compared.result.summary())
    assert metrics["generous_cost_ratio"] == pytest.approx(metrics["generous_seconds"] / metrics["standard_seconds"])
    table = compared.shown[compared.shown.index("accuracy on the validation split") :]
    for name in NAMES:
        (line,) = [line for line in table.splitlines() if line.strip().startswith("none" if name == "plain" else name)]
        assert f"{100 * metrics[f'{name}_student_accuracy']:.2f}" in line
        assert f"{100 * metrics[f'{name}_student_best_accuracy']:.2f}" in line
        if name != "plain":
            assert f"{100 * metrics[f'{name}_teacher_accuracy']:.2f}" in line
            assert f"{metrics[f'{name}_seconds']:.1f}" in line
            assert f"{metrics[f'{name}_cost_ratio']:.2f}" in line
    assert "The test split was not touched" in compared.shown
    students = {f"student-of-{name}-{seed}" for name in NAMES[1:] for seed in SEEDS}
    students |= {f"plain-student-{seed}" for seed in SEEDS}
    assert set(children) == students | {f"teacher-{name}" for name in NAMES[1:]}
    for name in students:
        run = children[name]
        history = client.get_metric_history(run.info.run_id, "validation_accuracy")
        assert [point.step for point in history] == [1, 2]
        assert run.info.status == "FINISHED"
        found = description(run.data.tags["raykd.folder"])
        assert history[-1].value == pytest.approx(found["metrics"]["validation_accuracy"])
        assert run.data.params["training.seed"] == name[-1]


def test_a_finished_comparison_is_shown_again_and_trains_nothing(compared):
    before = written(compared.experiment.study.output.parent)
    assert len(before) == len(NAMES) * len(SEEDS) + 3
    console, shown = quiet_console()
    result = raykd.compare_teachers(resumed(compared.experiment), console)
    assert written(compared.experiment.study.output.parent) == before
    assert result.rows == compared.result.rows
    assert "classroom" not in shown.getvalue()
    _, parent, children = runs_of(result)
    assert len(children) == 11
    assert summary_of(parent) == pytest.approx(compared.result.summary())


def test_a_resumed_comparison_teaches_only_what_is_missing(compared, tmp_path):
    shutil.copytree(compared.experiment.study.output.parent, tmp_path, dirs_exist_ok=True)
    experiment = resumed(
        override(
            compared.experiment,
            {"study.output": tmp_path / "outputs", "teacher.cache": tmp_path / "cache"},
        )
    )
    gone = experiment.folder / "students" / "student-of-generous-4"
    shutil.rmtree(gone)
    before = written(experiment.folder)
    teachers = written(experiment.teacher.cache)
    console, shown = quiet_console()
    result = raykd.compare_teachers(experiment, console)
    after = written(experiment.folder)
    assert after.pop(gone / "checkpoint.pt")
    assert after == before
    # The students' records name their teachers' folders, but the copied teachers are found by content.
    assert written(experiment.teacher.cache) == teachers
    assert [len(row.students) for row in result.rows] == [2, 2, 2, 2]
    assert "7 are done" in shown.getvalue()
    assert "not trained by this launch" in shown.getvalue()


def test_a_comparison_is_not_begun_twice_by_mistake(compared):
    with pytest.raises(raykd.RaykdError, match="--resume"):
        raykd.compare_teachers(compared.experiment, quiet_console()[0])


def unlucky(num_classes: int, in_channels: int, seed: int) -> nn.Module:
    """A linear network that refuses to be built from one seed."""
    if torch.initial_seed() == seed_of(seed, "weights"):
        raise ValueError("not from this seed")
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))


def test_students_and_teachers_that_cannot_be_taught_leave_the_others_in_peace(cluster, tmp_path):
    experiment = comparison(
        tmp_path,
        **{
            "student.name": "tests.end_to_end.test_generous:unlucky",
            "student.arguments": {"seed": SEEDS[1]},
            "teacher.generous.weight": 1e38,
            "comparison.ablations": (),
        },
    )
    console, shown = quiet_console()
    result = raykd.compare_teachers(experiment, console)
    assert {row.name: sorted(row.students) for row in result.rows} == {"plain": [3], "standard": [3], "generous": []}
    assert result.row("generous").teacher is None
    assert "no generous teacher: " in shown.getvalue()
    assert "(1 of 2)" in shown.getvalue()
    _, parent, children = runs_of(result)
    assert parent.info.status == "FINISHED"
    assert children["teacher-generous"].info.status == "FAILED"
    assert "diverged" in children["teacher-generous"].data.tags["raykd.reason"]
    assert children["student-of-standard-3"].data.tags["raykd.state"] == "finished"
    for name in ("student-of-standard-4", "plain-student-4"):
        assert children[name].data.tags["raykd.state"] == "failed"
        assert "not from this seed" in children[name].data.tags["raykd.reason"]


def test_a_comparison_whose_students_all_diverge_says_so(cluster, tmp_path):
    experiment = comparison(tmp_path, **{"training.learning_rate": 1e30, "comparison.ablations": ()})
    with pytest.raises(raykd.RaykdError, match="no student finished"):
        raykd.compare_teachers(experiment, quiet_console()[0])
    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/small/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    states = {run.data.tags.get("raykd.trial"): run.data.tags["raykd.state"] for run in runs}
    assert states.pop(None) == "failed"
    students = {name: state for name, state in states.items() if "student" in name}
    assert len(students) == 6
    assert set(students.values()) == {"diverged"}
