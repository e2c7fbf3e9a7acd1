"""Mixup and CutMix: pairs of the view's order, torchvision's distributions and mixtures, the same for all workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2

from raykd.config import AugmentSettings, DataSettings
from raykd.data import Augmentation, Batch, ImageData, View, load_data, training_batches
from raykd.data.mixing import Mixing, partners_in
from raykd.knowledge.mixed_labels import MixedLabels
from tests.helpers.genuine_data import write_images

STRONG = AugmentSettings(policy="randaugment", erasing=0.3, color_jitter=0.2)


def mixing_of(view: View, height: int = 28, width: int = 28, **alphas: float) -> Mixing:
    mixing = Mixing.of(view, Augmentation.of(DataSettings(**alphas)), height, width)
    assert mixing is not None
    return mixing


@given(st.integers(1, 60), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_neighbours_in_the_order_are_partners(size: int, seed: int) -> None:
    order = View(seed, 0, size).order().tolist()
    partners = partners_in(torch.tensor(order)).tolist()
    for first, second in zip(order[::2], order[1::2], strict=False):
        assert (partners[first], partners[second]) == (second, first)
    if size % 2:
        assert partners[order[-1]] == order[max(size - 2, 0)]


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 41))
@settings(deadline=None, max_examples=40)
def test_all_that_a_batch_needs_are_its_images_and_the_missing_partners(size: int, start: int, count: int) -> None:
    view = View(0, 0, size)
    mixing = mixing_of(view, mixup=0.4)
    rows = view.order()[start : start + count]
    needed, places = mixing.with_partners(rows)
    assert torch.equal(needed[: len(rows)], rows)
    assert torch.equal(needed[places], mixing.partners[rows])
    assert len(needed.unique()) == len(needed) <= len(rows) + 2


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_and_boxes_are_drawn_as_torchvision_draws_them(alpha: float) -> None:
    image = [torch.zeros(4, 3, 20, 33)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cuts = [v2.CutMix(alpha=alpha, num_classes=2).make_params(image) for _ in range(2000)]
        means = [v2.MixUp(alpha=alpha, num_classes=2).make_params(image)["lam"] for _ in range(2000)]
    view = View(0, 4, 10_000)
    ours, mixup = mixing_of(view, 20, 33, cutmix=alpha), mixing_of(view, 20, 33, mixup=alpha)
    assert stats.ks_2samp(mixup.shares.numpy(), means).pvalue > 1e-3
    assert not mixup.boxes.any()
    assert stats.ks_2samp(ours.shares.numpy(), [each["lam_adjusted"] for each in cuts]).pvalue > 1e-3
    for column, edge in zip(ours.boxes.unbind(1), (1, 0, 3, 2), strict=True):
        assert stats.ks_2samp(column.numpy(), [each["box"][edge] for each in cuts]).pvalue > 1e-3
    area = (ours.boxes[:, 2] - ours.boxes[:, 0]) * (ours.boxes[:, 3] - ours.boxes[:, 1])
    torch.testing.assert_close(ours.shares, (1 - area / (20 * 33)).float())
    both = mixing_of(view, 20, 33, mixup=0.3, cutmix=1.0)
    assert (both.boxes[:, 2] > 0).double().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("alphas", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 0.8}], ids=str)
def test_batches_are_torchvisions_mixtures_of_augmented_images(alphas: dict[str, float]) -> None:
    """Two of the view at a time go through torchvision's MixUp or CutMix with the parameters of the view."""
    plain = load_data(DataSettings(train_images=101, augment=STRONG))
    data = load_data(DataSettings(train_images=101, augment=STRONG, **alphas))
    (whole,), (mixed,) = (list(training_batches(each, batch_size=101).epoch(2)) for each in (plain, data))
    assert torch.equal(whole.indices, mixed.indices)
    assert mixed.mixed is not None
    place = whole.indices.argsort()
    mixing = mixing_of(View(data.info.seed, 2, 101), 8, 8, **alphas)
    for row, index in enumerate(mixed.indices.tolist()):
        # roll(1) of a batch of two is its reverse.
        pair = torch.stack([whole.pixels[row], whole.pixels[place[mixing.partners[index]]]])
        labels = torch.stack([whole.labels[row], whole.labels[place[mixing.partners[index]]]])
        top, left, bottom, right = mixing.boxes[index].tolist()
        lam = mixing.shares[index].item()
        theirs: Any = v2.MixUp(num_classes=10)
        params = {"lam": lam}
        if bottom > top and right > left:
            theirs, params = v2.CutMix(num_classes=10), {"lam_adjusted": lam, "box": (left, top, right, bottom)}
        params |= {"labels": labels, "batch_size": 2}
        torch.testing.assert_close(mixed.pixels[row], theirs.transform(pair, params)[0], rtol=0, atol=1e-6)
        soft = torch.zeros(10)
        soft[mixed.labels[row]] += mixed.mixed.shares[row]
        soft[mixed.mixed.others[row]] += 1 - mixed.mixed.shares[row]
        torch.testing.assert_close(soft, theirs.transform(labels, params)[0])
    assert mixed.mixed.shares.min() >= 0.5


