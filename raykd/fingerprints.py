"""Fingerprints of files, and of data that a process has not loaded, from those of others."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def without_fold(whole: str, fold: int, count: int, seed: int) -> str:
    """The fingerprint of data without one fold of its training images, from that of the whole.

    Args:
        whole: See `raykd.data.DataInfo`.
        fold: Which of the folds is left out, from 0.
        count: Of the folds.
        seed: `data.seed`, which decides them.
    """
    return hashlib.sha256(f"{whole} without fold {fold} of {count} by seed {seed}".encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """sha256 (hex) of a file's content.

    The file is read in blocks, about a second for each GB, and once in a process as long as its size, time of change
    and inode stay as they are.

    Raises:
        OSError: It cannot be read.
    """
    about = os.stat(path)
    return _digest(str(path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@lru_cache(maxsize=64)
def _digest(path: str, *state: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
