"""Data of every kind, and their labels. Damage inside image folders is in tests/data/."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_data_arrays import idx, write_fashion_mnist
from tests.helpers.bad_input import Bad, Refuse, settings
from tests.helpers.genuine_data import write_cifar, write_images

Make = Callable[[Path], object]


def fashion(name: str, content: bytes, *says: str) -> Bad:
    """One of Fashion-MNIST's four files, with another content."""

    def make(folder: Path) -> None:
        write_fashion_mnist(folder / "data", zipped=False)
        (folder / "data" / name).unlink()
        (folder / "data" / (f"{name}.gz" if content[:2] == b"\x1f\x8b" else name)).write_bytes(content)

    return settings("data: {name: fashion_mnist, root: data}", name, *says, make=make)


def cifar(name: str, content: object, *says: str) -> Bad:
    """One of CIFAR-10's pickles, with another content."""

    def make(folder: Path) -> None:
        path = write_cifar(folder / "data", 10) / name
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))

    return settings("data: {name: cifar10, root: data}", name, *says, make=make)


def own(body: str, *says: str, more: str = "") -> Bad:
    """A function of the user's own."""
    code = f"import numpy as np\ndef read(root):\n    images = np.zeros((60, 8, 8), np.uint8)\n    {body}\n"
    return settings(f"data: {{name: 'mine:read'{more}}}", "data.name 'mine:read'", *says, mine=code)


def folder(make: Make, *says: str) -> Bad:
    """A folder of images."""
    return settings("data: {name: folder, root: data}", *says, make=make)


LABELS = bytes(range(10)) * 6
GZIP = bytearray(gzip.compress(idx(np.zeros((60, 28, 28), np.uint8))))
GZIP[20] ^= 0xFF
BATCH = {"data": np.zeros((10, 3072), np.uint8)}
UNKNOWN = "unknown data set 'cifar_10' in data.name: did you mean 'cifar10'?"

