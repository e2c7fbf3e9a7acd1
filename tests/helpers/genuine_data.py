"""Tiny data sets in the formats of the genuine ones, for tests to read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_cifar(
    root: Path, layout: int, protocol: int = 2, classes: int | None = None, per_class: int | None = None
) -> Path:
    """CIFAR's pickles; returns their folder.

    Args:
        root: Folder around it.
        layout: 10 or 100: which of the two data sets.
        protocol: Of pickle.
        classes: Classes named and labelled; None: as many as the genuine set has.
        per_class: Images of each class in each file; None: 2 (CIFAR-10, of six files) or 5 (CIFAR-100, of two).
    """
    random = np.random.default_rng(0)
    classes = classes or layout
    labels = "labels" if layout == 10 else "fine_labels"
    names = {"label_names" if layout == 10 else "fine_label_names": [f"class{label}" for label in range(classes)]}
    if layout == 10:
        folder, files, meta = root / "cifar-10-batches-py", [f"data_batch_{n}" for n in range(1, 6)], "batches.meta"
        files.append("test_batch")
    else:
        folder, files, meta = root / "cifar-100-python", ["train", "test"], "meta"
    folder.mkdir(parents=True)
    for name in files:
        count = (per_class or (2 if layout == 10 else 5)) * classes
        content = {
            "data": random.integers(0, 256, (count, 3072), np.uint8),
            labels: [n % classes for n in range(count)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    (folder / meta).write_bytes(pickle.dumps(names, protocol=protocol))
    return folder


def write_images(folder: Path, classes: tuple[str, ...] = ("cat", "dog", "owl"), count: int = 10) -> None:
    """Class folders of tiny colour JPEGs and grey PNGs of different sizes."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            height, width = (int(side) for side in random.integers(20, 50, 2))
            if number % 2:
                pixels = random.integers(0, 256, (height, width, 3), np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number}.JPEG")
            else:
                Image.fromarray(_grey(random, height, width)).save(folder / name / f"{number}.png")


def _grey(random: np.random.Generator, height: int, width: int) -> Any:
    return random.integers(0, 256, (height, width), np.uint8)