def joined(steps: tuple[Batch, ...]) -> list[torch.Tensor]:
    found = [step.mixed for step in steps]
    assert all(isinstance(each, MixedLabels) for each in found)
    tensors = [
        (step.pixels, step.labels, step.indices, each.others, each.shares)
        for step, each in zip(steps, found, strict=True)
        if each
    ]
    return [torch.cat(column) for column in zip(*tensors, strict=True)]


def folder_of(root: Path, **more: Any) -> ImageData:
    settings = {"image_size": 16, "loader_processes": 0, "augment": STRONG, "mixup": 0.4, "cutmix": 1.0, **more}
    return load_data(DataSettings(name="folder", root=root, **settings))


@pytest.mark.parametrize("source", ["memory", "folder"])
def test_neither_workers_nor_batch_size_nor_loader_processes_change_a_mixed_image(source: str, tmp_path: Path) -> None:
    write_images(tmp_path)
    if source == "folder":
        data = folder_of(tmp_path)
        others = [folder_of(tmp_path, loader_processes=1)]
    else:
        data = load_data(DataSettings(train_images=60, augment=STRONG, mixup=0.4, cutmix=1.0))
        others = []
    state = torch.get_rng_state()
    one = training_batches(data, batch_size=7)
    epoch = list(one.epoch(1))
    team = [training_batches(data, batch_size=7, rank=rank, workers=2) for rank in range(2)]
    for whole, *parts in zip(epoch, *(each.epoch(1) for each in team), strict=True):
        for ours, theirs in zip(joined((whole,)), joined(tuple(parts)), strict=True):
            assert torch.equal(ours, theirs)
    known = {int(index): pixels for batch in epoch for index, pixels in zip(batch.indices, batch.pixels, strict=True)}
    elsewhere = [training_batches(data, batch_size=10).epoch(1)]
    elsewhere += [training_batches(other, batch_size=7).epoch(1) for other in others]
    if source == "memory":
        elsewhere.append(one.view(1))  # type: ignore[attr-defined]
    for batches in elsewhere:
        seen = [(int(i), pixels) for batch in batches for i, pixels in zip(batch.indices, batch.pixels, strict=True)]
        assert all(torch.equal(pixels, known[index]) for index, pixels in seen if index in known)
        assert len(seen) >= 10
    assert not torch.equal(next(iter(one.epoch(2))).pixels, epoch[0].pixels)
    assert torch.equal(torch.get_rng_state(), state)


def test_folders_get_torchvisions_augmentation(tmp_path: Path) -> None:
    """A folder's images go through torchvision's own transforms, seeded by view and index."""
    write_images(tmp_path)
    plain = folder_of(tmp_path, augment=AugmentSettings(), mixup=0.0, cutmix=0.0)
    for augment in (STRONG, AugmentSettings(policy="trivialaugment"), AugmentSettings(resized_crop=1.0)):
        changed = folder_of(tmp_path, augment=augment, mixup=0.0, cutmix=0.0)
        first, again, before = (
            torch.cat([batch.pixels for batch in training_batches(data, batch_size=6).epoch(0)])
            for data in (changed, changed, plain)
        )
        assert torch.equal(first, again)
        assert (first != before).flatten(1).any(1).float().mean() > 0.5
    (erased,) = training_batches(
        folder_of(tmp_path, augment=AugmentSettings(erasing=1.0), mixup=0.0, cutmix=0.0), batch_size=19
    ).epoch(0)
    mean = torch.tensor([round(255 * each) for each in plain.info.mean]).view(3, 1, 1) / 255
    painted = (erased.pixels == mean).all(1).flatten(1).sum(1)
    assert np.all(painted.numpy() >= 1)
