"""The tracker behind a network that fails: every event arrives once, in order, and no call waits."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raykd.config import TrackingSettings
from raykd.tracking import ServerAway, Tracker, check_tracking
from raykd.tracking.outbox import Outbox
from tests.helpers.faulty_proxy import SLOW_SECONDS, Fault, Proxy
from tests.helpers.mlflow_places import Server, history, runs
from tests.helpers.mounts import largest_file
from tests.helpers.timed_tracker import Timed


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.mend()
    proxy.release()
    proxy.close()


def settings_of(proxy: Proxy) -> TrackingSettings:
    return TrackingSettings(uri=proxy.uri, timeout_seconds=1.0)


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["refused", "error", "hang", "cut"])
def test_nothing_is_lost_or_doubled_or_waits(fault: str, proxy: Proxy, server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    def break_off() -> None:
        if fault == "refused":
            proxy.down()
        else:
            proxy.fail(fault)  # type: ignore[arg-type]

    def mend() -> None:
        if fault == "refused":
            proxy.up()
        proxy.mend()

    study = f"through-{fault}"
    break_off()  # it is not there at the start
    (tmp_path / "note.txt").write_text("note")
    timed = Timed(Tracker(settings_of(proxy), tmp_path, study))
    tracker = timed.tracker
    timed.start_study({"study.trials": 2}, artifacts=[tmp_path / "note.txt"])
    epoch = 0

    def train(epochs: int) -> None:
        nonlocal epoch
        for _ in range(epochs):
            epoch += 1
            for trial in ("a", "b"):
                timed.epoch(trial, epoch, {"loss": 1 / epoch, "accuracy": float(epoch)})
            time.sleep(0.002)

    for trial in ("a", "b"):
        timed.start_trial(trial, {"method.name": "dkd"})
    train(20)
    wait_for(lambda: tracker._postman.trouble != "")
    assert tracker.waiting >= 40
    mend()
    wait_for(lambda: tracker.waiting == 0)
    break_off()  # in the middle of an epoch
    train(20)
    wait_for(lambda: tracker._postman.trouble != "")
    mend()
    break_off()  # and between the calls for one run
    timed.end_trial("a", "finished")
    train(5)
    mend()
    timed.end_trial("b", "stopped early")
    timed.end_study()
    assert timed.slowest < 0.25
    assert tracker.close(20) is None

    client = MlflowClient(tracking_uri=server.uri)
    found = runs(client, study)
    assert found.keys() == {study, "a", "b"}
    for trial in ("a", "b"):
        assert history(client, found[trial], "loss") == [(step, 1 / step) for step in range(1, epoch + 1)]
        assert history(client, found[trial], "accuracy") == [(step, float(step)) for step in range(1, epoch + 1)]
    assert (found["a"].info.status, found["b"].info.status) == ("FINISHED", "FINISHED")
    assert [file.path for file in client.list_artifacts(found[study].info.run_id)] == ["note.txt"]


def test_a_run_that_the_server_creates_too_late_is_no_second_one(proxy: Proxy, server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    tracker = Tracker(settings_of(proxy), tmp_path, "late")
    tracker.start_study({})
    wait_for(lambda: tracker.waiting == 0)
    proxy.fail("late", "POST .*/runs/create")
    tracker.start_trial("t", {})
    wait_for(lambda: tracker._postman.trouble != "")
    proxy.mend()
    wait_for(lambda: tracker.waiting == 0)
    proxy.release()
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("late")
    assert experiment is not None
    both = "tags.`raykd.trial` = 't'"
    wait_for(lambda: len(client.search_runs([experiment.experiment_id], both)) == 2)
    tracker.epoch("t", 1, {"loss": 1.0})
    tracker.end_trial("t", "finished")
    tracker.end_study()
    assert tracker.close(20) is None

    assert history(client, runs(client, "late")["t"], "loss") == [(1, 1.0)]
    (deleted,) = client.search_runs([experiment.experiment_id], both, ViewType.DELETED_ONLY)
    assert not deleted.data.metrics


def test_the_end_waits_as_long_as_there_is_progress(proxy: Proxy, tmp_path: Path) -> None:
    proxy.fail("slow")
    tracker = Tracker(settings_of(proxy), tmp_path, "slow")
    tracker.start_study({})
    for number in range(12):
        tracker.start_trial(f"trial-{number}", {"seed": number})
        tracker.epoch(f"trial-{number}", 1, {"loss": 1.0})
        tracker.end_trial(f"trial-{number}", "finished")
    tracker.end_study()
    seen: list[int] = []
    began = time.monotonic()
    assert tracker.close(2, seen.append) is None
    assert time.monotonic() - began > 12 * 3 * SLOW_SECONDS > 2
    assert len(set(seen)) > 5  # it moves run by run
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0


def test_the_next_launch_neither_sends_nor_asks_again(proxy: Proxy, server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    tracker = Tracker(settings_of(proxy), tmp_path, "by-run")
    tracker.start_study({})
    for number in range(6):
        tracker.start_trial(f"trial-{number}", {"seed": number})
        for epoch in (1, 2, 3):
            tracker.epoch(f"trial-{number}", epoch, {"loss": 1 / epoch, "accuracy": epoch})
    wait_for(lambda: tracker.waiting == 0)
    proxy.fail("error", "runs/log-batch")
    for number in range(6):
        for epoch in (4, 5):
            tracker.epoch(f"trial-{number}", epoch, {"loss": 1 / epoch, "accuracy": epoch})
    wait_for(lambda: tracker._postman.trouble != "")
    client = MlflowClient(tracking_uri=server.uri)
    ids = {name: run.info.run_id for name, run in runs(client, "by-run").items()}
    proxy.mend()
    stuck = "|".join(ids[f"trial-{number}"] for number in (3, 4, 5))
    proxy.fail("error", "runs/log-batch", stuck)  # the server goes away in the middle of a batch
    left = tracker.close(3)
    assert left is not None
    assert left.events == 6

    proxy.mend()
    proxy.requests.clear()
    again = Tracker(settings_of(proxy), tmp_path, "by-run")
    again.end_study()
    assert again.close(20) is None
    sent = "\n".join(f"{request.line} {request.body}" for request in proxy.requests)
    assert "get-history" not in sent
    assert [ids[f"trial-{number}"] in sent for number in range(6)] == [False] * 3 + [True] * 3
    for number in range(6):
        run = client.get_run(ids[f"trial-{number}"])
        assert history(client, run, "loss") == [(epoch, 1 / epoch) for epoch in (1, 2, 3, 4, 5)]


def test_a_run_that_is_refused_by_errors_holds_up_no_other(proxy: Proxy, server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    tracker = Tracker(settings_of(proxy), tmp_path, "stuck")
    for trial in ("bad", "good"):
        tracker.start_trial(trial, {})
    wait_for(lambda: tracker.waiting == 0)
    client = MlflowClient(tracking_uri=server.uri)
    found = runs(client, "stuck")
    proxy.fail("error", "runs/log-batch", found["bad"].info.run_id)
    for epoch in range(1, 1200):  # more than a batch
        tracker.epoch("bad", epoch, {"loss": 1.0})
    for epoch in range(1, 50):
        tracker.epoch("good", epoch, {"loss": 1.0})
    wait_for(lambda: tracker.waiting == 1199)
    assert len(history(client, found["good"], "loss")) == 49
    proxy.mend()
    assert tracker.close(20) is None
    assert [step for step, _ in history(client, found["bad"], "loss")] == list(range(1, 1200))


def test_files_that_fail_for_long_do_not_grow_the_outbox(proxy: Proxy, server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    proxy.fail("error", "mlflow-artifacts")
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(name)
    tracker = Tracker(settings_of(proxy), tmp_path, "files")
    tracker.start_study({}, artifacts=[tmp_path / "one.txt", tmp_path / "two.txt"])
    size = tracker._outbox.file.stat().st_size
    tries = lambda: sum("mlflow-artifacts" in request.line for request in proxy.requests)  # noqa: E731
    wait_for(lambda: tries() >= 4)
    assert tracker._outbox.file.stat().st_size == size
    assert tracker.waiting == 2
    tracker.study_metrics({"best": 1.0})
    tracker.end_study()
    left = tracker.close(1)
    assert left is not None
    assert left.events == 2
    assert "could not be uploaded" in left.reason
    size = tracker._outbox.file.stat().st_size
    client = MlflowClient(tracking_uri=server.uri)
    run = runs(client, "files")["files"]
    assert (run.data.metrics, run.info.status) == ({"best": 1.0}, "FINISHED")

    proxy.mend()
    again = Tracker(settings_of(proxy), tmp_path, "files")
    assert again.waiting == 2
    assert again.close(20) is None
    assert sorted(file.path for file in client.list_artifacts(run.info.run_id)) == ["one.txt", "two.txt"]
    assert again._outbox.file.stat().st_size == size


def test_ctrl_c_ends_the_wait(proxy: Proxy, tmp_path: Path) -> None:
    proxy.fail("hang")
    tracker = Tracker(settings_of(proxy), tmp_path, "impatient")
    tracker.start_study({})
    began = time.monotonic()
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    left = tracker.close(60)
    timer.join()
    assert left is not None
    assert time.monotonic() - began < 20
    assert left.events == 1


def test_what_a_full_disk_refuses_is_written_when_there_is_room(proxy: Proxy, tmp_path: Path) -> None:
    proxy.down()
    tracker = Tracker(settings_of(proxy), tmp_path, "full")
    tracker.start_trial("t", {})
    outbox = tmp_path / "mlflow_outbox.jsonl"
    with largest_file(outbox.stat().st_size + 10):
        for epoch in (1, 2, 3):
            tracker.epoch("t", epoch, {"loss": 1.0})
    assert tracker.waiting == 4
    tracker.epoch("t", 4, {"loss": 1.0})
    left = tracker.close(0.5)
    assert left is not None
    assert left.events == 5
    events = [entry.event for entry in Outbox(tmp_path).read(10).runs["t"]]
    assert [event.get("step") for event in events] == [None, 1, 2, 3, 4]


@pytest.mark.parametrize("fault", ["refused", "error", "hang", "cut"])
def test_a_server_that_is_away_is_told_from_a_wrong_address(fault: Fault | str, proxy: Proxy) -> None:
    if fault == "refused":
        proxy.down()
    else:
        proxy.fail(fault)  # type: ignore[arg-type]
    with pytest.raises(ServerAway) as error:
        check_tracking(settings_of(proxy))
    assert len(str(error.value).splitlines()) == 2
    assert error.value.uri == proxy.uri
    reasons = {
        "refused": "connection refused",
        "error": "the server answers HTTP 500",
        "hang": "no answer within 1 s",
        "cut": "the connection breaks off",
    }
    assert error.value.reason == reasons[fault] or (fault == "hang" and error.value.reason == "no answer in time")
