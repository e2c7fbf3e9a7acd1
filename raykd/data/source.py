"""What a reader of files returns: a data set as published, before missing splits are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from raykd.data.image_data import ArraySplit, Split
from raykd.data.image_files import Ignored


@dataclass(frozen=True)
class Source:
    """A data set as published.

    Attributes:
        splits: ``train``, and ``validation`` and ``test`` where it has them.
        class_names: Names in the order of the labels.
        crop_padding: Its usual augmentation: pixels of zero padding for the random crop.
        horizontal_flip: Its usual augmentation: flips left to right.
        ignored: What lies in its folders and was not read. None: it is not in class folders.
    """

    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    crop_padding: int
    horizontal_flip: bool
    ignored: Ignored | None = None


def array_split(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> ArraySplit:
    """A split of uint8 images (N, C, H, W) and integer labels (N,), copied, as what is read from files is read-only."""
    return ArraySplit(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))
