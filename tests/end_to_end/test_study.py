"""A small real study over a real Ray cluster, read back from disk and from MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import optuna
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

import raykd
from raykd.config import Experiment
from raykd.data import evaluation_batches, load_data
from raykd.results.study import StudyResult
from raykd.results.trial_summary import TrialSummary
from raykd.settings_io import load_experiment, override
from raykd.training.folder import description
from tests.helpers.mlflow_places import datasets
from tests.helpers.paths import ROOT
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster


@dataclass
class Finished:
    experiment: Experiment
    result: StudyResult
    shown: str


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory) -> Finished:
    experiment = small_experiment(tmp_path_factory.mktemp("study"))
    console, shown = quiet_console()
    result = raykd.tune(experiment, console)
    return Finished(experiment, result, shown.getvalue())


@pytest.fixture(scope="module")
def runs(finished) -> tuple[MlflowClient, Run, dict[str, Run]]:
    client = MlflowClient(finished.result.place.uri)
    experiment = client.get_experiment_by_name("small")
    every = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in every if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["raykd.trial"]: run for run in every if run is not parent}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children.values())
    return client, parent, children


def validation_accuracy(model: torch.nn.Module, experiment: Experiment) -> float:
    right = [
        (model(batch.pixels).argmax(1) == batch.labels)
        for batch in evaluation_batches(load_data(experiment.data), "validation", batch_size=64)
    ]
    return torch.cat(right).double().mean().item()


def test_the_output_folder_keeps_its_contract(finished):
    folder = finished.experiment.folder
    names = {path.name for path in folder.iterdir()}
    assert {"experiment.yaml", "study.journal", "trials", "best", "plain", "mlflow.db"} <= names
    for trial in finished.result.trials:
        assert (folder / "trials" / trial.name / "checkpoint.pt").exists()
    assert len(finished.result.trials) == 6
    assert "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=raykd-" in finished.result.place.look


def test_a_study_is_read_back_from_its_folder_alone(finished):
    found = raykd.load_study(finished.experiment.folder)
    assert found == finished.result
    with pytest.raises(raykd.RaykdError, match=r"unknown study 'smal' in .*did you mean 'small'"):
        raykd.load_study("smal", finished.experiment.study.output)


def test_the_best_student_loads_in_two_lines_with_the_reported_accuracy(finished):
    student = raykd.load_model(finished.experiment.folder / "best")
    assert validation_accuracy(student, finished.experiment) == pytest.approx(finished.result.best.accuracy)
    finished_trials = [trial for trial in finished.result.trials if trial.state == "finished"]
    assert finished.result.best.accuracy == max(trial.accuracy for trial in finished_trials)


def test_every_trial_is_a_child_run_with_its_settings_and_epochs(finished, runs):
    client, parent, children = runs
    assert parent.info.status == "FINISHED"
    assert sorted(children) == [trial.name for trial in finished.result.trials]
    for trial in finished.result.trials:
        run = children[trial.name]
        assert {name: str(value) for name, value in trial.values.items()} == run.data.params
        assert run.data.tags["raykd.state"] == trial.state
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "validation_accuracy")
        assert [point.step for point in history] == list(range(1, trial.epochs + 1))
        assert history[-1].value == pytest.approx(trial.accuracy)


def test_a_trials_run_is_enough_to_run_it_again(finished, runs, tmp_path):
    client, _, children = runs
    for trial in finished.result.trials:
        run = children[trial.name]
        file = client.download_artifacts(run.info.run_id, "experiment.yaml", str(tmp_path))
        begun = finished.experiment.with_absolute_paths()
        assert load_experiment(file, raykd.Experiment()) == override(begun, dict(trial.values))
        tags = run.data.tags
        views = client.get_metric_history(run.info.run_id, "view")
        assert int(tags["raykd.first_view"]) == views[0].value
        assert (begun.teacher.cache / "teachers" / tags["raykd.teacher_key"]).is_dir()
        assert tags["raykd.data_fingerprint"] == load_data(begun.data).info.fingerprint
        assert json.loads(tags["raykd.versions"])["threads"] == 1
        assert tags["mlflow.source.name"] and tags["raykd.code"]
        assert run.data.metrics["epochs"] == trial.epochs


def test_the_parent_run_sums_up_the_study(finished, runs):
    _, parent, children = runs
    result, metrics = finished.result, parent.data.metrics
    for state in ("finished", "stopped early"):
        count = sum(trial.state == state for trial in result.trials)
        assert metrics.get(f"trials_{state.replace(' ', '_')}", 0) == count
    assert metrics["best_trial_validation_accuracy"] == pytest.approx(result.best.accuracy)
    assert metrics["teacher_validation_accuracy"] == result.teacher["metrics"]["validation_accuracy"]
    assert parent.data.tags["raykd.best_trial"] == result.best.name
    note = parent.data.tags["mlflow.note.content"]
    assert f"Best student: {result.best.label}, {result.best.accuracy:.2%}" in note and "6 trials" in note
    for run in (parent, *children.values()):
        assert datasets(run) == {"digits train": "training", "digits validation": "validation"}


def test_the_searches_of_the_page_find_runs(runs):
    client, parent, _ = runs
    page = (ROOT / "docs" / "mlflow.md").read_text()
    searches = page.partition("## Search")[2].split("```")[1].strip().splitlines()
    found = {
        search: len(client.search_runs([parent.info.experiment_id], search.replace("digits-dkd", "small")))
        for search in searches
    }
    assert len(found) == len(searches) > 9
    assert found["tags.`raykd.trial` LIKE 'trial-%'"] == 6
    assert found["tags.`raykd.kind` = 'tune'"] == 1
    assert found["dataset.name = 'digits train'"] == 7
    assert found["tags.`raykd.state` != 'finished' AND tags.`raykd.state` != 'stopped early'"] == 0


def test_the_parent_run_tells_how_busy_the_nodes_were(runs):
    client, parent, _ = runs
    names = [name for name in parent.data.metrics if name.startswith("system/")]
    assert {name.split("/")[2] for name in names} >= {"cpu_utilization_percentage", "system_memory_usage_percentage"}
    for name in names:
        history = client.get_metric_history(parent.info.run_id, name)
        steps = [point.step for point in history]
        assert steps == sorted(set(steps)) and all(point.value >= 0 for point in history)


def test_metrics_tell_losses_weights_temperatures_and_speed(runs):
    _, _, children = runs
    expected = {
        "loss",
        "cross_entropy",
        "distillation",
        "right",
        "rectified",
        "wrong_share",
        "teacher_agreement",
        "teacher_temperature",
        "student_temperature",
        "right_weight",
        "kd_weight",
        "learning_rate",
        "seconds",
        "images_per_second",
        "validation_accuracy",
        "best_validation_accuracy",
    }
    for run in children.values():
        assert expected <= run.data.metrics.keys()


def test_the_student_loaded_from_mlflow_has_the_reported_accuracy(finished, runs, monkeypatch):
    _, parent, _ = runs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", finished.result.place.uri)
    uri = f"runs:/{parent.info.run_id}/student"
    student = mlflow.pytorch.load_model(uri)
    assert validation_accuracy(student, finished.experiment) == pytest.approx(finished.result.best.accuracy)
    info = mlflow.models.get_model_info(uri)
    assert info.signature is not None
    example = info.signature.inputs.to_dict()[0]
    assert example["tensor-spec"]["shape"][1:] == (1, 8, 8)
    answer = mlflow.pyfunc.load_model(uri).predict(np.zeros((2, 1, 8, 8), dtype=np.float32))
    assert np.asarray(answer).shape == (2, 10)


def of_state(finished: Finished, state: str) -> TrialSummary:
    return next(trial for trial in finished.result.trials if trial.state == state)


@pytest.fixture
def copied(finished, tmp_path) -> Iterator[Path]:
    """A copy of the study's folder under another name; meanwhile the original is not where it was."""
    folder, away = finished.experiment.folder, tmp_path / "away"
    shutil.copytree(folder, tmp_path / "copy")
    folder.rename(away)
    yield tmp_path / "copy"
    away.rename(folder)


