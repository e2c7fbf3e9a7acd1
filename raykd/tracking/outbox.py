"""What is still to be sent: a JSON-lines file in the study's folder, and a cursor behind what was delivered."""

from __future__ import annotations

import errno
import json
import os
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from raykd.errors import RaykdError

Event = dict[str, Any]

FILE = "mlflow_outbox.jsonl"
_BLOCK = 1 << 16


class Batch(NamedTuple):
    """Events read from an outbox but not yet delivered."""

    events: list[Event]
    lines: int
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
        try:
            return str(json.loads(lines.readline())["outbox"])
        except (ValueError, TypeError, KeyError) as error:
            raise RaykdError(
                f"{file} is damaged: its first line is not that of an MLflow outbox.\n"
                "Move it away; the study then goes on in a new MLflow run."
            ) from error


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
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a study that is running, or damage
            continue
        # Epoch 0 holds what is known of a student before it is taught.
        if event.get("kind") == "metrics" and "trial" in event and event["step"] > 0:
            epochs.setdefault(event["trial"], {}).setdefault(event["step"], event["metrics"])
    return {trial: dict(sorted(epochs[trial].items())) for trial in sorted(epochs)}


class Outbox:
    """Append-only events of one study, delivered at least once; whoever receives them must be idempotent.

    An event is in the hands of the operating system when `put` returns, so it outlives the process. One process writes
    and reads; any thread may call `put`, one thread reads.
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
        self._cursor_file = folder / "mlflow_outbox.cursor"
        self._lock = threading.Lock()
        self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = self._whole_lines()
        os.ftruncate(self._descriptor, self._size)
        self._cursor = self._stored_cursor()
        self._waiting = self._count_lines(self._cursor)
        if self._size == 0:
            self.put({"outbox": uuid.uuid4().hex})
            self.done(self.read(1))
        self.id = outbox_id(folder)

    def put(self, event: Event) -> None:
        """Appends one event and hands it to the operating system.

        Raises:
            OSError: If it cannot be written; the outbox is then as it was before.
            TypeError, ValueError: If the event is not made of JSON's types.
        """
        line = json.dumps(event).encode() + b"\n"
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

    def read(self, limit: int) -> Batch:
        """The oldest undelivered events; the same ones again until `done`."""
        events: list[Event] = []
        lines, end = 0, self._cursor
        with self._lock:
            size = self._size
        with self.file.open("rb") as file:
            file.seek(self._cursor)
            while lines < limit and end < size:
                line = file.readline()
                end += len(line)
                lines += 1
                try:
                    events.append(json.loads(line))
                except ValueError:  # damage by a third hand must not stop what follows
                    continue
        return Batch(events, lines, end)

    def done(self, batch: Batch) -> None:
        """Moves the cursor behind a delivered batch.

        Raises:
            OSError: If the cursor cannot be stored; after a restart the batch would be read again.
        """
        self._cursor = batch.end
        with self._lock:
            self._waiting -= batch.lines
        fresh = self._cursor_file.with_suffix(".cursor.new")
        fresh.write_text(str(batch.end))
        fresh.replace(self._cursor_file)

    @property
    def waiting(self) -> int:
        """How many events are not delivered yet."""
        return self._waiting

    def close(self) -> None:
        """Ends writing; events can still be read."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1  # the number may soon be another file's

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

    def _stored_cursor(self) -> int:
        try:
            cursor = int(self._cursor_file.read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return cursor if cursor <= self._size else 0

    def _count_lines(self, start: int) -> int:
        with self.file.open("rb") as file:
            file.seek(start)
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
