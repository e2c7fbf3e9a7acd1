"""Images in class folders, ImageNet among them; streamed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from raykd.config import DataSettings
from raykd.data.fetch import local_root
from raykd.data.image_data import FileSplit
from raykd.data.source import Source
from raykd.errors import RaykdError, unknown_name

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""Split that each folder below the root holds."""


def read_folder(settings: DataSettings) -> Source:
    """Images of your own in ``data.root``: one folder a class, below train, val and test if they are split.

    The root holds ``train`` and perhaps ``val`` or ``validation`` and ``test``, each with one folder a class; or it
    holds the class folders itself.

    Raises:
        RaykdError: No such folder, no class folders, a class folder without images, a class that train does not
            have, or an empty file.
    """
    root = _root(settings)
    folders = {split: root / name for name, split in SPLITS.items() if (root / name).is_dir()}
    if folders and "train" not in folders:
        names = " and ".join(folder.name for folder in folders.values())
        raise RaykdError(f"{root} holds {names}, but no folder `train`")
    if (root / "val").is_dir() and (root / "validation").is_dir():
        raise RaykdError(f"{root} holds both val and validation: keep one")
    return _read(root, folders or {"train": root})


def read_imagenet(settings: DataSettings) -> Source:
    """ImageNet from ``data.root``: ``train`` and ``val``, each with one folder a class.

    Published accuracies are those of ``val``, so it serves as the test split, and validation is cut from train.

    Raises:
        RaykdError: As `read_folder`.
    """
    root = _root(settings)
    folders = {"train": root / "train", "test": root / "val"}
    for folder in folders.values():
        if not folder.is_dir():
            raise RaykdError(f"{folder} is missing: data.root must hold ImageNet's train and val, one folder a class")
    return _read(root, folders)


def _root(settings: DataSettings) -> Path:
    root = local_root(settings)
    if root is None:
        raise RaykdError(f"data.name {settings.name!r} needs data.root, the folder of the images")
    root = root.expanduser()
    if not root.is_dir():
        raise RaykdError(f"data.root {root} is no folder")
    return root


def _read(root: Path, folders: dict[str, Path]) -> Source:
    class_names = _class_names(folders["train"])
    splits = {split: _split(root, folder, class_names) for split, folder in folders.items()}
    return Source(splits, class_names, crop_padding=0, horizontal_flip=True)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise RaykdError(f"{folder} holds no class folders: images must lie in one folder a class")
    return tuple(names)


def _split(root: Path, folder: Path, class_names: tuple[str, ...]) -> FileSplit:
    labels = {name: label for label, name in enumerate(class_names)}
    files: list[tuple[str, int, int]] = []
    for name in _class_names(folder):
        if name not in labels:
            raise unknown_name("class", name, class_names, where=str(folder))
        images = _images(folder / name)
        if not images:
            raise RaykdError(f"{folder / name} holds no images ({' '.join(IMAGES)})")
        files += [(os.path.relpath(path, root), size, labels[name]) for path, size in images]
    names, sizes, classes = zip(*files, strict=True)
    encoded = np.array([os.fsencode(name.replace(os.sep, "/")) for name in names])
    return FileSplit(root, encoded, np.array(sizes, np.int64), torch.tensor(classes))


def _images(folder: Path) -> list[tuple[str, int]]:
    """Paths and sizes of the images in a folder and those below it, sorted by path."""
    images = []
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.lower().endswith(IMAGES) and not name.startswith("."):
                path = os.path.join(parent, name)
                # A broken link counts as empty.
                size = os.stat(path).st_size if os.path.exists(path) else 0
                if size == 0:
                    raise RaykdError(f"{path} is empty or a broken link: replace or delete it")
                images.append((path, size))
    return sorted(images)
