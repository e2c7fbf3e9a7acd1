"""What is still to be sent: a JSON-lines file in the study's folder, and beside it how far each run was delivered."""

from __future__ import annotations

import errno
import logging
import os
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from raykd.errors import RaykdError
from raykd.tracking.delivered import Delivered
from raykd.tracking.lines import event_of, line_of

log = logging.getLogger("raykd.tracking")

Event = dict[str, Any]

FILE = "mlflow_outbox.jsonl"
CURSOR = "mlflow_outbox.cursor"
STUDY = ""
"""The run of the study itself, among the names of its trials."""
_BLOCK = 1 << 16


class Entry(NamedTuple):
    """An event, and the bytes of the outbox that hold it."""

    start: int
    end: int
    event: Event

    @property
    def run(self) -> str:
        """The trial that it belongs to, or `STUDY`."""
        return self.event.get("trial") or STUDY


class Batch(NamedTuple):
    """Undelivered events by run, each run's in order; and the byte up to which these are all of their runs' events."""

    runs: dict[str, list[Entry]]
    end: int


def outbox_id(folder: Path) -> str:
    """Identity of the outbox in a study's folder, by which the study's run is known on the server.

    Raises:
        RaykdError: There is none, or the file does not begin as an outbox does.
    """
    file = folder / FILE
    if not file.exists():
        raise RaykdError(f"{file} is missing: the study was never logged to MLflow")
    with file.open("rb") as lines:
        first = event_of(lines.readline()) or {}
    if "outbox" not in first:
        raise RaykdError(
            f"{file} is damaged: its first line is not that of an MLflow outbox.\n"
            "Move it away; the study then goes on in a new MLflow run."
        )
    return str(first["outbox"])


def logged_epochs(folder: Path) -> dict[str, dict[int, Mapping[str, float]]]:
    """The metrics of every epoch by trial and epoch, both in order; empty without an outbox.

    It only reads, so a study may be running. No other file holds the epochs of all trials together.

    Args:
        folder: The study's.
    """
    epochs: dict[str, dict[int, Mapping[str, float]]] = {}
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return epochs
    for line in lines:
        event = event_of(line) or {}  # the last line of a study that is running may be half there
        # Epoch 0 holds what is known of a student before it is trained.
        if event.get("kind") == "metrics" and "trial" in event and event["step"] > 0:
            epochs.setdefault(event["trial"], {}).setdefault(event["step"], event["metrics"])
    return {trial: dict(sorted(epochs[trial].items())) for trial in sorted(epochs)}