CASES = {
    "misspelt name": settings("data.name: cifar_10", UNKNOWN),
    "no data": settings("data.name: cifar10", "CIFAR-10 needs data.root: add --data.download"),
    "no such folder": settings("data: {name: cifar10, root: nowhere}", "CIFAR-10 not found in", "nowhere"),
    "a file for a folder": settings("data: {name: folder, root: mine.yaml}", "mine.yaml is no folder"),
    "no folder of images": settings("data.name: folder", "needs data.root, the folder of the images"),
    "download of what cannot be": settings("data: {name: folder, download: true}", "data.download fetches cifar10, "),
    "share of nearly all": settings("data.validation_share: 0.9999", "each of the 10 classes needs an image on either"),
    "fewer images than classes": settings("data.train_images: 3", "data.train_images 3: ", "each class needs one"),
    "more folds than images": settings("data.folds: 1000", "data.folds 1000: the smallest class has"),
    "noise above 1": settings("data.label_noise: 1.5", "data.label_noise: Input should be less than or equal to 1"),
    "images as large as a town": settings("data.image_size: 1000000", "data.image_size 1000000: the images would take"),
    "padding that hides the image": settings("data.crop_padding: 8", "data.crop_padding 8 of images of 8 x 8"),
    "augmentation: too strong": settings("data.augment.magnitude: 31", "data.augment.magnitude: ", "equal to 30"),
    "augmentation: nothing left": settings("data.augment.resized_crop: 0", "data.augment.resized_crop: ", "than 0"),
    "augmentation: no policy": settings("data.augment.policy: augmix", "data.augment.policy: ", "randaugment"),
    "mixing: below 0": settings("data.mixup: -0.1", "data.mixup: ", "equal to 0"),
    "mixing: a method of one label": settings(
        "{data.mixup: 0.2, method.name: crd}", "method crd needs images of one label, and data.mixup 0.2 mixes two"
    ),
    "mixing: beside a method of features": settings(
        "{data.cutmix: 1, method.name: fitnet, method.beside: corrected_kd}", "method corrected_kd needs images of one"
    ),
    "mixing: teachers of folds": settings(
        "{data.mixup: 0.2, teacher.folds: 3}", "teacher.folds has each image taught", "data.mixup 0.2 mixes it"
    ),
    "colours of two channels": settings(
        "{data.name: 'mine:read', data.augment.policy: randaugment}",
        "data.augment.policy randaugment: it is for images of 1 or 3 channels, and these have 2",
        mine="import numpy as np\ndef read():\n    return np.zeros((60, 2, 8, 8), np.uint8), np.arange(60) % 3\n",
    ),
    # IDX files
    "idx: no file": fashion("train-images-idx3-ubyte", b"", "is no IDX file of unsigned bytes in 3 dimensions"),
    "idx: floats": fashion("train-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(99), "is no IDX file of unsigned bytes"),
    "idx: cut short": fashion("t10k-images-idx3-ubyte", idx(np.zeros((20, 28, 28), np.uint8))[:-1], "is cut short"),
    "idx: sizes below 0": fashion(
        "t10k-labels-idx1-ubyte", b"\0\0\x08\x01\xff\xff\xff\xff", "is cut short or too long"
    ),
    "idx: damaged gzip": fashion("train-images-idx3-ubyte", bytes(GZIP), "cannot read", "get the file anew"),
    # CIFAR's pickles
    "cifar: no pickle": cifar("data_batch_2", b"nonsense", "cannot read", "unpack the archive anew"),
    "cifar: code": cifar("data_batch_2", b"cos\nsystem\n(S'touch ran'\ntR.", "refused os.system"),
    "cifar: a list": cifar("test_batch", [1], "cannot read", "unpack the archive anew"),
    "cifar: no labels": cifar("test_batch", BATCH, "cannot read", "KeyError: 'labels'"),
    "cifar: words for labels": cifar("test_batch", BATCH | {"labels": ["cat"] * 10}, "not all of its labels are whole"),
    "cifar: lists for labels": cifar("test_batch", BATCH | {"labels": [[1]] * 10}, "not all of its labels are whole"),
    "cifar: labels without end": cifar(
        "test_batch", BATCH | {"labels": [2**70] * 10}, "not all of its labels are whole"
    ),
    "cifar: a label too few": cifar("test_batch", BATCH | {"labels": [1] * 9}, "one label and 3x32x32 bytes an image"),
    "cifar: floats": cifar("test_batch", {"data": np.zeros((10, 3072)), "labels": [1] * 10}, "one label and 3x32x32"),
    # functions of the user's own
    "own: no module": settings("data.name: 'nowhere:read'", "data.name 'nowhere:read': no module named 'nowhere'"),
    "own: no path": settings("data.name: 'a b:c'", "an import path looks like `package.module:function`"),
    "own: misspelt function": settings("data.name: 'mine:raed'", "did you mean 'read'?", mine="def read(): ..."),
    "own: no function": settings("data.name: 'math:pi'", "data.name 'math:pi' is no function"),
    "own: does not compile": settings("data.name: 'mine:read'", "importing mine failed: SyntaxError", mine="def read("),
    "own: exits when imported": settings(
        "data.name: 'mine:read'", "importing mine failed: SystemExit", mine="import sys; sys.exit('usage: mine')"
    ),
    "own: raises": own("raise OSError(2, 'No such file', root)", "failed: FileNotFoundError: [Errno 2] No such file"),
    "own: exits": own("exit(0)", "failed: SystemExit"),
    "own: needs more": settings("data.name: 'mine:read'", "failed: TypeError", "'size'", mine="def read(size): ..."),
    "own: no npz": own("return np.load('mine.yaml')['x'], 0", "failed: ", "data.name 'mine:read'"),
    "own: a number": own("return 3", "int is no pair (images, labels): it must return (images, labels)"),
    "own: nothing": own("return {}", "has no `train`"),
    "own: unknown split": own(
        "return {'train': 0, 'tset': 0}", "has tset; known: train, validation, test, class_names"
    ),
    "own: floats": own("return images / 255, np.arange(60) % 3", "images must be uint8", "not float64 (60, 8, 8)"),
    "own: no images": own("return images[:0], np.arange(0)", "there are no images"),
    "own: ragged": own("return [[[1]], [[1], [2]]], [0, 1]", "images and labels must be arrays"),
    "own: a label too few": own("return images, np.arange(59) % 3", "labels must be 60 integers"),
    "own: words for labels": own("return images, ['cat'] * 60", "labels must be 60 integers"),
    "own: names that are a word": own(
        "return {'train': (images, np.arange(60) % 3), 'class_names': 'cat'}", "class_names must be a list of names"
    ),
    "own: one name": settings(
        "data.name: 'mine:read'",
        "labels of the train split run from 0 to 2, but 2 classes have labels 0 to 1",
        mine="import numpy as np\ndef read():\n    pair = np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3\n"
        "    return {'train': pair, 'class_names': ['cat', 'dog']}\n",
    ),
    "labels from 1": settings(
        "data.name: 'mine:read'",
        "class '0' (label 0) has no training images",
        mine="import numpy as np\ndef read():\n    return np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3 + 1\n",
    ),
    "labels below 0": settings(
        "data.name: 'mine:read'",
        "labels of the train split run from -1 to 1",
        mine="import numpy as np\ndef read():\n    return np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3 - 1\n",
    ),
    "one class": settings(
        "data.name: 'mine:read'",
        "there is only one class",
        mine="import numpy as np\ndef read():\n    return np.zeros((60, 8, 8), np.uint8), np.zeros(60, int)\n",
    ),
    # folders of images
    "folder: empty": folder(lambda place: (place / "data").mkdir(), "data"),
    "folder: a class without images": folder(
        lambda place: (write_images(place / "data"), (place / "data/zebra").mkdir()), "zebra"
    ),
    "folder: test alone": folder(lambda place: write_images(place / "data/test"), "train"),
    "folder: a class that train lacks": folder(
        lambda place: (write_images(place / "data/train"), write_images(place / "data/test", ("dogs",))),
        "dogs",
        "'dog'",
    ),
    "folder: an empty file": folder(
        lambda place: (write_images(place / "data"), (place / "data/cat/x.png").touch()), "x.png"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    refuse(case)
