"""Cuts the splits that a data set does not have: stratified, seeded, disjoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch

from raykd.config import DataSettings
from raykd.data.image_data import ArraySplit, FileSplit, Split
from raykd.data.rows import Rows, fold_numbers, stratified_rows
from raykd.errors import RaykdError
from raykd.seeds import seed_of

Parts: TypeAlias = tuple[ArraySplit, ArraySplit] | tuple[FileSplit, FileSplit]


def complete_splits(
    splits: Mapping[str, Split], class_names: Sequence[str], settings: DataSettings
) -> dict[str, Split]:
    """Train, validation and test: cut from train where they are missing, test first; then train is limited.

    With `data.folds`, validation is the fold of this number, and train all others.

    Raises:
        RaykdError: A label out of range, a class without training images or with too few to cut, or a share or limit
            that leaves less than an image a class.
    """
    done = dict(splits)
    for name, split in done.items():
        _check_labels(name, split, class_names)
    _check_training(done["train"], class_names)
    if settings.folds is not None and "validation" in done:
        raise RaykdError(
            f"data.folds cuts validation splits from the training images, but {settings.name} brings one: leave it out"
        )
    for name, share in (("test", settings.test_share), ("validation", settings.validation_share)):
        if name not in done:
            if name == "validation" and settings.folds is not None:
                done["train"], done[name] = _fold(done["train"], settings.folds, settings.fold, settings.seed)
            else:
                done["train"], done[name] = _cut(done["train"], name, share, class_names, settings.seed)
    if settings.train_images is not None:
        done["train"] = _limited(done["train"], settings.train_images, class_names, settings.seed)
    return {name: done[name] for name in ("train", "validation", "test")}


def _cut(split: Split, name: str, share: float, class_names: Sequence[str], seed: int) -> Parts:
    """The rest of a split, and what was cut off for the split of this name."""
    labels = split.labels.numpy()
    smallest = int(np.argmin(np.bincount(labels, minlength=len(class_names))))
    if (labels == smallest).sum() < 2:
        raise RaykdError(
            f"class {class_names[smallest]!r} has a single image to train with: too few to cut a {name} split from; "
            f"add images or bring a {name} split"
        )
    count = round(share * len(labels))
    if not len(class_names) <= count <= len(labels) - len(class_names):
        raise RaykdError(
            f"data.{name}_share {share} of {len(labels)} images is {count}: each of the {len(class_names)} classes "
            "needs an image on either side of the cut"
        )
    part = stratified_rows(labels, count, seed_of("split", name, seed), keep=1)
    rest = np.setdiff1d(np.arange(len(labels)), part, assume_unique=True)
    return _parted(split, rest, part)


def _fold(split: Split, folds: int, fold: int, seed: int) -> Parts:
    """All other folds of a split, and this one, which holds every class in its proportion."""
    numbers = fold_numbers(split.labels.numpy(), folds, seed_of("folds", seed), "data.folds")
    return _parted(split, np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold))


def _parted(split: Split, rest: Rows, part: Rows) -> Parts:
    """These two parts of a split, which stay of its own kind."""
    if isinstance(split, ArraySplit):
        return split.take(rest), split.take(part)
    return split.take(rest), split.take(part)


def _limited(split: Split, count: int, class_names: Sequence[str], seed: int) -> Split:
    if not len(class_names) <= count <= len(split):
        raise RaykdError(
            f"data.train_images {count}: the training split has {len(split)} images of {len(class_names)} classes, and "
            "each class needs one"
        )
    return split.take(stratified_rows(split.labels.numpy(), count, seed_of("limit", seed), keep=0))


def _check_labels(name: str, split: Split, class_names: Sequence[str]) -> None:
    if len(split) == 0:
        raise RaykdError(f"the {name} split has no images")
    lowest, highest = (int(label) for label in torch.aminmax(split.labels))
    if lowest < 0 or highest >= len(class_names):
        raise RaykdError(
            f"labels of the {name} split run from {lowest} to {highest}, but {len(class_names)} classes have labels 0 "
            f"to {len(class_names) - 1}"
        )


def _check_training(split: Split, class_names: Sequence[str]) -> None:
    if len(class_names) < 2:
        raise RaykdError(f"there is only one class, {class_names[0]!r}: a classifier needs at least two")
    counts = torch.bincount(split.labels, minlength=len(class_names)).tolist()
    if 0 in counts:
        label = counts.index(0)
        raise RaykdError(f"class {class_names[label]!r} (label {label}) has no training images")
