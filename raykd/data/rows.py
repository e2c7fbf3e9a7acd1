"""Random choices of rows that hold every class in its proportion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from raykd.errors import RaykdError

Rows = npt.NDArray[np.int64]


def stratified_rows(labels: Rows, count: int, seed: int, keep: int) -> Rows:
    """Rows of a random choice that holds every class in its proportion.

    A class's part is its exact share of ``count`` rounded up or down, but at least one row, and never so large that
    less than ``keep`` of its rows stay behind.

    Args:
        labels: int64 (N,); every class that occurs has more than ``keep`` rows.
        count: Rows to choose, at least one a class.
        seed: Decides the choice.
        keep: Rows of each class that stay behind.

    Returns:
        Sorted rows; ``count`` of them, or fewer where ``keep`` forbids.
    """
    counts = np.unique(labels, return_counts=True)[1]
    exact = counts * (count / len(labels))
    parts = np.floor(exact).astype(np.int64)
    parts[np.argsort(parts - exact, kind="stable")[: count - parts.sum()]] += 1
    parts = np.clip(parts, 1, counts - keep)
    while parts.sum() > count:  # where rare classes were raised to one row
        parts[np.argmax(parts)] -= 1
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank_in_class < np.repeat(parts, counts)])


def fold_numbers(labels: Rows, folds: int, seed: int, setting: str) -> Rows:
    """Which of so many folds each row belongs to; every fold holds every class in its proportion.

    Args:
        labels: int64 (N,).
        folds: Their number, at least 2.
        seed: Decides which rows.
        setting: Where their number comes from, for the error.

    Returns:
        int64 (N,) in [0, folds).

    Raises:
        RaykdError: A class has fewer rows than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.bincount(labels).min())
    if smallest < folds:
        raise RaykdError(f"{setting} {folds}: the smallest class has {smallest} training images, fewer than folds")
    numbers = np.empty_like(labels)
    cuts = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(labels, labels)
    for number, (_, part) in enumerate(cuts):
        numbers[part] = number
    return numbers