def test_a_trial_is_replayed_alone_to_the_bit(finished):
    replayed_to_the_bit(finished.experiment.folder, of_state(finished, "finished"))


def test_a_trial_that_was_stopped_early_is_replayed_in_a_copy_of_the_study(finished, copied):
    replayed_to_the_bit(copied, of_state(finished, "stopped early"))
    assert (copied / "replay").exists() and not finished.experiment.folder.exists()


def replayed_to_the_bit(study: Path, trial: TrialSummary) -> None:
    console, shown = quiet_console()
    again = raykd.replay(f"{study}/{trial.name}", console=console)
    assert again.same and again.first_difference is None and again.circumstances == ()
    assert len(again.metrics) == trial.epochs and again.weights == again.trial.weights
    assert again.metrics[-1]["validation_accuracy"] == trial.accuracy
    assert f"{trial.name} of small, {trial.state} after {trial.epochs} epochs: the same to the bit" in shown.getvalue()


def test_a_replay_says_what_is_not_as_it_was(finished):
    trial = of_state(finished, "finished")
    console, shown = quiet_console()
    settings = {"training.seed": 5, "cluster.threads_per_worker": 3}
    again = raykd.replay(f"{finished.experiment.folder}/{trial.name}", settings=settings, console=console)
    assert not again.same and again.first_difference.what.endswith("epoch 1")
    assert [(difference.what, difference.here) for difference in again.circumstances] == [("threads", "3")]
    assert "NOT the same" in shown.getvalue() and "threads" in shown.getvalue()


def test_the_summary_shows_teacher_plain_student_and_best_trials(finished):
    shown = finished.shown
    for word in (
        "1 classroom x 1 worker x 2 seats",
        "teacher",
        "plain student",
        finished.result.best.name,
        "mlflow ui",
    ):
        assert word in shown
    assert "The test split was not touched" in shown


