"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels in their authors' pickles."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raykd.config import DataSettings
from raykd.data.download import download
from raykd.data.fetch import fetched_once, local_root
from raykd.data.image_data import ArraySplit
from raykd.data.source import Source, array_split
from raykd.errors import RaykdError
from raykd.imports import told


@dataclass(frozen=True)
class Layout:
    """File and field names of one of the two data sets."""

    title: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    meta: str
    names: str


LAYOUTS = {
    "cifar10": Layout(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        labels="labels",
        meta="batches.meta",
        names="label_names",
    ),
    "cifar100": Layout(
        title="CIFAR-100",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        labels="fine_labels",
        meta="meta",
        names="fine_label_names",
    ),
}


def read_cifar(settings: DataSettings) -> Source:
    """CIFAR-10 or CIFAR-100, "python version", from ``data.root`` (the folder of the pickles, or the one around it).

    Raises:
        RaykdError: There are no files, or one is damaged.
    """
    layout = LAYOUTS[settings.name]
    folder = _folder(settings, layout)
    names = tuple(map(str, _field(folder / layout.meta, layout.names, list)))
    splits = {"train": _split(folder, layout.train, layout), "test": _split(folder, layout.test, layout)}
    return Source(splits, names, crop_padding=4, horizontal_flip=True)


def _split(folder: Path, files: tuple[str, ...], layout: Layout) -> ArraySplit:
    images, labels = [], []
    for path in (folder / file for file in files):
        pixels = _field(path, "data", np.ndarray)
        classes = _whole_numbers(path, _field(path, layout.labels, list))
        if pixels.dtype != np.uint8 or pixels.shape != (len(classes), 3 * 32 * 32):
            raise RaykdError(f"{path} does not hold one label and 3x32x32 bytes an image: get the file anew")
        images.append(pixels.reshape(-1, 3, 32, 32))
        labels.append(classes)
    return array_split(np.concatenate(images), np.concatenate(labels))


def _whole_numbers(path: Path, labels: list[Any]) -> npt.NDArray[np.int64]:
    if not all(isinstance(label, int) and abs(label) < 2**31 for label in labels):
        raise RaykdError(f"{path}: not all of its labels are whole numbers: get the file anew")
    return np.array(labels, np.int64)


def _folder(settings: DataSettings, layout: Layout) -> Path:
    root = local_root(settings)
    candidates = [] if root is None else [root.expanduser() / layout.folder, root.expanduser()]
    for folder in candidates:
        if (folder / layout.meta).is_file():
            return folder
    if settings.download:
        return fetched_once(settings, settings.name, partial(download, settings.name)) / layout.folder
    advice = (
        "add --data.download, or get the python version from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, "
        f"and set data.root to the folder that holds {layout.folder}"
    )
    if root is None:
        raise RaykdError(f"{layout.title} needs data.root: {advice}")
    raise RaykdError(f"{layout.title} not found in {root}: {advice}")


def _field(path: Path, field: str, kind: type) -> Any:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
        value = content[field]
    except FileNotFoundError as error:
        raise RaykdError(f"{path} is missing: unpack the archive anew") from error
    except Exception as error:
        # A damaged pickle may raise anything.
        raise RaykdError(f"cannot read {path} ({told(error)}): unpack the archive anew") from error
    if not isinstance(value, kind):
        raise RaykdError(f"{path}: {field!r} is no {kind.__name__}: unpack the archive anew")
    return value


class _ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays, lists and strings, and refuses what could run code of a tampered file."""

    def find_class(self, module: str, name: str) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]
        # Pickles by Python 2, as published, and by Python 3, of old and new numpy.
        known = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
            ("_codecs", "encode"): str.encode,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"refused {module}.{name}")
        return known[module, name]
