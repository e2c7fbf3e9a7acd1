"""Optuna's journal in a file, in Optuna's own format, that is locked and synced once for what belongs together."""

from __future__ import annotations

import json
import os
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileOpenLock

from raykd.errors import DamagedError, StorageError

CHECKSUM = "crc32"
"""Key of a record: the checksum of its place and of what stands before it in its line. Optuna passes over it."""
CHECKED = re.compile(rb'(\{.*),"crc32":"([0-9a-f]{8})"\}\n')


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
        if not os.path.exists(path):
            with open(path, "ab"):
                pass

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from a number on, the first one's being 0; a last line that is not whole yet is left out.

        Raises:
            DamagedError: a record is not what was written.
        """
        if log_number_from < self._lines_read:
            self._lines_read = self._bytes_read = 0
        with open(self._path, "rb") as file:
            file.seek(self._bytes_read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                wanted, record = self._lines_read >= log_number_from, self._checked(line)
                self._lines_read += 1
                self._bytes_read += len(line)
                if wanted:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, a line each.

        Raises:
            StorageError: the disk is full, or refuses; the file is then as it was before.
        """
        with self.together():
            if not self._locked:
                self._lock.acquire()
                self._locked = True
            with _whole_or_not_at_all(self._path) as (descriptor, size):
                lines = b""
                for log in logs:
                    lines += _line(log, size + len(lines))
                rest = memoryview(lines)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]

    def _checked(self, line: bytes) -> dict[str, Any]:
        """The record of a line. Lines that Optuna itself or an earlier raykd wrote have no checksum."""
        match = CHECKED.fullmatch(line)
        whole = match is None or int(match[2], 16) == _checksum(match[1], self._bytes_read)
        with suppress(ValueError):
            if whole and isinstance(record := json.loads(line), dict):
                record.pop(CHECKSUM, None)
                return record
        raise DamagedError(damage(self._path, self._lines_read + 1))

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


@contextmanager
def _whole_or_not_at_all(path: str) -> Iterator[tuple[int, int]]:
    """Open a locked file for appending: its descriptor and size.

    What was appended before an error is cut off, as it would spoil the next record.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            try:
                yield descriptor, size
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def damage(path: str, line: int) -> str:
    """What is said of a journal whose lines cannot be trusted from one on, counted from 1."""
    if line == 1:
        return f"{path} is damaged from its first line on, or no journal\nbring back a copy, or correct study.storage"
    return (
        f"{path} is damaged in line {line}: it is not what was written. Bring back a copy, or keep all lines before:\n"
        f"sed -i '{line},$d' {shlex.quote(path)}; the trials recorded behind that line are then searched anew"
    )


def _line(log: dict[str, Any], place: int) -> bytes:
    body = json.dumps(log, separators=(",", ":")).encode().removesuffix(b"}")
    return body + f',"{CHECKSUM}":"{_checksum(body, place):08x}"}}\n'.encode()


def _checksum(body: bytes, place: int) -> int:
    """Of a line that begins with these bytes at this place of the file: so a line that is missing is found as well."""
    return zlib.crc32(body, place % 2**32)


class Journal(JournalStorage):
    """Optuna's storage over a journal's file.

    Attributes:
        file: The file.
    """

    def __init__(self, path: str) -> None:
        self.file = JournalFile(path)
        super().__init__(self.file)
