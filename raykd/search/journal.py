"""Optuna's journal in a file, in Optuna's own format, that is locked and synced once for what belongs together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileOpenLock


class JournalFile(BaseJournalBackend):
    """A journal's file. What was appended is on the disk when `append_logs` returns, or the `together` around it ends.

    Optuna's own backend syncs the file for each value of a trial, some sixteen times a trial, and keeps the position of
    every line in memory. Here the file is read on from where it was read last.

    Args:
        path: The file; it is made if it is not there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = JournalFileOpenLock(path)
        self._together = self._locked = False
        self._lines_read = self._bytes_read = 0
        with open(path, "ab"):
            pass

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from a number on, the first one's being 0; a last line that is not whole yet is left out."""
        if log_number_from < self._lines_read:
            self._lines_read = self._bytes_read = 0
        with open(self._path, "rb") as file:
            file.seek(self._bytes_read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                wanted, record = self._lines_read >= log_number_from, json.loads(line)
                self._lines_read += 1
                self._bytes_read += len(line)
                if wanted:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, a line each."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self.together():
            if not self._locked:
                self._lock.acquire()
                self._locked = True
            with open(self._path, "ab") as file:
                file.write(lines.encode())

    @contextmanager
    def together(self) -> Iterator[None]:
        """Lock the file from the first record that is appended in here to the end, and sync it then.

        Whoever dies in here leaves whole records in the order in which they were appended, and perhaps the lock, which
        is broken after 30 s.
        """
        if self._together:
            yield
            return
        self._together = True
        try:
            yield
        finally:
            self._together = False
            if self._locked:
                try:
                    with open(self._path, "rb") as file:
                        os.fsync(file.fileno())
                finally:
                    self._locked = False
                    self._lock.release()


class Journal(JournalStorage):
    """Optuna's storage over a journal's file.

    Attributes:
        file: The file.
    """

    def __init__(self, path: str) -> None:
        self.file = JournalFile(path)
        super().__init__(self.file)
