"""Data sets that live in memory: digits, Fashion-MNIST, CIFAR and the user's own."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raykd.config import DataSettings
from raykd.data import ImageData, load_data
from raykd.data.fashion_mnist import DEBIAN
from raykd.data.image_data import ArraySplit
from raykd.errors import RaykdError
from tests.helpers.genuine_data import write_cifar

WriteModule = Callable[..., str]


def load(name: str, **settings: Any) -> ImageData:
    return load_data(DataSettings(name=name, **settings))


def arrays(data: ImageData, split: str) -> ArraySplit:
    found = data.split(split)
    assert isinstance(found, ArraySplit)
    return found


# digits


def test_digits() -> None:
    data = load("digits")
    info = data.info
    assert not data.streamed
    assert info.split_sizes == {"train": 1150, "validation": 288, "test": 359}
    assert (info.num_classes, info.channels, info.height, info.width) == (10, 1, 8, 8)
    assert (info.crop_padding, info.horizontal_flip) == (1, False)
    train = arrays(data, "train")
    assert (train.images.dtype, train.labels.dtype) == (torch.uint8, torch.int64)
    assert train.images.max() == 255
    pixels = train.images.double() / 255
    assert info.mean == pytest.approx((pixels.mean().item(),))
    assert info.std == pytest.approx((pixels.std(correction=0).item(),))
    assert json.loads(json.dumps(asdict(info)))["split_sizes"]["test"] == 359


def test_the_fingerprint_follows_every_pixel_and_label() -> None:
    first = load("digits").info.fingerprint
    assert load("digits", crop_padding=3, horizontal_flip=True).info.fingerprint == first
    others: list[dict[str, Any]] = [{"seed": 1}, {"train_images": 100}, {"image_size": 9}, {"test_share": 0.3}]
    assert len({first, *(load("digits", **settings).info.fingerprint for settings in others)}) == 5


def test_settings_override_habits_and_size() -> None:
    info = load("digits", crop_padding=0, horizontal_flip=True, image_size=16).info
    assert (info.crop_padding, info.horizontal_flip, info.height, info.width) == (0, True, 16, 16)
    assert info.mean == pytest.approx(load("digits").info.mean, abs=0.02)


def test_train_and_validation_joined() -> None:
    data = load("digits")
    joined = data.with_validation_in_train()
    assert joined.info.split_sizes == {"train": 1438, "test": 359}
    assert torch.equal(arrays(joined, "train").images[:1150], arrays(data, "train").images)
    assert torch.equal(arrays(joined, "train").labels[1150:], arrays(data, "validation").labels)
    assert joined.info.mean == data.info.mean
    assert joined.info.fingerprint != data.info.fingerprint
    with pytest.raises(RaykdError, match=r"unknown split 'validation' in data set 'digits': known: test, train"):
        joined.split("validation")


def test_unknown_data_set() -> None:
    with pytest.raises(RaykdError, match=r"unknown data set 'cifar_10' in data.name: did you mean 'cifar10'\?"):
        load("cifar_10")


# Fashion-MNIST


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def write_fashion_mnist(folder: Path, zipped: bool) -> np.ndarray[Any, Any]:
    """Tiny files in the genuine format; returns the training images."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (60, 28, 28), np.uint8)
    for prefix, images in (("train", train), ("t10k", train[:20])):
        labels = np.arange(len(images), dtype=np.uint8) % 10
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = idx(array)
            (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return train


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian() -> None:
    info = load("fashion_mnist").info
    assert info.split_sizes == {"train": 48_000, "validation": 12_000, "test": 10_000}
    assert info.mean == pytest.approx((0.2860,), abs=1e-3)
    assert info.std == pytest.approx((0.3530,), abs=1e-3)
    assert (info.crop_padding, info.horizontal_flip, info.class_names[9]) == (2, True, "Ankle boot")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
def test_fashion_mnist_from_idx_files(tmp_path: Path, zipped: bool, below: str) -> None:
    images = write_fashion_mnist(tmp_path / below, zipped)
    data = load("fashion_mnist", root=tmp_path)
    assert data.info.split_sizes == {"train": 48, "validation": 12, "test": 20}
    assert np.array_equal(arrays(data, "test").images.numpy(), images[:20, None])
    assert arrays(data, "test").labels.tolist() == [*range(10)] * 2


def test_fashion_mnist_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raykd.data.fashion_mnist.DEBIAN", tmp_path / "debian")
    with pytest.raises(RaykdError, match=r"Fashion-MNIST not found .*apt-get install dataset-fashion-mnist.*data.root"):
        load("fashion_mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"no gzip", r"cannot read .*train-images-idx3-ubyte.gz: Not a gzipped file"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.zeros(60, np.uint8))), r"in 3 dimensions"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(20, np.uint8))[:-1]), r"t10k-labels.* is cut short"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(19, np.uint8))), r"20 test images, but 19 labels"),
        ("t10k-labels-idx1-ubyte.gz", None, r"t10k-labels-idx1-ubyte\(.gz\) is missing"),
    ],
    # names of their own: a gzip header holds the time, and parallel workers must collect the same tests
    ids=["not gzip", "one dimension", "labels cut short", "a label too few", "no file"],
)
def test_damaged_idx_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    write_fashion_mnist(tmp_path, zipped=True)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RaykdError, match=message):
        load("fashion_mnist", root=tmp_path)


