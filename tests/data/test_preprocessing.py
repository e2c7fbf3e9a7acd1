"""Preprocessing by settings: what is not set leaves pixels and fingerprints as they were, what is set changes both."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raykd.config import DataSettings
from raykd.data import ImageData, evaluation_batches, load_data, training_batches
from raykd.errors import RaykdError
from tests.helpers.genuine_data import write_images


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


def folder(root: Path, **settings: Any) -> ImageData:
    return load_data(DataSettings(name="folder", root=root, **{"image_size": 28, "loader_processes": 0, **settings}))


def digits(**settings: Any) -> ImageData:
    return load_data(DataSettings(train_images=100, **settings))


def test_fingerprints_without_settings_are_those_of_earlier_releases(root: Path) -> None:
    data = folder(root)
    digest = hashlib.sha256(b"28x28")
    for name in ("train", "validation", "test"):
        digest.update(name.encode())
        digest.update(data.split(name).digest())
    assert data.info.fingerprint == digest.hexdigest()
    same: list[dict[str, Any]] = [{"resize": 32}, {"crop": "center"}, {"interpolation": "bilinear"}, {"mean": (0.5,)}]
    assert {folder(root, **settings).info.fingerprint for settings in same} == {digest.hexdigest()}
    others = [{"resize": 28}, {"resize": 0}, {"crop": "squash"}, {"interpolation": "bicubic"}]
    found = {folder(root, **settings).info.fingerprint for settings in others}
    assert len(found | {digest.hexdigest()}) == 5
    joined = folder(root, resize=28).with_validation_in_train().info.fingerprint
    assert joined != data.with_validation_in_train().info.fingerprint


@pytest.mark.parametrize(
    ("settings", "size", "mode"),
    [
        ({}, "shorter 32", Image.Resampling.BILINEAR),
        ({"resize": 40, "interpolation": "bicubic"}, "shorter 40", Image.Resampling.BICUBIC),
        ({"resize": 0}, "as it is", None),
        ({"crop": "squash"}, "28 x 28", Image.Resampling.BILINEAR),
        ({"crop": "squash", "resize": 30, "interpolation": "nearest"}, "30 x 30", Image.Resampling.NEAREST),
    ],
)
def test_held_out_images_are_resized_and_cropped_as_the_settings_say(
    settings: dict[str, Any], size: str, mode: Any, root: Path
) -> None:
    """Compared with Pillow's own resizing."""
    data = folder(root, **settings)
    split = data.split("test")
    (batch,) = evaluation_batches(data, "test", batch_size=len(split))
    for index, pixels in enumerate(batch.pixels):
        with Image.open(split.path(index)) as opened:  # type: ignore[union-attr]
            image = opened.convert("RGB")
        width, height = image.size
        if size.startswith("shorter"):
            side = int(size.split()[1])
            longer = int(side * max(width, height) / min(width, height))
            image = image.resize((side, longer) if width <= height else (longer, side), mode)
        elif mode is not None:
            image = image.resize((int(size[:2]),) * 2, mode)
        array = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        height, width = array.shape[1:]
        padded = torch.zeros(3, max(height, 28), max(width, 28))
        top, left = (padded.shape[1] - height) // 2, (padded.shape[2] - width) // 2
        padded[:, top : top + height, left : left + width] = array
        top, left = round((padded.shape[1] - 28) / 2), round((padded.shape[2] - 28) / 2)
        if min(height, width) >= 28:
            assert torch.equal(pixels, padded[:, top : top + 28, left : left + 28])
        else:
            assert pixels.shape == (3, 28, 28)  # smaller images are padded


def test_the_interpolation_is_that_of_training_images_and_of_images_in_memory_too(root: Path) -> None:
    one, other = (
        next(training_batches(folder(root, **s), batch_size=4).epoch(0)) for s in ({}, {"interpolation": "bicubic"})
    )
    assert torch.equal(one.indices, other.indices)
    assert not torch.equal(one.pixels, other.pixels)
    assert digits(interpolation="bicubic").info.fingerprint == digits().info.fingerprint
    larger = {
        mode: digits(image_size=16, interpolation=mode).info.fingerprint for mode in ("bilinear", "bicubic", "nearest")
    }
    assert len(set(larger.values())) == 3
    assert larger["bilinear"] == digits(image_size=16).info.fingerprint
    nearest = digits(image_size=16, interpolation="nearest").split("train").images  # type: ignore[union-attr]
    assert torch.equal(nearest[..., ::2, ::2], digits().split("train").images)  # type: ignore[union-attr]


def test_mean_and_std_are_those_that_were_given(root: Path) -> None:
    given = digits(mean=(0.5,), std=(0.25,))
    assert given.info.fingerprint == digits().info.fingerprint
    (batch,) = evaluation_batches(given, "test", batch_size=10_000)
    assert torch.equal(batch.images, (batch.pixels - 0.5) / 0.25)
    assert folder(root, mean=(0.5,)).info.mean == (0.5,) * 3
    assert folder(root, mean=(0.1, 0.2, 0.3)).info.mean == (0.1, 0.2, 0.3)
    assert folder(root, mean=(0.5,)).info.std == folder(root).info.std


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.1, 0.2)}, r"data.mean: 2 numbers for images of 1 channels: give one, or 1"),
        ({"std": (0.1, 0.2, 0.3)}, r"data.std: 3 numbers for images of 1 channels"),
        ({"resize": 9}, r"data.resize 9: the images of digits are in memory"),
    ],
)
def test_what_does_not_suit_the_images_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        digits(**settings)
