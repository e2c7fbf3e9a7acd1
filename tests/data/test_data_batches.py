"""Batches: joined over the workers they are the single worker's; evaluation sees every image once."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from raykd.config import DataSettings
from raykd.data import Batch, ImageData, View, augment, evaluation_batches, load_data, training_batches
from raykd.data.image_data import ArraySplit
from raykd.errors import RaykdError
from raykd.models import Classifier


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data(DataSettings(train_images=200, horizontal_flip=True))


def joined(steps: Iterable[tuple[Batch, ...]]) -> list[Batch]:
    """The global batches of which each worker has its rows."""
    names = ("pixels", "images", "labels", "indices")
    return [Batch(*(torch.cat([getattr(batch, name) for batch in step]) for name in names)) for step in steps]


def same(ones: list[Batch], others: list[Batch]) -> bool:
    names = ("pixels", "images", "labels", "indices")
    return len(ones) == len(others) and all(
        torch.equal(getattr(one, name), getattr(other, name))
        for one, other in zip(ones, others, strict=True)
        for name in names
    )


@given(st.integers(1, 250), st.integers(1, 7), st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_workers_share_the_batches_of_one(digits: ImageData, batch_size: int, workers: int, number: int) -> None:
    if min(batch_size, 200) < workers:
        with pytest.raises(RaykdError, match=rf"a batch of {batch_size} images cannot be shared by {workers} workers"):
            training_batches(digits, batch_size=batch_size, workers=workers)
        return
    alone = training_batches(digits, batch_size=batch_size)
    team = [training_batches(digits, batch_size=batch_size, rank=rank, workers=workers) for rank in range(workers)]
    assert {batches.steps_per_epoch for batches in team} == {alone.steps_per_epoch} == {max(1, 200 // batch_size)}
    assert {batches.batch_size for batches in team} == {min(batch_size, 200)}
    steps = list(zip(*(batches.epoch(number) for batches in team), strict=True))
    assert all([batches.share for batches in team] == list(map(len, step)) for step in steps)
    sizes = {len(batch) for step in steps for batch in step}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert same(joined(steps), list(alone.epoch(number)))


def test_an_epoch_is_the_augmented_view(digits: ImageData) -> None:
    split, info = digits.split("train"), digits.info
    assert isinstance(split, ArraySplit)
    view = View(info.seed, 5, 200)
    whole = augment(split.images, view.offsets(info.crop_padding), view.flips(), info.crop_padding)
    batches = list(training_batches(digits, batch_size=64).epoch(5))
    indices = torch.cat([batch.indices for batch in batches])
    assert torch.equal(indices, view.order()[:192])
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), whole[indices].float() / 255)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), split.labels[indices])
    assert not torch.equal(whole, split.images)


def test_images_are_normalised_pixels_as_a_classifier_sees_them(digits: ImageData) -> None:
    (batch,) = training_batches(digits, batch_size=1000).epoch(0)
    assert (batch.pixels.dtype, batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.float32, torch.int64)
    assert 0 <= batch.pixels.min() <= batch.pixels.max() <= 1
    info = digits.info
    assert torch.equal(Classifier(nn.Identity(), info.mean, info.std, info.class_names)(batch.pixels), batch.images)
    assert batch.images.is_contiguous()


@given(st.integers(1, 300), st.integers(1, 7))
@settings(deadline=None, max_examples=30)
def test_evaluation_covers_every_sample_once(digits: ImageData, batch_size: int, workers: int) -> None:
    split = digits.split("validation")
    assert isinstance(split, ArraySplit)
    team = [
        evaluation_batches(digits, "validation", batch_size=batch_size, rank=rank, workers=workers)
        for rank in range(workers)
    ]
    batches = [batch for batches in team for batch in batches]
    assert all(len(batch) for batch in batches)
    assert all(each.sizes == {len(batch) for batch in each} for each in team)
    indices = torch.cat([batch.indices for batch in batches])
    assert sorted(indices.tolist()) == list(range(len(split)))
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), split.images[indices].float() / 255)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), split.labels[indices])
    assert same(list(team[0]), list(team[0]))


def test_evaluation_of_an_unknown_split(digits: ImageData) -> None:
    with pytest.raises(RaykdError, match=r"unknown split 'valid' in data set 'digits': did you mean 'validation'\?"):
        evaluation_batches(digits, "valid", batch_size=8)


def test_batches_leave_the_global_generator_alone(digits: ImageData) -> None:
    before = torch.get_rng_state()
    list(training_batches(digits, batch_size=64).epoch(0))
    list(evaluation_batches(digits, "test", batch_size=64))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_on_a_gpu(digits: ImageData) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        batches = [*training_batches(digits, batch_size=64, device="cuda").epoch(0)]
        batches += evaluation_batches(digits, "test", batch_size=64, device="cuda")
    assert len(batches) == 3 + 6
    for batch in batches:
        tensors = (batch.pixels, batch.images, batch.labels, batch.indices)
        assert {tensor.device.type for tensor in tensors} == {"cuda"}
        assert batch.images.shape[1:] == (1, 8, 8)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_data_already_on_the_device_is_shared(digits: ImageData) -> None:
    moved = digits.to("cpu").split("train")
    original = digits.split("train")
    assert isinstance(moved, ArraySplit)
    assert isinstance(original, ArraySplit)
    assert moved.images.data_ptr() == original.images.data_ptr()