class Outbox:
    """Append-only events of one study, delivered at least once; whoever receives them must be idempotent.

    An event is in the hands of the operating system when `put` returns, so it outlives the process; `read` forces it
    onto the disk, so that a power failure costs the last seconds. Each line has a checksum; a damaged one is named in
    the log and left out. How far each run was delivered is stored run by run, but not forced onto the disk, and a full
    disk may refuse it: after a power failure, or a restart then, some events are delivered again. One process writes
    and reads; any thread may call `put`, one thread calls the rest.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the outbox of a folder, or starts one.

        A torn last line, left by a process that died while writing, is cut off.

        Raises:
            OSError: If the folder cannot be written.
            RaykdError: If the file does not begin as an outbox does.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / FILE
        self._cursor_file = folder / CURSOR
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._synced = 0
        self._waiting = 0
        self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = self._whole_lines()
        os.ftruncate(self._descriptor, self._size)
        if self._size == 0:
            self.put({"outbox": uuid.uuid4().hex})
        self.id = outbox_id(folder)
        self._delivered = Delivered.read(self._cursor_file, self._size)
        self._stored = True
        left = sum(not self._delivered.has(entry.run, entry.start) for entry in self._entries())
        self._waiting = left + len(self._delivered.later)

    def put(self, event: Event) -> None:
        """Appends one event and hands it to the operating system.

        Raises:
            OSError: If it cannot be written; the outbox is then as it was before.
            TypeError, ValueError: If the event is not made of JSON's types.
        """
        line = line_of(event)
        with self._lock:
            if self._descriptor < 0:
                raise OSError(errno.EBADF, "the outbox is closed", str(self.file))
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                os.ftruncate(self._descriptor, self._size)
                raise
            self._size += len(line)
            self._waiting += 1

    def read(self, limit: int, without: Collection[str] = ()) -> Batch:
        """The oldest undelivered events, the same ones again until `done`; those that are kept for later are not.

        Args:
            limit: Of events.
            without: Runs whose events are left out.

        Raises:
            OSError: If the disk does not take what was written.
        """
        self._sync()
        runs: dict[str, list[Entry]] = {}
        end, count = self._delivered.cursor, 0
        for entry in self._entries():
            if count == limit:
                break
            end = entry.end
            if entry.run not in without and not self._delivered.has(entry.run, entry.start):
                runs.setdefault(entry.run, []).append(entry)
                count += 1
        return Batch(runs, end)

    def done(self, batch: Batch, run: str, later: Sequence[Entry] = ()) -> None:
        """Notes that a run's events of a batch are delivered.

        Args:
            batch: Of `read`.
            run: One of its runs.
            later: Those of its events that are kept for later: `later` gives them, until `settle`.
        """
        self._delivered.ahead[run] = batch.end
        self._delivered.later += [entry.start for entry in later]
        with self._lock:
            self._waiting -= len(batch.runs[run]) - len(later)
        self._store()

    def advance(self, batch: Batch) -> None:
        """Moves the cursor over what is delivered of a batch, so that it is not read any more.

        Raises:
            OSError: If the outbox cannot be read.
        """
        delivered, cursor = self._delivered, self._delivered.cursor
        for entry in self._entries():
            if entry.start >= batch.end or not delivered.has(entry.run, entry.start):
                break
            cursor = entry.end
        if cursor > delivered.cursor:
            delivered.advance(cursor)
            self._store()

    def later(self) -> Entry | None:
        """The first of the events that are kept for later.

        Raises:
            OSError: If the outbox cannot be read.
        """
        while self._delivered.later:
            entry = next(self._entries(self._delivered.later[0]), None)
            if entry is not None and entry.start == self._delivered.later[0]:
                return entry
            self._settled()  # it was damaged meanwhile
        return None

    def postpone(self) -> None:
        """Makes the first of the events that are kept for later the last."""
        later = self._delivered.later
        later.append(later.pop(0))

    def settle(self) -> None:
        """Notes that the first of the events that are kept for later is delivered."""
        self._settled()
        self._store()

    @property
    def waiting(self) -> int:
        """How many events are not delivered yet."""
        return self._waiting

    def close(self) -> None:
        """Ends writing; events can still be read."""
        if not self._stored:
            self._store()
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1  # the number may soon be another file's

    def _sync(self) -> None:
        size = self._size
        if size > self._synced:
            with self.file.open("rb") as file:
                os.fsync(file.fileno())
            self._synced = size

    def _settled(self) -> None:
        del self._delivered.later[0]
        with self._lock:
            self._waiting -= 1

    def _entries(self, start: int | None = None) -> Iterator[Entry]:
        """The events from a byte on, by default the cursor; damaged ones are named in the log, once, and left out."""
        end = self._delivered.cursor if start is None else start
        with self._lock:
            size = self._size
        with self.file.open("rb") as file:
            file.seek(end)
            while end < size:
                line = file.readline()
                begin, end = end, end + len(line)
                event = event_of(line)
                if event is None and begin not in self._damaged:
                    self._damaged.add(begin)
                    log.warning("%s: the line at byte %d is damaged, and its event is lost to MLflow", self.file, begin)
                elif event is not None and "outbox" not in event:
                    yield Entry(begin, end, event)

    def _whole_lines(self) -> int:
        """Bytes up to and including the last line end."""
        with self.file.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end:
                start = max(0, end - _BLOCK)
                file.seek(start)
                at = file.read(end - start).rfind(b"\n")
                if at >= 0:
                    return start + at + 1
                end = start
        return 0

    def _store(self) -> None:
        if self._descriptor < 0:
            return  # another process may have the folder by now
        try:
            self._delivered.write(self._cursor_file)
            self._stored = True
        except OSError as error:
            self._stored = False
            log.debug("%s cannot be written: %s", self._cursor_file, error)
