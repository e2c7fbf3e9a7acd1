"""The tracker against real MLflow in SQLite: runs, resumed and killed studies, and what MLflow refuses."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest

from raykd.config import TrackingSettings
from raykd.tracking import Address, RunsTable, Tracker
from tests.helpers.mlflow_places import DIGITS, client_of, datasets, history, runs
from tests.helpers.timed_tracker import Timed

if TYPE_CHECKING:
    from mlflow.entities import LoggedModelOutput, Run


CODE = """
import sys, time
from pathlib import Path
from tests.helpers.mlflow_places import DIGITS
from raykd.config import TrackingSettings
from raykd.tracking import Tracker
tracker = Tracker(TrackingSettings(), Path(sys.argv[1]), "killed")
settings = Path(sys.argv[1]) / "experiment.yaml"
settings.write_text("study.trials: 2")
tracker.start_study({"study.trials": 2}, artifacts=[settings], datasets=[DIGITS])
for trial in ("a", "b"):
    tracker.start_trial(trial, {"method.name": "dkd"}, artifacts=[settings], datasets=[DIGITS])
for epoch in range(1, 5000):
    for trial in ("a", "b"):
        tracker.epoch(trial, epoch, {"loss": 1 / epoch, "accuracy": epoch})
    tracker.usage({"node": {"cpu_utilization_percentage": epoch}})
    print(epoch, flush=True)
    time.sleep(0.02)
