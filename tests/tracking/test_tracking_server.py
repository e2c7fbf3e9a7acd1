"""A server on this machine that comes and goes, what is checked before a study starts, and the best student."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raykd.config import TrackingSettings
from raykd.errors import RaykdError
from raykd.tracking import RunsTable, Tracker, check_tracking
from tests.helpers.mlflow_places import Server, history, runs
from tests.helpers.timed_tracker import Timed

if TYPE_CHECKING:
    from mlflow.entities import LoggedModelOutput, Run


def outputs_of(run: Run) -> list[LoggedModelOutput]:
    assert run.outputs is not None
    return list(run.outputs.model_outputs)


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_the_server_is_killed_and_comes_back(server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    settings = TrackingSettings(uri=server.uri, timeout_seconds=3)
    check_tracking(settings)
    (tmp_path / "note.txt").write_text("note")
    tracker = Timed(Tracker(settings, tmp_path, "remote"))
    table = RunsTable(("accuracy",), role="trial")
    tracker.start_study({"study.trials": 4}, artifacts=[tmp_path / "note.txt"], table=table)
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
    page = f"{server.uri}/#/experiments/{found['remote'].info.experiment_id}/runs?workflowType=machine_learning&"
    assert tracker.describe().look.startswith(f"{page}viewStateShareKey=raykd-")


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
    assert left == (2, tmp_path, uri, "connection refused")
    assert str(left).startswith(f"2 events wait in {tmp_path} for {uri} (connection refused)")


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
