"""The tracker against real MLflow: SQLite, and a server on this machine that comes and goes."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from raykd.config import TrackingSettings
from raykd.errors import RaykdError
from raykd.tracking import Tracker, check_tracking
from tests.helpers.mlflow_places import DIGITS, Server, client_of, datasets, history, runs

if TYPE_CHECKING:
    from mlflow.entities import LoggedModelOutput, Run

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

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


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's migrations take seconds: once for all tests."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path) -> Path:
    shutil.copy(empty_database, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(empty_database, server.folder)
    server.start()
    yield server
    server.kill()


def outputs_of(run: Run) -> list[LoggedModelOutput]:
    assert run.outputs is not None
    return list(run.outputs.model_outputs)


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Timed:
    """A tracker whose slowest call is measured."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.slowest = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.monotonic()
            result = getattr(self.tracker, name)(*arguments, **named)
            self.slowest = max(self.slowest, time.monotonic() - start)
            return result

        return call


def test_a_study_in_a_fresh_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    attached = tmp_path / "settings.yaml"
    attached.write_text("epochs: 3\n")
    tracker = Timed(Tracker(TrackingSettings(), tmp_path / "out", "small"))
    tracker.start_study({"training.epochs": 3, "long": "x" * 9000}, {"team": "a"}, [attached])
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
    status = {"finished": "FINISHED", "stopped early": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
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
    assert place.look == f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/out/mlflow.db"


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
    cursor = folder / "mlflow_outbox.cursor"
    epochs = 0
    while epochs < 50 or not cursor.exists() or int(cursor.read_text()) < 3000:  # some of it is delivered
        epochs = int(killed.stdout.readline())
    killed.kill()
    killed.wait()
    assert int(cursor.read_text()) < (folder / "mlflow_outbox.jsonl").stat().st_size  # and some is not
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
    assert "--resume" in str(left)
    client = client_of(folder)
    assert runs(client, "artifacts")["artifacts"].data.metrics == {"best": 1.0}

    (folder / "mlflow-artifacts").unlink()
    assert Tracker(TrackingSettings(), folder, "artifacts").close() is None
    run = runs(client, "artifacts")["artifacts"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "attached")] == ["attached/a.txt"]


def test_a_deleted_experiment_is_named(folder: Path) -> None:
    client = client_of(folder)
    client.delete_experiment(client.create_experiment("gone"))
    tracker = Tracker(TrackingSettings(experiment="gone"), folder, "study")
    tracker.start_study({})
    left = tracker.close(2)
    assert left is not None
    assert "'gone' was deleted" in left.reason


