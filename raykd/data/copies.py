"""Files of the same content: in two splits they are leakage, in two classes one of the labels is wrong.

Only files of equal size are opened; of these, a block from the middle is compared, and where it is equal, all of it. Of
a large data set only so much is compared as a fixed time allows, that of held-out images first.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from raykd.data.file_names import printable
from raykd.data.image_data import FileSplit
from raykd.data.rows import Rows

BLOCK = 16_384
"""Bytes from the middle of a file; most files of small images are no longer."""
PIECE = 1 << 20
"""Bytes of a file that are hashed at once."""
SECONDS = 5.0
"""How long blocks are compared, and how long whole files after that."""
AT_ONCE = 256
"""Files that are read between two looks at the clock."""
THREADS = 16
"""Files that are read at the same time: files on other machines are waited for."""

Content = tuple[int, bytes]
"""Size and digest of a file, or of its block."""

PAIRS = (("validation", "train"), ("test", "train"), ("test", "validation"))


@dataclass(frozen=True)
class Leak:
    """Images of a split that lie in another one, too.

    Attributes:
        split, other: Their names.
        images: How many images of the first lie in the other.
        example: Path of one of them, and of its copy, relative to the root.
    """

    split: str
    other: str
    images: int
    example: tuple[str, str]


@dataclass(frozen=True)
class Copies:
    """Files of the same content in a data set.

    Attributes:
        leaks: Between splits.
        contradictory: Images that lie in two classes.
        contradiction: Paths of two of them.
        repeated: Images that lie in the same split and class more than once, without the first of each.
        images: Images of the data set whose size another one has, too.
        compared: How many of them were compared in the time there was.
    """

    leaks: tuple[Leak, ...]
    contradictory: int
    contradiction: tuple[str, str] | None
    repeated: int
    images: int
    compared: int


def find_copies(
    splits: Mapping[str, FileSplit],
    labels: Mapping[str, Tensor],
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Copies:
    """Look for files of the same content.

    Args:
        splits: By name.
        labels: True labels of each split, int64 (N,).
        seconds: How long each of the two comparisons may take.
        clock: A monotonic time in seconds.
    """
    files = _Files(splits, labels)
    candidates = files.of_equal_size()
    whole: dict[Content, list[int]] = defaultdict(list)
    in_part: dict[Content, list[int]] = defaultdict(list)
    compared = 0
    with ThreadPoolExecutor(THREADS) as pool:
        end = clock() + seconds
        for rows in _until(end, clock, candidates):
            for row, digest in zip(rows, pool.map(files.block_digest, rows), strict=True):
                if digest is not None:
                    equal = whole if files.sizes[row] <= BLOCK else in_part
                    equal[int(files.sizes[row]), digest].append(row)
            compared += len(rows)
        uncertain = [row for rows in in_part.values() if len(rows) > 1 for row in rows]
        end = clock() + seconds
        for rows in _until(end, clock, uncertain):
            for row, digest in zip(rows, pool.map(files.whole_digest, rows), strict=True):
                if digest is not None:
                    whole[int(files.sizes[row]), digest].append(row)
            uncertain = uncertain[len(rows) :]
    groups = [sorted(rows) for rows in whole.values() if len(rows) > 1]
    return files.copies(groups, len(candidates), compared - len(uncertain))


class _Files:
    """All files of a data set, by a number each."""

    def __init__(self, splits: Mapping[str, FileSplit], labels: Mapping[str, Tensor]) -> None:
        self._splits = splits
        self._names = list(splits)
        self._starts = np.cumsum([0, *map(len, splits.values())])
        self._labels = np.concatenate([labels[name].numpy() for name in splits])
        self.sizes: Rows = np.concatenate([split.file_sizes for split in splits.values()])

    def of_equal_size(self) -> list[int]:
        """Files whose size another one has: the sizes that held-out images have first, else at random."""
        sizes, which, counts = np.unique(self.sizes, return_inverse=True, return_counts=True)
        held_out = np.zeros(len(sizes), bool)
        held_out[which[self._starts[1] :]] = True  # train comes first
        turn = np.random.default_rng(0).permutation(len(sizes)) + len(sizes) * ~held_out
        rows = np.flatnonzero(counts[which] > 1)
        chosen: list[int] = rows[np.argsort(turn[which[rows]], kind="stable")].tolist()
        return chosen

    def block_digest(self, row: int) -> bytes | None:
        """sha256 of a block from the middle of a file; None if it cannot be read, which decoding will say."""
        return self._digest(row, max((int(self.sizes[row]) - BLOCK) // 2, 0), BLOCK)

    def whole_digest(self, row: int) -> bytes | None:
        """sha256 of a file; None if it cannot be read."""
        return self._digest(row, 0, None)

    def copies(self, groups: Iterable[list[int]], images: int, compared: int) -> Copies:
        """What groups of equal files, each in the order of their numbers, say."""
        leaks: dict[tuple[str, str], tuple[int, tuple[int, int]]] = {}
        contradictory, repeated, contradiction = 0, 0, None
        for rows in groups:
            by_split = defaultdict(list)
            for row in rows:
                by_split[self._split_of(row)].append(row)
            for pair in PAIRS:
                if own := by_split.get(pair[0]) and by_split.get(pair[1]):
                    count, example = leaks.get(pair, (0, (by_split[pair[0]][0], own[0])))
                    leaks[pair] = count + len(by_split[pair[0]]), example
            if other := next((row for row in rows if self._labels[row] != self._labels[rows[0]]), None):
                contradictory += len(rows)
                contradiction = contradiction or (self._path(rows[0]), self._path(other))
            repeated += len(rows) - len({(self._split_of(row), int(self._labels[row])) for row in rows})
        told = []
        for pair in PAIRS:
            if pair in leaks:
                count, (first, second) = leaks[pair]
                told.append(Leak(*pair, count, (self._path(first), self._path(second))))
        return Copies(tuple(told), contradictory, contradiction, repeated, images, compared)

    def _digest(self, row: int, start: int, length: int | None) -> bytes | None:
        digest = hashlib.sha256()
        try:
            with open(self._file(row), "rb", buffering=0) as file:
                file.seek(start)
                while piece := file.read(PIECE if length is None else length):
                    digest.update(piece)
                    if length is not None:
                        break
        except OSError:
            return None
        return digest.digest()

    def _place(self, row: int) -> tuple[FileSplit, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._splits[self._names[number]], row - int(self._starts[number])

    def _split_of(self, row: int) -> str:
        return self._names[int(np.searchsorted(self._starts, row, side="right")) - 1]

    def _file(self, row: int) -> os.PathLike[str]:
        split, index = self._place(row)
        return split.path(index)

    def _path(self, row: int) -> str:
        split, index = self._place(row)
        return printable(os.fsdecode(split.names[index]))


def _until(end: float, clock: Callable[[], float], rows: Sequence[int]) -> Iterator[Sequence[int]]:
    """Rows, some at once, until the time is over."""
    for start in range(0, len(rows), AT_ONCE):
        if clock() >= end:
            return
        yield rows[start : start + AT_ONCE]