"""


def outputs_of(run: Run) -> list[LoggedModelOutput]:
    assert run.outputs is not None
    return list(run.outputs.model_outputs)


def test_a_study_in_a_fresh_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    attached = tmp_path / "settings.yaml"
    attached.write_text("epochs: 3\n")
    tracker = Timed(Tracker(TrackingSettings(), tmp_path / "out", "small"))
    table = RunsTable(("loss", "peak"), ("temperature.multiplier", *(f"parameter_{i}" for i in range(200))), "trial")
    tracker.start_study({"training.epochs": 3, "long": "x" * 9000}, {"team": "a"}, [attached], table=table)
    states = {"t1": "finished", "t2": "stopped early", "t3": "diverged", "t4": "failed"}
    for trial, state in states.items():
        tracker.start_trial(trial, {"temperature.multiplier": 1.5, "bias.form": None})
        for epoch in (1, 2, 3):
            tracker.epoch(trial, epoch, {"loss": math.nan if epoch == 2 else 1 / epoch, "peak": math.inf})
        tracker.end_trial(trial, state, f"because of {state}", {"best_accuracy": 0.5})
    tracker.study_metrics({"best": 0.4})
    tracker.study_metrics({"best": 0.5})
    tracker.end_study()
    assert tracker.slowest < 0.1
    assert tracker.tracker.close(60) is None
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")

    client = client_of(tmp_path / "out")
    found = runs(client, "small")
    parent = found.pop("small")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["team"] == "a"
    assert parent.data.params["training.epochs"] == "3"
    assert len(parent.data.params["long"]) == 6000
    assert parent.data.metrics == {"best": 0.5}
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["settings.yaml"]
    assert Path(parent.info.artifact_uri).is_relative_to(tmp_path / "out" / "mlflow-artifacts")
    status = {"finished": "FINISHED", "stopped early": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
    assert found.keys() == states.keys()
    for trial, run in found.items():
        assert run.info.status == status[states[trial]]
        assert run.info.end_time
        assert run.data.params == {"temperature.multiplier": "1.5", "bias.form": "None"}
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["raykd.study"], tags["raykd.trial"]) == ("small", trial)
        assert (tags["raykd.state"], tags["raykd.reason"]) == (states[trial], f"because of {states[trial]}")
        (first, one), (second, nan), third = history(client, run, "loss")
        assert (first, one, second, third) == (1, 1.0, 2, (3, 1 / 3))
        assert math.isnan(nan)
        assert run.data.metrics["peak"] == sys.float_info.max  # MLflow's infinity
    place = tracker.tracker.describe()
    command, opened = place.look.split("\nthen open ")
    assert command == f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/out/mlflow.db"
    address, _, query = opened.partition("?")
    assert address == f"http://127.0.0.1:5000/#/experiments/{parent.info.experiment_id}/runs"
    asked = dict(parse_qsl(query))
    assert asked["workflowType"] == "machine_learning"
    shown = json.loads(client.get_experiment("1").tags[f"mlflow.sharedViewState.{asked['viewStateShareKey']}"])
    assert (shown["orderByKey"], shown["orderByAsc"]) == ("metrics.`loss`", False)
    assert shown["selectedColumns"][:3] == ["metrics.`loss`", "metrics.`peak`", "tags.`raykd.state`"]
    assert "params.`temperature.multiplier`" in shown["selectedColumns"]
    # Its search is one that MLflow takes.
    assert client.search_runs(["1"], shown["searchFilter"]) == []
    client.set_tag(found["t2"].info.run_id, "raykd.role", "trial")
    (chosen,) = client.search_runs(["1"], shown["searchFilter"], order_by=[f"{shown['orderByKey']} DESC"])
    assert chosen.info.run_id == found["t2"].info.run_id
    # In a copy of the folder the command is another one, and the page is the same.
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert Address(f"sqlite:///{tmp_path}/copy/mlflow.db", tmp_path / "copy").look.split("\nthen open ")[1] == opened


def test_a_resumed_study_goes_on_with_its_runs(folder: Path) -> None:
    first = Tracker(TrackingSettings(), folder, "again")
    first.start_study({"a": 1})
    first.start_trial("t", {"method.name": "kd", "seed": 1})
    for epoch in (1, 2, 3):
        first.epoch("t", epoch, {"loss": 1.0})
    first.end_trial("t", "failed", "the node died", {"best": 0.1})
    first.study_metrics({"trials": 1}, step=1)
    first.end_study("interrupted")
    assert first.close() is None
    old = runs(client_of(folder), "again")
    assert old["again"].info.status == "KILLED"

    second = Tracker(TrackingSettings(), folder, "again")
    second.start_study({"a": 1, "b": 2})
    second.start_trial("t", {"method.name": "dkd", "seed": 1})
    for epoch in (2, 3, 4):  # from its last checkpoint
        second.epoch("t", epoch, {"loss": 9.0})
    second.end_trial("t", "finished", metrics={"best": 0.2})
    for step in (1, 2):
        second.study_metrics({"trials": step}, step=step)
    second.end_study()
    assert second.close() is None

    client = client_of(folder)
    new = runs(client, "again")
    assert {name: run.info.run_id for name, run in new.items()} == {name: run.info.run_id for name, run in old.items()}
    parent, trial = new["again"], new["t"]
    assert parent.info.status == trial.info.status == "FINISHED"
    assert parent.data.params == {"a": "1", "b": "2"}
    assert history(client, parent, "trials") == [(1, 1.0), (2, 2.0)]
    assert history(client, trial, "loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 9.0)]
    assert trial.data.metrics["best"] == 0.2
    assert trial.data.params == {"method.name": "kd", "seed": "1"}
    assert trial.data.tags["raykd.changed.method.name"] == "dkd"
    assert (trial.data.tags["raykd.state"], trial.data.tags["raykd.reason"]) == ("finished", "")


def test_a_killed_process_loses_and_doubles_nothing(folder: Path) -> None:
    path = os.pathsep.join(sys.path)
    killed = subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert killed.stdout is not None
    client = client_of(folder)

    def delivered() -> int:
        cursor = folder / "mlflow_outbox.cursor"
        return int(json.loads(cursor.read_text())["cursor"]) if cursor.exists() else 0

    epochs = 0
    while epochs < 50 or delivered() < 3000:  # some of it is there
        epochs = int(killed.stdout.readline())
    killed.kill()
    killed.wait()
    assert delivered() < (folder / "mlflow_outbox.jsonl").stat().st_size  # and some is not
    with (folder / "mlflow_outbox.jsonl").open("ab") as outbox:
        outbox.write(b'{"kind": "metr')
    started = runs(client, "killed")

    tracker = Tracker(TrackingSettings(), folder, "killed")
    settings = folder / "experiment.yaml"
    tracker.start_study({"study.trials": 2}, artifacts=[settings], datasets=[DIGITS])
    for trial in ("a", "b"):
        tracker.start_trial(trial, {"method.name": "dkd"}, artifacts=[settings], datasets=[DIGITS])
        for epoch in range(epochs - 5, epochs + 3):
            tracker.epoch(trial, epoch, {"loss": 1 / epoch, "accuracy": epoch})
        tracker.end_trial(trial, "finished")
    tracker.end_study()
    assert tracker.close() is None
    found = runs(client, "killed")
    assert {run.info.run_id for run in found.values()} >= {run.info.run_id for run in started.values()}
    for run in found.values():
        assert datasets(run) == {"digits train": "training"}
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["experiment.yaml"]
    usage = history(client, found["killed"], "system/node/cpu_utilization_percentage")
    seconds, looks = zip(*usage, strict=True)
    assert list(seconds) == sorted(set(seconds)) and list(looks) == sorted(looks)
    assert len(seconds) > 1 and max(seconds) < 600  # the run's age in seconds
    for trial in ("a", "b"):
        assert history(client, found[trial], "loss") == [(e, 1 / e) for e in range(1, epochs + 3)]
        assert history(client, found[trial], "accuracy") == [(e, float(e)) for e in range(1, epochs + 3)]


def test_what_mlflow_refuses_does_not_stop_the_rest(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(TrackingSettings(), folder, "odd")
    tracker.start_trial("t", {"bad:name$": "v"})
    tracker.epoch("t", 1, {"loss": 1.0})
    tracker.epoch("t", 2, {"no//path": 1.0})
    tracker.epoch("t", 3, {"loss": None})  # type: ignore[dict-item]
    tracker.epoch("t", 4, {"loss": 0.5})
    tracker.artifact(folder / "missing.txt")
    tracker.end_trial("t", "finished")
    assert tracker.close() is None
    tracker.epoch("t", 5, {"loss": 0.1})
    client = client_of(folder)
    run = runs(client, "odd")["t"]
    assert history(client, run, "loss") == [(1, 1.0), (4, 0.5)]
    assert run.data.params == {"bad_name_": "v"}
    assert run.info.status == "FINISHED"
    assert len([record for record in caplog.records if record.name == "raykd.tracking"]) == 4


def test_a_broken_artifact_store_does_not_hold_metrics_up(folder: Path) -> None:
    (folder / "mlflow-artifacts").write_text("in the way")
    attached = folder / "attached"
    attached.mkdir()
    (attached / "a.txt").write_text("a")
    tracker = Tracker(TrackingSettings(), folder, "artifacts")
    tracker.start_study({}, artifacts=[attached])
    tracker.study_metrics({"best": 1.0})
    tracker.end_study()
    left = tracker.close(3)
    assert left is not None
    assert left.events == 1
    assert str(left).endswith(f"this delivers what waits: raykd sync {folder}")
    client = client_of(folder)
    assert runs(client, "artifacts")["artifacts"].data.metrics == {"best": 1.0}

    (folder / "mlflow-artifacts").unlink()
    assert Tracker(TrackingSettings(), folder, "artifacts").close() is None
    run = runs(client, "artifacts")["artifacts"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "attached")] == ["attached/a.txt"]


def test_what_comes_after_a_trials_end_goes_to_its_run(folder: Path) -> None:
    (folder / "mlflow-artifacts").write_text("in the way")
    settings = folder / "experiment.yaml"
    settings.write_text("study.trials: 1")
    tracker = Tracker(TrackingSettings(), folder, "late")
    tracker.start_study({})
    tracker.start_trial("t", {}, artifacts=[settings])
    tracker.end_trial("t", "finished")
    client = client_of(folder)
    deadline = time.monotonic() + 60
    found: list[Run] = []
    while not found or found[0].info.status != "FINISHED":
        assert time.monotonic() < deadline
        time.sleep(0.2)
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = list(client.search_runs(experiments, "tags.`raykd.trial` = 't'"))
    (folder / "mlflow-artifacts").unlink()
    assert tracker.close(60) is None
    (run,) = client.search_runs(experiments, "tags.`raykd.trial` = 't'")
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["experiment.yaml"]


def test_a_deleted_experiment_is_named(folder: Path) -> None:
    client = client_of(folder)
    client.delete_experiment(client.create_experiment("gone"))
    tracker = Tracker(TrackingSettings(experiment="gone"), folder, "study")
    tracker.start_study({})
    left = tracker.close(2)
    assert left is not None
    assert "'gone' was deleted" in left.reason
