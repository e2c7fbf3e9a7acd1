"""Fashion-MNIST: 70,000 grey images of 28x28 pixels in the IDX files of its authors."""

from __future__ import annotations

import gzip
import math
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raykd.config import DataSettings
from raykd.data.download import download
from raykd.data.fetch import fetched_once, local_root
from raykd.data.source import Source, array_split
from raykd.errors import RaykdError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train", "test": "t10k"}
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip


def read_fashion_mnist(settings: DataSettings) -> Source:
    """Fashion-MNIST from ``data.root`` (the IDX files or torchvision's layout) or from Debian's package.

    Raises:
        RaykdError: There are no files, or one is damaged.
    """
    folder = _folder(settings)
    splits = {}
    for split, prefix in FILES.items():
        images = read_idx(_file(folder, f"{prefix}-images-idx3-ubyte"), dimensions=3)
        labels = read_idx(_file(folder, f"{prefix}-labels-idx1-ubyte"), dimensions=1)
        if len(images) != len(labels):
            raise RaykdError(f"{folder}: {len(images)} {split} images, but {len(labels)} labels: get the files anew")
        splits[split] = array_split(images[:, None], labels)
    return Source(splits, CLASSES, crop_padding=2, horizontal_flip=True)


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of bytes in an IDX file, gzipped or not, read-only.

    Raises:
        RaykdError: The file is damaged or holds something else.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RaykdError(f"cannot read {path}: {error}: get the file anew") from error
    start = 4 + 4 * dimensions
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions, then each dimension as a big-endian int32.
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise RaykdError(f"{path} is no IDX file of unsigned bytes in {dimensions} dimensions: get the file anew")
    shape = tuple(np.frombuffer(content, ">i4", dimensions, offset=4).tolist())
    if len(content) != start + math.prod(shape):
        raise RaykdError(f"{path} is cut short or too long for its shape {shape}: get the file anew")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _folder(settings: DataSettings) -> Path:
    root = local_root(settings)
    candidates = [DEBIAN]
    if root is not None:
        root = root.expanduser()
        candidates = [root, root / "FashionMNIST" / "raw", root / "raw", DEBIAN]
    for folder in candidates:
        if any(folder.glob("train-images-idx3-ubyte*")):
            return folder
    if settings.download:
        return fetched_once(settings, settings.name, partial(download, settings.name))
    looked = ", ".join(map(str, candidates))
    raise RaykdError(
        f"Fashion-MNIST not found (looked in {looked}): add --data.download, `apt-get install "
        "dataset-fashion-mnist`, or set data.root to the folder of its IDX files"
    )


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise RaykdError(f"{folder / name}(.gz) is missing: get Fashion-MNIST's four files anew")
