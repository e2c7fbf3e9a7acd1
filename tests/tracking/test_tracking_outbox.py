"""The outbox alone, and what needs no MLflow."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from raykd.config import Experiment, StudySettings, TrackingSettings
from raykd.database_urls import hide_password
from raykd.errors import RaykdError
from raykd.study.folder import with_lasting_paths
from raykd.tracking import check_tracking
from raykd.tracking.address import address_of, reason, short_calls
from raykd.tracking.delivered import Delivered
from raykd.tracking.lines import event_of, line_of
from raykd.tracking.outbox import Outbox
from raykd.tracking.runs_table import remember_view
from tests.helpers.mounts import largest_file


def events(outbox: Outbox) -> list[object]:
    entries = [entry for run in outbox.read(1000).runs.values() for entry in run]
    return [entry.event["n"] for entry in sorted(entries)]


def deliver(outbox: Outbox, limit: int) -> None:
    batch = outbox.read(limit)
    for run in batch.runs:
        outbox.done(batch, run)
    outbox.advance(batch)


def test_events_come_back_in_order_until_they_are_done(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for n in range(5):
        outbox.put({"n": n})
    assert events(outbox) == events(outbox) == [0, 1, 2, 3, 4]
    deliver(outbox, 3)
    assert (events(outbox), outbox.waiting) == ([3, 4], 2)
    outbox.close()

    again = Outbox(tmp_path)
    assert (events(again), again.waiting, again.id) == ([3, 4], 2, outbox.id)


def test_each_run_is_done_by_itself(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for n in range(6):
        outbox.put({"n": n, "trial": "ab"[n % 2]} if n else {"n": n})
    batch = outbox.read(4)
    assert {run: [entry.event["n"] for entry in entries] for run, entries in batch.runs.items()} == {
        "": [0],
        "a": [2],
        "b": [1, 3],
    }
    outbox.done(batch, "b", later=[batch.runs["b"][1]])
    for opened in (outbox, Outbox(tmp_path)):
        assert (events(opened), opened.waiting) == ([0, 2, 4, 5], 5)
        later = opened.later()
        assert later is not None
        assert later.event["n"] == 3
    assert list(outbox.read(10, without=("", "a")).runs) == ["b"]
    outbox.settle()
    assert (outbox.later(), outbox.waiting) == (None, 4)
    for run in ("", "a"):
        outbox.done(batch, run)
    outbox.advance(batch)
    assert events(outbox) == events(Outbox(tmp_path)) == [4, 5]


def test_a_cursor_of_an_earlier_release_is_understood(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put({"n": 1})
    size = outbox.file.stat().st_size
    outbox.put({"n": 2})
    outbox.close()
    (tmp_path / "mlflow_outbox.cursor").write_text(str(size))
    assert events(Outbox(tmp_path)) == [2]


def test_lines_of_an_earlier_release_are_read(tmp_path: Path) -> None:
    (tmp_path / "mlflow_outbox.jsonl").write_text('{"outbox": "abc"}\n{"n": 1}\n')
    outbox = Outbox(tmp_path)
    assert (outbox.id, events(outbox)) == ("abc", [1])


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put({"n": 1})
    outbox.close()
    with outbox.file.open("ab") as file:
        file.write(b'{"n": 2, "half')

    again = Outbox(tmp_path)
    again.put({"n": 3})
    assert (events(again), again.waiting) == ([1, 3], 2)


def test_a_torn_first_line_starts_the_outbox_anew(tmp_path: Path) -> None:
    (tmp_path / "mlflow_outbox.jsonl").write_bytes(b'{"outb')
    outbox = Outbox(tmp_path)
    assert outbox.id
    assert outbox.waiting == 0


def test_a_damaged_line_is_named_and_does_not_stop_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(tmp_path)
    places = [outbox.file.stat().st_size]
    for n in range(4):
        outbox.put({"n": n})
        places.append(outbox.file.stat().st_size)
    outbox.close()
    content = bytearray(outbox.file.read_bytes())
    content[places[1] + content[places[1] :].index(b"1")] = ord("7")  # another number: still JSON
    content[places[2] : places[2] + 3] = b"\0\0\0"
    outbox.file.write_bytes(content)
    again = Outbox(tmp_path)
    assert (events(again), events(again), again.waiting) == ([0, 3], [0, 3], 2)
    named = [record.getMessage() for record in caplog.records]
    assert [f"the line at byte {place} is damaged" in text for place, text in zip(places[1:3], named, strict=True)]
    deliver(again, 100)
    assert again.waiting == 0


def test_any_damaged_byte_is_found(tmp_path: Path) -> None:
    line = line_of({"kind": "metrics", "trial": "t", "step": 3, "metrics": {"loss": 0.25}})
    event = event_of(line)
    for place, bit in itertools.product(range(len(line) - 1), range(8)):
        damaged = bytearray(line)
        damaged[place] ^= 1 << bit
        found = event_of(bytes(damaged))
        assert found is None or {name: found[name] for name in event or {}} == event


def test_a_cursor_of_another_file_is_not_believed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put({"n": 1})
    outbox.close()
    for content in ("123456789", '{"cursor": 1, "later": [-3]}', "[]", '{"cursor": "x"}', '{"cursor": 0, "ahe'):
        (tmp_path / "mlflow_outbox.cursor").write_text(content)
        assert Outbox(tmp_path).waiting == 1


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow_outbox.jsonl").write_text("shopping list\n")
    with pytest.raises(RaykdError, match="Move it away"):
        Outbox(tmp_path)


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    def write() -> None:
        for n in range(25):
            outbox.put({"n": n, "text": "x" * 5000})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events(outbox)) == outbox.waiting == 100


def test_a_closed_outbox_refuses_instead_of_writing_to_somebody_elses_file(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.close()
    with (tmp_path / "other").open("w"), pytest.raises(OSError, match="closed"):
        outbox.put({"n": 1})


def test_importing_the_package_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, raykd.tracking; print([name for name in ('mlflow', 'torch', 'ray') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "./mlruns", "localhost:5000", "sqlit:///x.db"])
def test_an_address_of_an_unknown_kind_is_refused(uri: str) -> None:
    with pytest.raises(RaykdError, match="use http") as error:
        check_tracking(TrackingSettings(uri=uri))
    assert len(str(error.value).splitlines()) <= 2


def test_the_default_needs_no_check() -> None:
    check_tracking(TrackingSettings())


def test_a_sqlite_file_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RaykdError, match="there is no folder"):
        check_tracking(TrackingSettings(uri=f"sqlite:///{tmp_path}/missing/mlflow.db"))


@pytest.mark.parametrize("uri", ["sqlite:///:memory:", "sqlite://", "sqlite:///"])
def test_a_database_in_memory_is_refused_as_tracking_uri(uri: str, tmp_path: Path) -> None:
    given = Experiment(study=StudySettings(output=tmp_path), tracking=TrackingSettings(uri=uri))
    experiment = with_lasting_paths(given)  # every job first makes its paths absolute
    with pytest.raises(RaykdError, match=r"^tracking\.uri 'sqlite.*' names no file.*\nuse sqlite:///PATH/mlflow\.db"):
        check_tracking(experiment.tracking)


def test_the_users_own_limits_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with short_calls(3.5):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    assert hide_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    server = "https://me:secret@host:1/"
    assert address_of(TrackingSettings(uri=server), tmp_path).look == "https://me:***@host:1"
    remember_view(tmp_path, server, "7", "raykd-1")
    page = "#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=raykd-1"
    assert address_of(TrackingSettings(uri=server), tmp_path).look == f"https://me:***@host:1/{page}"
    # The view of one place says nothing of another.
    database = TrackingSettings(uri="sqlite:////a b/mlflow.db")
    assert address_of(database, tmp_path).look == "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'"


def test_what_a_database_says_is_told_without_what_sqlalchemy_was_doing() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with Session(engine) as session:
        session.execute(sqlalchemy.text("PRAGMA max_page_count = 1"))
        with pytest.raises(sqlalchemy.exc.OperationalError) as raised:
            session.execute(sqlalchemy.text("CREATE TABLE t (x)"))
    assert reason(raised.value) == "database or disk is full"


def test_a_full_disk_does_not_undo_what_is_delivered(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for n in range(3):
        outbox.put({"n": n})
    with largest_file(10):
        deliver(outbox, 2)
        assert events(outbox) == [2]
        assert Delivered.read(tmp_path / "mlflow_outbox.cursor", 10**6) == Delivered()
        deliver(outbox, 1)
    outbox.close()
    assert Outbox(tmp_path).waiting == 0