def test_the_server_is_killed_and_comes_back(server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    settings = TrackingSettings(uri=server.uri, timeout_seconds=3)
    check_tracking(settings)
    (tmp_path / "note.txt").write_text("note")
    tracker = Timed(Tracker(settings, tmp_path, "remote"))
    tracker.start_study({"study.trials": 4}, artifacts=[tmp_path / "note.txt"])
    epochs = 0

    def train(steps: int) -> None:
        nonlocal epochs
        for _ in range(steps):
            epochs += 1
            for trial in trials:
                tracker.epoch(trial, epochs, {"loss": 1 / epochs, "accuracy": float(epochs)})
            time.sleep(0.01)

    trials = ["a", "b"]
    for trial in trials:
        tracker.start_trial(trial, {"method.name": "dkd"})
    train(100)
    outbox = tracker.tracker._outbox
    wait_for(lambda: outbox.waiting == 0)
    train(30)
    server.kill()
    train(100)
    trials.append("late")
    tracker.start_trial("late", {"method.name": "kd"})
    train(50)
    assert outbox.waiting > 200
    server.start()
    train(50)
    for trial in trials:
        tracker.end_trial(trial, "finished")
    tracker.end_study()
    assert tracker.slowest < 0.25
    assert tracker.tracker.close(60) is None

    client = MlflowClient(tracking_uri=server.uri)
    found = runs(client, "remote")
    assert found.keys() == {"remote", "a", "b", "late"}
    for trial in trials:
        first = 231 if trial == "late" else 1
        assert history(client, found[trial], "loss") == [(e, 1 / e) for e in range(first, epochs + 1)]
        assert history(client, found[trial], "accuracy") == [(e, float(e)) for e in range(first, epochs + 1)]
        assert found[trial].info.status == "FINISHED"
        assert found[trial].data.tags["mlflow.parentRunId"] == found["remote"].info.run_id
    assert [file.path for file in client.list_artifacts(found["remote"].info.run_id)] == ["note.txt"]
    assert tracker.describe().look == f"{server.uri}/#/experiments/{found['remote'].info.experiment_id}"


def test_a_server_that_never_comes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    tracker = Tracker(TrackingSettings(uri=uri, timeout_seconds=1), tmp_path, "never")
    tracker.start_study({})
    tracker.end_study("failed")
    start = time.monotonic()
    left = tracker.close(2)
    assert time.monotonic() - start < 2.5
    assert left is not None
    assert left == (2, tmp_path / "mlflow_outbox.jsonl", "connection refused")
    assert str(left).startswith(f"2 events wait in {left.file}")


@pytest.mark.parametrize("silent", [False, True])
def test_check_names_an_address_where_nobody_answers(silent: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if silent:
            listener.listen()
        start = time.monotonic()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RaykdError, match="no answer" if silent else "connection refused") as error:
            check_tracking(TrackingSettings(uri=uri, timeout_seconds=1))
        assert time.monotonic() - start < 3
    assert uri in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.parametrize(("status", "message"), [(401, "refuses the credentials"), (404, "not an MLflow server")])
def test_check_names_refused_credentials_and_other_servers(status: int, message: str) -> None:
    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"no")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    other = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        with pytest.raises(RaykdError, match=message):
            check_tracking(TrackingSettings(uri=f"http://127.0.0.1:{other.server_port}"))
    finally:
        other.shutdown()
        other.server_close()


def test_check_looks_into_databases(folder: Path) -> None:
    check_tracking(TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db"))
    (folder / "poem.db").write_text("no database " * 100)
    with pytest.raises(RaykdError, match="not a database"):
        check_tracking(TrackingSettings(uri=f"sqlite:///{folder}/poem.db"))


@pytest.mark.parametrize("remote", [False, True])
def test_the_best_student_comes_back(
    remote: bool,
    folder: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import torch
    from mlflow import MlflowClient, pyfunc, pytorch
    from torch import nn

    uri = request.getfixturevalue("server").uri if remote else f"sqlite:///{folder}/mlflow.db"
    student = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    student(torch.randn(16, 3, 8, 8))  # moves the batch norm's statistics
    images = torch.randn(5, 3, 8, 8)
    capfd.readouterr()
    tracker = Tracker(TrackingSettings(uri=uri), folder, f"student {remote}")
    tracker.start_study({})
    tracker.end_study()
    tracker.log_student(student, images, {"accuracy": 0.9})
    assert student.training
    assert tracker.close(60) is None
    assert capfd.readouterr() == ("", "")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient()
    run = runs(client, f"student {remote}")[f"student {remote}"]
    assert run.info.status == "FINISHED"
    with torch.no_grad():
        expected = student.eval()(images)
        loaded = pytorch.load_model(f"runs:/{run.info.run_id}/student")
        assert torch.equal(loaded(images), expected)
    model = pyfunc.load_model(f"models:/{outputs_of(run)[0].model_id}")
    assert torch.equal(torch.from_numpy(model.predict(images.numpy())), expected)
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 3, 8, 8)
    assert model.metadata.metadata == {"accuracy": 0.9}
    assert model.metadata.run_id == run.info.run_id
    assert model.metadata.load_input_example(str(folder / "mlflow_student")).shape == (1, 3, 8, 8)

    again = Tracker(TrackingSettings(uri=uri), folder, f"student {remote}")  # delivered twice, logged once
    again._put("student", path=str(folder / "mlflow_student"))
    assert again.close(60) is None
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
    assert len(outputs_of(client.get_run(run.info.run_id))) == 1


def test_log_model_off_logs_no_student(folder: Path) -> None:
    from torch import nn, zeros

    tracker = Tracker(TrackingSettings(log_model=False), folder, "off")
    tracker.log_student(nn.Flatten(), zeros(1, 2))
    assert tracker.close() is None
    assert not (folder / "mlflow_student").exists()
