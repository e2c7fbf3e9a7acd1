"""Whatever dies, the study goes on or resumes, and no finished work is done twice. The faults are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from mlflow import MlflowClient

import raykd
from raykd.cluster.session import NAMESPACE
from raykd.config import Experiment, ModelSettings
from raykd.results.load import recorded_study
from raykd.saved_settings import save_experiment
from raykd.settings_io import override
from raykd.study.tune import tune
from tests.helpers.histories import histories
from tests.helpers.mlflow_places import datasets
from tests.helpers.mounts import fill, small_disk
from tests.helpers.paths import ROOT
from tests.helpers.small_study import FAULTS, quiet_console, small_experiment

pytestmark = pytest.mark.cluster

MULTIPLIER_ONLY = "temperature.multiplier: {low: 0.5, high: 4.0, log: true}\n"


def without_early_stops(experiment: Experiment) -> Experiment:
    study = experiment.study.model_copy(update={"scheduler": "none"})
    return experiment.model_copy(update={"study": study})


def during(study: threading.Thread, folder: Path, epochs: int) -> None:
    """Wait until the trials of a running study have learnt so many epochs in sum."""
    while sum(map(len, histories(folder).values())) < epochs:
        assert study.is_alive(), "the study was over before the fault"
        time.sleep(0.05)


def in_background(experiment: Experiment) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(tune(experiment, quiet_console()[0])))
    thread.start()
    return thread, outcome


def trial_processes() -> list[psutil.Process]:
    """The processes of Tune's trials in the session's cluster, which this process has started."""
    return [process for process in psutil.Process().children(recursive=True) if "Trainable" in process.cmdline()[0]]


def test_workers_that_are_killed_or_hang_or_lose_their_device_cost_no_trial(cluster, tmp_path, monkeypatch):
    faults = [tmp_path / "faults" / name for name in FAULTS]
    faults[0].parent.mkdir()
    for fault in faults:
        fault.touch()
    # A path of the user's own code, seen from the driver's folder.
    monkeypatch.chdir(tmp_path)
    student = ModelSettings(name="tests.helpers.small_study:fragile", arguments={"folder": "faults"})
    experiment = without_early_stops(small_experiment(tmp_path, MULTIPLIER_ONLY, trials=4, student=student))
    # First passes may take 6 times as long, a busy machine's too.
    experiment = override(experiment, {"cluster.stall_seconds": 15.0})
    handler = signal.getsignal(signal.SIGINT)
    console, shown = quiet_console()
    result = raykd.tune(experiment, console)
    assert signal.getsignal(signal.SIGINT) is handler, "a later Ctrl-C would be lost"
    assert not any(fault.exists() for fault in faults)
    assert "starts again: nothing has moved for" in shown.getvalue()
    assert "in hang, small_study.py:" in shown.getvalue()
    assert "AcceleratorError: CUDA error: unspecified launch failure" in shown.getvalue()
    assert [trial.state for trial in result.trials] == ["finished"] * 4
    assert all(len(epochs) == 4 for epochs in histories(experiment.folder).values())


def test_a_study_without_a_classroom_ends_and_can_be_resumed(cluster, tmp_path):
    """The fault is of the workers, so no trial is blamed: all stay open, in whichever thread the study runs."""
    bomb = tmp_path / "bomb"
    bomb.touch()
    student = ModelSettings(name="tests.helpers.small_study:deadly", arguments={"file": str(bomb)})
    experiment = without_early_stops(small_experiment(tmp_path, MULTIPLIER_ONLY, trials=2, student=student))
    experiment = override(experiment, {"cluster.restarts": 0, "cluster.classrooms": 1})
    resumed = override(experiment, {"study.resume": True})
    console, shown = quiet_console()
    refused: list[str] = []

    def refuse(launch: Experiment) -> None:
        with pytest.raises(raykd.RaykdError) as raised:
            tune(launch, console)
        refused.append(str(raised.value))

    refuse(experiment)
    thread = threading.Thread(target=refuse, args=(resumed,))
    thread.start()
    thread.join(300)
    assert refused == ["interrupted; nothing is lost: the same command with --resume goes on"] * 2
    assert shown.getvalue().count("no classroom is left: the run ends here") == 2
    trials = recorded_study(experiment.folder).study.get_trials(deepcopy=False)
    assert {trial.state.name for trial in trials} <= {"RUNNING", "WAITING"}
    bomb.unlink()
    result = raykd.tune(resumed, quiet_console()[0])
    assert [trial.state for trial in result.trials] == ["finished"] * 2


def test_a_disk_that_fills_up_fails_no_trial(cluster, tmp_path):
    """The run ends, to be resumed, and names the folder; when room was made, all trials come to their end."""
    disk = tmp_path / "disk"
    experiment = without_early_stops(small_experiment(tmp_path, MULTIPLIER_ONLY, trials=4))
    experiment = override(experiment, {"study.output": disk / "outputs", "training.epochs": 8})
    console, shown = quiet_console()
    refused: list[str] = []

    def refuse() -> None:
        with pytest.raises(raykd.RaykdError) as raised:
            tune(experiment, console)
        refused.append(str(raised.value))

    try:
        mounted = small_disk(disk, 64)
        mounted.__enter__()
    except PermissionError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    try:
        study = threading.Thread(target=refuse)
        study.start()
        during(study, experiment.folder, epochs=6)
        filler = fill(disk)
        study.join(300)
        assert len(refused) == 1 and "--resume" in refused[0]
        assert f"{experiment.folder}" in shown.getvalue() + refused[0]
        assert "No space left on device" in shown.getvalue() + refused[0]
        filler.unlink()
        before = histories(experiment.folder)
        trials = recorded_study(experiment.folder).study.get_trials(deepcopy=False)
        assert {trial.state.name for trial in trials} <= {"RUNNING", "WAITING"}

        result = raykd.tune(override(experiment, {"study.resume": True}), quiet_console()[0])
        assert [trial.state for trial in result.trials] == ["finished"] * 4
        after = histories(experiment.folder)
        assert all(len(epochs) == 8 for epochs in after.values())
        for name, epochs in before.items():
            assert after[name][: len(epochs)] == epochs, f"{name} did an epoch again"
        client = MlflowClient(result.place.uri)
        experiment_id = client.get_experiment_by_name("small").experiment_id
        runs = client.search_runs([experiment_id], "tags.`raykd.trial` LIKE 'trial-%'")
        assert {run.data.tags["raykd.trial"]: run.info.status for run in runs} == dict.fromkeys(after, "FINISHED")
        for run in runs:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "validation_accuracy")]
            assert steps == list(range(1, 9))
    finally:
        mounted.__exit__(None, None, None)


def test_killed_trials_and_broker_cost_no_trial(cluster, tmp_path):
    experiment = small_experiment(tmp_path, MULTIPLIER_ONLY, trials=4)
    training = experiment.training.model_copy(update={"epochs": 12})
    experiment = without_early_stops(experiment.model_copy(update={"training": training}))
    study, outcome = in_background(experiment)
    during(study, experiment.folder, epochs=6)
    trial_processes()[0].kill()
    during(study, experiment.folder, epochs=14)
    actors = ray.util.list_named_actors(all_namespaces=True)
    (broker,) = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
    ray.kill(ray.get_actor(broker, namespace=NAMESPACE), no_restart=False)
    study.join(300)
    assert outcome, "the study did not come to an end"
    assert [trial.state for trial in outcome[0].trials] == ["finished"] * 4
    for epochs in histories(experiment.folder).values():
        assert len(epochs) == 12


def test_a_trial_that_cannot_be_taught_fails_alone(cluster, cluster_logs, tmp_path):
    space = "student.arguments.mood: {choices: [good, bad], default: good}\n" + MULTIPLIER_ONLY
    mended = tmp_path / "mended"
    arguments = {"mood": "good", "mended": str(mended)}
    student = ModelSettings(name="tests.helpers.small_study:picky", arguments=arguments)
    experiment = without_early_stops(small_experiment(tmp_path, space, trials=6, student=student))
    result = raykd.tune(experiment, quiet_console()[0])
    moods = {trial.name: trial.values["student.arguments.mood"] for trial in result.trials}
    states = {trial.name: trial.state for trial in result.trials}
    assert states == {name: "failed" if mood == "bad" else "finished" for name, mood in moods.items()}
    assert "bad" in moods.values()
    assert "good" in moods.values()
    client = MlflowClient(result.place.uri)
    experiment_id = client.get_experiment_by_name("small").experiment_id
    (failed, *_) = client.search_runs([experiment_id], "tags.`raykd.state` = 'failed'")
    assert failed.info.status == "FAILED"
    assert "not today" in failed.data.tags["raykd.reason"]

    # What made it fail is mended: only what failed is trained again, as new trials, and all books agree.
    mended.touch()
    again = override(experiment, {"study.resume": True, "study.retry_failed": True})
    retried = raykd.tune(again, quiet_console()[0])
    bad = [name for name, mood in moods.items() if mood == "bad"]
    assert [trial.name for trial in retried.trials if trial.state == "retried"] == bad
    assert [trial.state for trial in retried.trials if trial.state != "retried"] == ["finished"] * 6
    runs = client.search_runs([experiment_id], "tags.`raykd.trial` LIKE 'trial-%'")
    assert {run.data.tags["raykd.trial"]: run.data.tags["raykd.state"] for run in runs} == {
        trial.name: trial.state for trial in retried.trials
    }
    by_name = {run.data.tags["raykd.trial"]: run for run in runs}
    for name in bad:
        new = by_name[by_name[name].data.tags["raykd.retry"]]
        assert new.data.tags["raykd.retry_of"] == name
        assert new.data.params == by_name[name].data.params
        assert by_name[name].info.status == "FAILED" and new.info.status == "FINISHED"

    # Other users of the machine may read Ray's logs.
    logs = [file for file in cluster_logs.rglob("*") if file.is_file()]
    assert any("Trainable" in file.read_text(errors="replace") for file in logs), "these are not the logs of the trials"
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"):
        secret = os.environ[name].encode()
        assert [file.name for file in logs if secret in file.read_bytes()] == [], name


def test_diverged_trials_are_told_from_stopped_ones(cluster, tmp_path):
    space = "training.learning_rate: {choices: [0.05, 1.0e+30], default: 1.0e+30}\n" + MULTIPLIER_ONLY
    experiment = without_early_stops(small_experiment(tmp_path, space, trials=6))
    result = raykd.tune(experiment, quiet_console()[0])
    for trial in result.trials:
        assert trial.state == ("diverged" if trial.values["training.learning_rate"] > 1 else "finished")
    assert "diverged" in {trial.state for trial in result.trials}


# A stopped job gets SIGTERM; its tests cover that.
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_study_whose_driver_died_goes_on_where_it_was(cluster, tmp_path, blow):
    experiment = small_experiment(tmp_path, trials=6)
    training = experiment.training.model_copy(update={"epochs": 8})
    experiment = experiment.model_copy(update={"training": training}).with_absolute_paths()
    settings = tmp_path / "experiment.yaml"
    save_experiment(experiment, settings)
    script = ROOT / "experiments" / "tune_dkd.py"
    command = [sys.executable, str(script), "--config", str(settings), "--cluster.address", cluster]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while sum(map(len, histories(experiment.folder).values())) < 12:
        assert driver.poll() is None, driver.stdout.read()
        time.sleep(0.05)
    os.kill(driver.pid, blow)
    shown, _ = driver.communicate(timeout=180)
    assert driver.returncode != 0
    assert "Traceback" not in shown
    if blow != signal.SIGKILL:
        assert "--resume" in shown
    before = histories(experiment.folder)

    study = experiment.study.model_copy(update={"resume": True})
    result = raykd.tune(experiment.model_copy(update={"study": study}), quiet_console()[0])
    after = histories(experiment.folder)
    assert len(result.trials) == 6
    assert {trial.state for trial in result.trials} <= {"finished", "stopped early"}
    for name, epochs in before.items():
        assert after[name][: len(epochs)] == epochs, f"{name} did an epoch again"
    client = MlflowClient(result.place.uri)
    experiment_id = client.get_experiment_by_name("small").experiment_id
    (_,) = client.search_runs([experiment_id], "tags.`raykd.kind` = 'tune'")
    runs = client.search_runs([experiment_id], "tags.`raykd.trial` LIKE 'trial-%'")
    assert sorted(run.data.tags["raykd.trial"] for run in runs) == [trial.name for trial in result.trials]
    for trial in result.trials:
        (run,) = [run for run in runs if run.data.tags["raykd.trial"] == trial.name]
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "validation_accuracy")]
        assert steps == list(range(1, len(steps) + 1))
        # The resumed scheduler, which hears of the trials in another order, may stop one before an epoch that it had.
        assert len(steps) >= trial.epochs
        assert run.data.tags["raykd.state"] == trial.state
        assert datasets(run) == {"digits train": "training", "digits validation": "validation"}
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["experiment.yaml"]