def test_a_gzip_cut_short(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RaykdError, match=r"cannot read .*train-images-idx3-ubyte.gz"):
        load("fashion_mnist", root=tmp_path)


# CIFAR


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_as_torchvision_reads_it(tmp_path: Path, classes: int) -> None:
    import torchvision

    folder = write_cifar(tmp_path, classes)
    base = torchvision.datasets.CIFAR10 if classes == 10 else torchvision.datasets.CIFAR100
    # Only the published files have the checksums that torchvision knows.
    reader: Any = type("Unchecked", (base,), {"_check_integrity": lambda self: True, "_load_meta": lambda self: None})
    data = load(f"cifar{classes}", root=tmp_path)
    theirs, test = reader(tmp_path, train=False), arrays(data, "test")
    assert np.array_equal(test.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert test.labels.tolist() == theirs.targets
    assert (data.info.num_classes, data.info.crop_padding, data.info.horizontal_flip) == (classes, 4, True)
    assert data.info.class_names[3] == "class3"
    assert data.info.split_sizes["train"] == (80 if classes == 10 else 400)
    assert load(f"cifar{classes}", root=folder).info == data.info


def test_cifar_pickled_by_python_2(tmp_path: Path) -> None:
    """The published files name numpy's old module, and hold pixels and strings as Python 2's byte strings."""
    folder = write_cifar(tmp_path, 10, protocol=0)
    pixels = b"\x07" * (10 * 3072)
    head = b"\x80\x02}(U\x06labels](" + b"".join(b"K" + bytes([n]) for n in range(10)) + b"eU\x04data"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\nM\x00\x0c\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = head + array + kind + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tbu."
    (folder / "test_batch").write_bytes(content)
    test = arrays(load("cifar10", root=tmp_path), "test")
    assert test.labels.tolist() == [*range(10)]
    assert set(test.images.flatten().tolist()) == {7}


def test_cifar_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        RaykdError, match=r"CIFAR-100 needs data.root: add --data.download, or get the python version from https://"
    ):
        load("cifar100")
    with pytest.raises(RaykdError, match=r"CIFAR-10 not found in .*folder that holds cifar-10-batches-py"):
        load("cifar10", root=tmp_path)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code of a stranger ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"data_batch_2 is missing"),
        (b"nonsense", r"cannot read .*data_batch_2 \("),
        (pickle.dumps({"data": 3}), r"data_batch_2: 'data' is no ndarray"),
        (pickle.dumps({"labels": []}), r"cannot read .*data_batch_2 \(KeyError: 'data'\)"),
        (pickle.dumps({"data": np.zeros((3, 9), np.uint8), "labels": [0, 1, 2]}, 2), r"one label and 3x32x32 bytes"),
        (pickle.dumps(Evil()), r"data_batch_2 \(UnpicklingError: refused builtins.print\)"),
    ],
)
def test_damaged_cifar(tmp_path: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_cifar(tmp_path, 10) / "data_batch_2"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(RaykdError, match=message):
        load("cifar10", root=tmp_path)
    assert "stranger" not in capsys.readouterr().out


# the user's own


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Write a function `read` into a module in the current folder; returns its import path."""
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)

    def write(body: str, parameters: str = "") -> str:
        name = f"module_{uuid.uuid4().hex}"
        content = f"import numpy as np, torch\ndef read({parameters}):\n    {body}\n"
        (tmp_path / f"{name}.py").write_text(content)
        return f"{name}:read"

    yield write
    sys.path[:] = path


LABELS = "np.arange(60) % 3"


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        ("np.ones((60, 16, 20), np.uint8)", (1, 16, 20)),
        ("np.ones((60, 16, 20, 3), np.uint8)", (3, 16, 20)),
        ("np.ones((60, 5, 16, 20), np.uint8)", (5, 16, 20)),
        ("torch.ones(60, 3, 16, 20, dtype=torch.uint8)", (3, 16, 20)),
    ],
)
def test_arrays_of_any_layout(write_module: WriteModule, images: str, shape: tuple[int, ...]) -> None:
    info = load(write_module(f"return {images}, {LABELS}")).info
    assert (info.channels, info.height, info.width) == shape
    assert (info.crop_padding, info.horizontal_flip, info.class_names) == (2, True, ("0", "1", "2"))
    assert info.std == (1.0,) * shape[0]  # a constant channel is not divided by zero


def test_splits_and_names_of_ones_own(write_module: WriteModule) -> None:
    pair = f"(np.zeros((60, 8, 8), np.uint8), {LABELS})"
    body = f"return {{'train': {pair}, 'validation': {pair}, 'class_names': ['a', 'b', 'c']}}"
    info = load(write_module(body)).info
    assert info.split_sizes == {"train": 48, "validation": 60, "test": 12}
    assert info.class_names == ("a", "b", "c")


def test_the_root_reaches_a_function_that_takes_it(write_module: WriteModule, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((60, 8, 8), np.uint8))
    path = write_module(f"return np.load(root / 'images.npy'), {LABELS}", "root")
    assert load(path, root=tmp_path).info.split_sizes["train"] == 38


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", r"int is no pair \(images, labels\): it must return"),
        (f"return np.zeros((60, 8, 8)), {LABELS}", r"images must be uint8 .*not float64 \(60, 8, 8\)"),
        (f"return np.zeros((60, 8), np.uint8), {LABELS}", r"images must be uint8 .*not uint8 \(60, 8\)"),
        (f"return np.zeros((59, 8, 8), np.uint8), {LABELS}", r"labels must be 59 integers, not int64 \(60,\)"),
        (f"return np.zeros((60, 8, 8), np.uint8), ({LABELS}) * 0.5", r"labels must be 60 integers, not float64"),
        ("return np.zeros((0, 8, 8), np.uint8), np.zeros(0, int)", r"there are no images"),
        (f"return np.zeros((60, 8, 8), np.uint8), ({LABELS}) + 1", r"class '0' \(label 0\) has no training images"),
        ("return {'test': None}", r"the returned dict has no `train`"),
        ("return {'train': None, 'tset': None}", r"the returned dict has tset; known: train, validation, test"),
        (
            f"return {{s: (np.zeros((60, n, n), np.uint8), {LABELS}) for s, n in (('train', 8), ('test', 9))}}",
            r"differ in shape \(C, H, W\): \[\(1, 8, 8\), \(1, 9, 9\)\]",
        ),
    ],
)
def test_functions_that_return_something_else(write_module: WriteModule, body: str, message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        load(write_module(body))


def test_import_paths_that_lead_nowhere() -> None:
    with pytest.raises(RaykdError, match=r"data.name 'no_such_module:read': no module named 'no_such_module'"):
        load("no_such_module:read")
    with pytest.raises(RaykdError, match=r"data.name 'math:pi' is no function"):
        load("math:pi")