def test_the_plain_student_learnt_from_labels_alone_at_the_same_budget(finished):
    plain = finished.result.plain
    assert plain["epochs"] == finished.experiment.training.epochs
    assert plain["lesson"]["objective"]["kd_weight"] == 0
    assert plain["lesson"]["training"] == finished.experiment.training.model_dump(mode="json")
    assert "distillation" not in plain["metrics"]


def test_the_record_is_an_optuna_study(finished):
    folder = finished.experiment.folder
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    study = optuna.load_study(study_name="small", storage=optuna.storages.JournalStorage(backend))
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    assert study.best_value == pytest.approx(finished.result.best.accuracy)
    # Searched first: the experiment's own settings.
    assert study.trials[0].params["temperature.multiplier"] == finished.experiment.temperature.multiplier


def test_a_finished_study_is_shown_again_but_not_run_again(finished):
    checkpoints = sorted(finished.experiment.folder.rglob("checkpoint.pt"))
    before = [path.stat().st_mtime_ns for path in checkpoints]
    again = finished.experiment.model_copy(
        update={"study": finished.experiment.study.model_copy(update={"resume": True})}
    )
    console, shown = quiet_console()
    result = raykd.tune(again, console)
    assert result.trials == finished.result.trials
    assert [path.stat().st_mtime_ns for path in checkpoints] == before
    assert "plain student" in shown.getvalue()
    assert "classroom" not in shown.getvalue()


def test_a_second_study_takes_the_teacher_as_it_is_and_goes_on_with_more_trials(finished):
    teachers = list((finished.experiment.teacher.cache / "teachers").rglob("checkpoint.pt"))
    before = [path.stat().st_mtime_ns for path in teachers]
    experiment = override(finished.experiment, {"study.name": "second", "study.trials": 2})
    console, shown = quiet_console()
    first = raykd.tune(experiment, console)
    assert "standard teacher: " in shown.getvalue()
    more = raykd.tune(override(experiment, {"study.resume": True, "study.trials": 5}), quiet_console()[0])
    assert more.trials[:2] == first.trials
    assert len(more.trials) == 5
    assert len(before) == 1
    assert [path.stat().st_mtime_ns for path in teachers] == before
    best = raykd.load_model(more.best_folder)
    assert validation_accuracy(best, experiment) == pytest.approx(more.best.accuracy)
    client = MlflowClient(more.place.uri)
    runs = client.search_runs([client.get_experiment_by_name("second").experiment_id])
    assert len(runs) == 6


def test_a_study_is_not_begun_twice_by_mistake(finished):
    with pytest.raises(raykd.RaykdError, match="--resume"):
        raykd.tune(finished.experiment, quiet_console()[0])


def test_a_study_is_not_resumed_with_other_settings(finished):
    study = finished.experiment.study.model_copy(update={"resume": True})
    training = finished.experiment.training.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(raykd.RaykdError, match=r"training\.learning_rate is 0\.5, but the study was begun with 0\.05"):
        raykd.tune(finished.experiment.model_copy(update={"study": study, "training": training}), quiet_console()[0])


def test_a_study_may_search_who_teaches(cluster, tmp_path):
    space = (
        "teacher.kind: {choices: [standard, generous], default: generous}\n"
        "teacher.generous.weight: {choices: [0.5, 2.0], when: {teacher.kind: generous}}\n"
        "temperature.multiplier: {low: 0.5, high: 4.0, log: true}\n"
    )
    experiment = small_experiment(tmp_path, space, trials=6)
    result = raykd.tune(experiment, quiet_console()[0])
    cache = experiment.teacher.cache / "teachers"
    taught_by = {}
    for folder in cache.iterdir():
        found = description(folder)
        assert found is not None
        method = found["lesson"]["method"]["dkd"]
        generous = found["lesson"]["objective"]["kd_weight"] > 0
        taught_by[folder.name] = method["non_target_weight"] if generous else "standard"
    chosen = {trial.values.get("teacher.generous.weight", "standard") for trial in result.trials}
    # One teacher for each that some trial chose, and the standard one that teaches the others.
    assert sorted(map(str, taught_by.values())) == sorted(map(str, chosen | {"standard"}))
    assert {trial.state for trial in result.trials} <= {"finished", "stopped early"}


def test_a_student_is_distilled_alone_from_the_teacher_in_the_cache(finished):
    teacher = raykd.train_teacher(override(finished.experiment, {"study.name": "teacher"}), quiet_console()[0])
    assert teacher.folder == Path(finished.result.teacher["folder"])
    experiment = override(finished.experiment, {"study.name": "alone"})
    console, shown = quiet_console()
    student = raykd.distill(experiment, console)
    assert f"({teacher.folder})" in shown.getvalue(), "the cached teacher was not used"
    model = raykd.load_model(student.folder)
    assert validation_accuracy(model, experiment) == pytest.approx(student.metrics["validation_accuracy"])
    client = MlflowClient(f"sqlite:///{student.folder.parent}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("alone").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["temperature.multiplier"] == "1.0"
    history = client.get_metric_history(run.info.run_id, "validation_accuracy")
    assert [point.step for point in history] == [1, 2, 3, 4]
