"""Views are pure functions of (seed, number, size); augmentation equals slicing and flipping image by image."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from raykd.data import View, augment
from raykd.data.plan import as_pixels

seeds = st.integers(0, 2**31)
numbers = st.integers(0, 1000)
sizes = st.integers(1, 60)


def one_by_one(images: Tensor, offsets: Tensor, flips: Tensor, padding: int) -> Tensor:
    """The oracle: pad, slice and flip each image by itself."""
    height, width = images.shape[-2:]
    done = []
    for image, (top, left), flip in zip(images, offsets.tolist(), flips.tolist(), strict=True):
        crop = F.pad(image, (padding,) * 4)[:, top : top + height, left : left + width]
        done.append(crop.flip(-1) if flip else crop)
    return torch.stack(done)


@given(seeds, numbers, sizes)
@settings(deadline=None)
def test_a_view_is_a_pure_function(seed: int, number: int, size: int) -> None:
    one, other = View(seed, number, size), View(seed, number, size)
    torch.rand(1)  # the global generator changes nothing
    assert torch.equal(one.flips(), other.flips())
    assert torch.equal(one.offsets(4), other.offsets(4))
    assert torch.equal(one.order(), other.order())
    assert one.order().sort().values.tolist() == list(range(size))


@given(seeds, numbers, sizes, st.integers(0, 5))
@settings(deadline=None)
def test_tables_are_in_range(seed: int, number: int, size: int, padding: int) -> None:
    view = View(seed, number, size)
    assert view.offsets(padding).shape == (size, 2)
    assert 0 <= view.offsets(padding).min() <= view.offsets(padding).max() <= 2 * padding
    assert view.flips().shape == view.no_flips().shape == (size,)
    assert not view.no_flips().any()


def test_views_differ_by_seed_and_number() -> None:
    orders = {tuple(View(seed, number, 50).order().tolist()) for seed in range(5) for number in range(5)}
    assert len(orders) == 25


def test_all_offsets_and_both_flips_come_equally_often() -> None:
    view = View(0, 0, 30_000)
    for axis in view.offsets(1).unbind(1):
        assert (axis.bincount() / 30_000).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert view.flips().float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_another_process_sees_the_same_view() -> None:
    view = View(7, 3, 20)
    content = "from raykd.data import View; v = View(7, 3, 20); print([*v.order().tolist(), *v.flips().tolist()])"
    printed = subprocess.run([sys.executable, "-c", content], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str([*view.order().tolist(), *view.flips().tolist()])


@given(
    seeds, st.integers(1, 6), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.booleans()
)
@settings(deadline=None)
def test_augment_equals_the_oracle(
    seed: int, count: int, channels: int, height: int, width: int, padding: int, flip: bool
) -> None:
    images = torch.randint(0, 256, (count, channels, height, width), generator=torch.Generator().manual_seed(seed))
    images = images.to(torch.uint8)
    view = View(seed, 0, count)
    offsets, flips = view.offsets(padding), view.flips() if flip else view.no_flips()
    augmented = augment(images, offsets, flips, padding)
    assert augmented.dtype == torch.uint8
    assert torch.equal(augmented, one_by_one(images, offsets, flips, padding))
    if padding == 0 and not flip:
        assert torch.equal(augmented, images)
    for row in range(count):
        here = slice(row, row + 1)
        assert torch.equal(augment(images[here], offsets[here], flips[here], padding), augmented[here])


def test_augmented_and_scaled_on_a_gpu() -> None:
    with FakeTensorMode():
        images = torch.empty(6, 3, 8, 10, dtype=torch.uint8, device="cuda")
        offsets = torch.empty(6, 2, dtype=torch.int64, device="cuda")
        augmented = augment(images, offsets, torch.empty(6, dtype=torch.bool, device="cuda"), 2)
        pixels = as_pixels(augmented)
    assert (augmented.device.type, augmented.dtype, augmented.shape) == ("cuda", torch.uint8, (6, 3, 8, 10))
    assert (pixels.device.type, pixels.dtype, pixels.shape) == ("cuda", torch.float32, (6, 3, 8, 10))
    assert pixels.is_contiguous(memory_format=torch.channels_last)
