"""Data sets of the user's own, by import path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raykd.config import DataSettings
from raykd.data.fetch import local_root
from raykd.data.image_data import ArraySplit
from raykd.data.source import Source, array_split
from raykd.errors import RaykdError
from raykd.imports import import_object, takes, told

CONTRACT = "it must return (images, labels), or a dict of such pairs under train, validation and test"
KEYS = ("train", "validation", "test", "class_names")


def read_custom(settings: DataSettings) -> Source:
    """The data set that the function at import path ``data.name`` returns; it lives in memory.

    The function is called without arguments, or with ``root=data.root`` where it takes ``root`` (a Path or None; of a
    URL the folder that it was fetched into), and must give the same data in every process. It returns a pair (images,
    labels), or a dict with such a pair under ``train`` and, as it has them, ``validation`` and ``test``, and a list of
    names under ``class_names``.

    images: uint8 array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W); of the second and fourth dimension the
    smaller one is the channels. labels: integers (N,), from 0.

    Raises:
        RaykdError: The import path leads to no function, or what it returns is something else.
    """
    label = f"data.name {settings.name!r}"
    function = import_object(settings.name, "data.name")
    if not callable(function):
        raise RaykdError(f"{label} is no function: {CONTRACT}")
    root = {"root": local_root(settings)} if takes(function, "root") else {}
    try:
        returned = function(**root)
    except RaykdError:
        raise
    except (Exception, SystemExit) as error:
        # A user's function raises anything.
        raise RaykdError(f"{label} failed: {told(error)}") from error
    parts: Mapping[str, Any] = returned if isinstance(returned, Mapping) else {"train": returned}
    if unknown := [str(key) for key in parts if key not in KEYS]:
        raise RaykdError(f"{label}: the returned dict has {', '.join(unknown)}; known: {', '.join(KEYS)}")
    if "train" not in parts:
        raise RaykdError(f"{label}: the returned dict has no `train`")
    splits = {key: _split(parts[key], f"{label}, {key}") for key in KEYS[:3] if key in parts}
    shapes = {tuple(split.images.shape[1:]) for split in splits.values()}
    if len(shapes) > 1:
        raise RaykdError(f"{label}: the splits' images differ in shape (C, H, W): {sorted(shapes)}")
    names = parts.get("class_names")
    if names is None:
        names = range(1 + max(int(split.labels.max()) for split in splits.values()))
    elif isinstance(names, str) or not isinstance(names, Iterable):
        raise RaykdError(f"{label}: class_names must be a list of names, not {type(names).__name__}")
    height = splits["train"].images.shape[2]
    return Source(splits, tuple(map(str, names)), crop_padding=height // 8, horizontal_flip=True)


def _array(part: Any) -> npt.NDArray[Any]:
    return part.numpy(force=True) if isinstance(part, torch.Tensor) else np.asarray(part)


def _split(pair: Any, label: str) -> ArraySplit:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise RaykdError(f"{label}: {type(pair).__name__} is no pair (images, labels): {CONTRACT}")
    try:
        images, labels = (_array(part) for part in pair)
    except (TypeError, ValueError) as error:
        raise RaykdError(f"{label}: images and labels must be arrays: {told(error)}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise RaykdError(
            f"{label}: images must be uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), not {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise RaykdError(f"{label}: labels must be {len(images)} integers, not {labels.dtype} {labels.shape}")
    if 0 in images.shape:
        raise RaykdError(f"{label}: there are no images")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] < images.shape[1]:
        images = images.transpose(0, 3, 1, 2)
    return array_split(images, labels)
