"""Whether MLflow's SQLite file can be written, and which process holds it where it cannot."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil

from raykd.database_urls import hide_password
from raykd.errors import shortened

LOOK_SECONDS = 0.2
"""How often a lock is tried; Ctrl-C is heard in between."""
LOCKED = "database is locked"
"""What SQLite says."""


def is_free(file: Path, seconds: float) -> bool:
    """Wait until nobody else reads or writes a database, no longer than so many seconds; whether it came to that.

    Nothing is changed.

    Args:
        file: It exists.
        seconds: A short lock is usual: another study is logged there, or its page is open.

    Raises:
        sqlite3.Error: it is no database, or cannot be written for another reason.
    """
    ends = time.monotonic() + seconds
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("begin exclusive")
                connection.execute("rollback")
                return True
            except sqlite3.OperationalError as error:
                if LOCKED not in str(error):
                    raise
            if time.monotonic() >= ends:
                return False
            time.sleep(LOOK_SECONDS)


def holders(file: Path) -> str:
    """The processes that have a database open, besides this one, for users; those of others cannot be seen."""
    found = [told for process in psutil.process_iter() if (told := _told(process, os.path.realpath(file)))]
    return " and ".join(found) or "a process that this user cannot see, or one on another machine"


def _told(process: psutil.Process, file: str) -> str | None:
    with suppress(psutil.Error):
        if process.pid != os.getpid() and any(opened.path == file for opened in process.open_files()):
            command = shortened(hide_password(" ".join(process.cmdline())), 80)
            return f"process {process.pid} ({command or process.name()})"
    return None
