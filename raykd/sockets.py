"""Folders for Unix sockets, whose paths may have at most 107 bytes: those that SLURM's jobs get are often too long."""

from __future__ import annotations

import os
from pathlib import Path

from raykd.errors import RaykdError

LONGEST_PATH = 107
"""Bytes of a Unix socket's path; a limit of the kernel."""
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Short ones that most machines have."""


def short_folder(wanted: Path, name: str) -> tuple[Path, str | None]:
    """A folder that can be written and in which a socket of this name can be opened.

    Args:
        wanted: The folder that is taken if it will do; it need not exist.
        name: The longest path of a socket below it; its first folder may be there already.

    Returns:
        The folder, and why it is another one.

    Raises:
        RaykdError: neither it nor one of the usual ones will do.
    """
    most = LONGEST_PATH - len(f"/{name}")
    first = Path(name).parts[0]
    trouble = _trouble(wanted, first, most)
    if trouble is None:
        return wanted, None
    for folder in map(Path, FOLDERS):
        if _trouble(folder, first, most) is None:
            return folder, trouble
    raise RaykdError(
        f"{wanted} {trouble}, and {', '.join(FOLDERS)} cannot be used either\n"
        f"name a folder with TMPDIR, of at most {most} bytes, that this user may write"
    )


def _trouble(folder: Path, first: str, most: int) -> str | None:
    """Why sockets cannot lie below a folder; None: they can."""
    length = len(os.fsencode(folder))
    if length > most:
        return f"is too long for sockets ({length} bytes, {most} at most)"
    there = next(each for each in (folder / first, folder, *folder.parents) if each.exists())
    return None if there.is_dir() and os.access(there, os.W_OK | os.X_OK) else "cannot be written"
