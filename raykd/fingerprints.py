"""Fingerprints that follow from others, for processes that have not loaded the data."""

from __future__ import annotations

import hashlib


def without_fold(whole: str, fold: int, count: int, seed: int) -> str:
    """The fingerprint of data without one fold of its training images, from that of the whole.

    Args:
        whole: See `raykd.data.DataInfo`.
        fold: Which of the folds is left out, from 0.
        count: Of the folds.
        seed: `data.seed`, which decides them.
    """
    return hashlib.sha256(f"{whole} without fold {fold} of {count} by seed {seed}".encode()).hexdigest()
