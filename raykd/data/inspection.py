"""What the plan says about images in files: what was ignored, what is scaled or turned, and what is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from raykd.data.copies import SECONDS, Copies, find_copies
from raykd.data.decoding import file_facts
from raykd.data.file_names import printable, some_of
from raykd.data.image_data import FileSplit, ImageData
from raykd.data.image_files import Ignored, counts

LOOKED_AT = 16
"""Images that are decoded beforehand; photographs take a tenth of a second each."""
DARK = 2**14
"""Images of 16 bits that all stay below this were written with 14 bits or less, and look black."""


def inspected(data: ImageData) -> dict[str, str]:
    """Lines of the plan about images in files, by name; none about images in memory.

    Raises:
        RaykdError: One of the images that are looked at cannot be decoded.
    """
    splits = {name: split for name, split in data.splits.items() if isinstance(split, FileSplit)}
    if not splits:
        return {}
    labels = {name: split.labels for name, split in splits.items()} | {"train": data.true_labels}
    lines = {
        "ignored": _ignored(data.ignored) if data.ignored else "",
        "pixels": _pixels(splits),
        "copies": _copies(find_copies(splits, labels), {name: len(split) for name, split in splits.items()}),
    }
    return {name: line for name, line in lines.items() if line}


def _ignored(ignored: Ignored) -> str:
    parts = []
    if ignored.files:
        parts.append(f"{_files(ignored.files)} with no ending of an image ({counts(ignored.files)})")
    if ignored.outside:
        parts.append(f"{_files(ignored.outside)} outside of class folders ({counts(ignored.outside)})")
    if ignored.hidden:
        parts.append(f"what is hidden or a tool's ({counts(ignored.hidden)})")
    if ignored.links:
        number = len(ignored.links)
        links = "link to a folder" if number == 1 else "links to folders"
        parts.append(f"{number:,} {links} read elsewhere ({printable(ignored.links[0])})")
    if ignored.beside:
        parts.append(f"beside the splits: {some_of(tuple(map(printable, ignored.beside)))}")
    return "; ".join(parts)


def _files(counted: Counter[str]) -> str:
    return "1 file" if counted.total() == 1 else f"{counted.total():,} files"


def _pixels(splits: Mapping[str, FileSplit]) -> str:
    starts = np.cumsum([0, *map(len, splits.values())])
    chosen = np.unique(np.linspace(0, starts[-1] - 1, LOOKED_AT).astype(int))
    facts = [
        file_facts(split.path(row - start))
        for split, start in zip(splits.values(), starts, strict=False)
        for row in chosen
        if start <= row < start + len(split)
    ]
    deep = [each.brightest for each in facts if each.brightest is not None]
    parts = []
    if deep:
        parts.append(f"{len(deep)} have 16 bits, which are scaled to 8")
        if max(deep) < DARK:
            parts.append(f"these use {max(deep):,} of 65,535 levels and are almost black: scale them before")
    if turned := sum(each.turned for each in facts):
        parts.append(f"{turned} are turned as their EXIF data say")
    return f"of {len(facts)} images looked at, {'; '.join(parts)}" if parts else ""


def _copies(copies: Copies, sizes: Mapping[str, int]) -> str:
    parts = []
    for leak in copies.leaks:
        first, second = leak.example
        parts.append(
            f"leakage: {leak.images:,} of {sizes[leak.split]:,} {leak.split} images are in {leak.other} as well, such "
            f"as {first} = {second}"
        )
    if copies.contradiction:
        parts.append(f"{copies.contradictory:,} images are in two classes, such as {' = '.join(copies.contradiction)}")
    if copies.repeated:
        parts.append(f"{copies.repeated:,} more of an image in the same split and class")
    if copies.compared < copies.images:
        parts = parts or ["none found"]
        parts.append(
            f"{SECONDS:g} s were enough to compare {copies.compared:,} of {copies.images:,} files of equal size"
        )
    return "; ".join(parts)
