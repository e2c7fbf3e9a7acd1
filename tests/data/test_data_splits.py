"""Splits are disjoint, complete, stratified and decided by the seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raykd.config import DataSettings
from raykd.data.image_data import ArraySplit
from raykd.data.rows import stratified_rows
from raykd.data.splits import complete_splits
from raykd.errors import RaykdError

class_counts = st.lists(st.integers(3, 40), min_size=2, max_size=6)


def numbered(counts: list[int]) -> ArraySplit:
    """A split whose one-pixel images are numbered over two channels; classes are mixed."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    numbers = torch.arange(len(labels))
    images = torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8)
    return ArraySplit(images.view(-1, 2, 1, 1), labels)


def numbers(split: Any) -> list[int]:
    high, low = split.images.long().flatten(1).unbind(1)
    found: list[int] = (high * 256 + low).tolist()
    return found


def complete(given_splits: dict[str, Any], classes: int, **settings: Any) -> dict[str, Any]:
    names = [f"class {label}" for label in range(classes)]
    return complete_splits(given_splits, names, DataSettings(**settings))


@given(class_counts, st.integers(0, 100))
@settings(deadline=None)
def test_cut_splits(counts: list[int], seed: int) -> None:
    whole = numbered(counts)
    try:
        splits = complete({"train": whole}, len(counts), validation_share=0.25, test_share=0.3, seed=seed)
    except RaykdError:  # too few images for the shares; tested below
        assume(False)
    assert list(splits) == ["train", "validation", "test"]
    rows = [numbers(split) for split in splits.values()]
    assert sorted(number for row in rows for number in row) == list(range(sum(counts)))
    for split, row in zip(splits.values(), rows, strict=True):
        assert torch.equal(split.labels, whole.labels[row])
        assert set(split.labels.tolist()) == set(range(len(counts)))
    again = complete({"train": whole}, len(counts), validation_share=0.25, test_share=0.3, seed=seed)
    assert [numbers(split) for split in again.values()] == rows


@given(class_counts, st.integers(0, 100), st.data())
@settings(deadline=None)
def test_stratified_rows(counts: list[int], seed: int, data: st.DataObject) -> None:
    labels = numbered(counts).labels.numpy()
    count = data.draw(st.integers(len(counts), len(labels)))
    rows = stratified_rows(labels, count, seed, keep=0)
    assert len(rows) == len(set(rows.tolist())) == count
    chosen = np.bincount(labels[rows], minlength=len(counts))
    assert chosen.min() >= 1
    exact = np.array(counts) * count / len(labels)
    if exact.min() >= 1:
        assert np.abs(chosen - exact).max() < 1
    assert stratified_rows(labels, count, seed, keep=1).size <= count
    assert (
        np.bincount(np.delete(labels, stratified_rows(labels, count, seed, keep=1)), minlength=len(counts)).min() >= 1
    )


def test_the_seed_decides() -> None:
    rows = {tuple(numbers(complete({"train": numbered([40, 40])}, 2, seed=seed)["test"])) for seed in range(5)}
    assert len(rows) == 5


def test_splits_that_the_data_brings_stay() -> None:
    train, test = numbered([10, 10]), numbered([3, 4])
    splits = complete({"train": train, "test": test}, 2)
    assert splits["test"] is test
    assert (len(splits["train"]), len(splits["validation"])) == (16, 4)


def test_a_limit_touches_train_alone() -> None:
    whole = numbered([60, 30])
    free, limited = complete({"train": whole}, 2), complete({"train": whole}, 2, train_images=9)
    assert limited["train"].labels.bincount().tolist() == [6, 3]
    assert set(numbers(limited["train"])) < set(numbers(free["train"]))
    for name in ("validation", "test"):
        assert numbers(limited[name]) == numbers(free[name])


@pytest.mark.parametrize(
    ("counts", "classes", "settings", "message"),
    [
        ([5, 1], 2, {}, r"class 'class 1' has a single image to train with: too few to cut a test split from"),
        ([5, 2], 2, {"test_share": 0.3}, r"class 'class 1' has a single image .* cut a validation split from"),
        ([50, 50], 2, {"test_share": 0.01}, r"data.test_share 0.01 of 100 images is 1: each of the 2 classes"),
        ([50, 50], 2, {"validation_share": 0.999}, r"data.validation_share 0.999 of 80 images is 80"),
        ([50, 50], 2, {"train_images": 1}, r"data.train_images 1: the training split has 64 images of 2 classes"),
        ([50, 50], 2, {"train_images": 65}, r"data.train_images 65: the training split has 64 images"),
        ([50, 0], 2, {}, r"class 'class 1' \(label 1\) has no training images"),
        ([50, 50], 1, {}, r"labels of the train split run from 0 to 1, but 1 classes have labels 0 to 0"),
        ([50], 1, {}, r"there is only one class, 'class 0'"),
        ([0], 1, {}, r"the train split has no images"),
    ],
)
def test_splits_that_cannot_be_cut(counts: list[int], classes: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        complete({"train": numbered(counts)}, classes, **settings)


def test_negative_labels() -> None:
    split = numbered([5, 5])
    with pytest.raises(RaykdError, match=r"labels of the test split run from -1 to 0"):
        complete({"train": split, "test": ArraySplit(split.images, split.labels - 1)}, 2)


@given(class_counts, st.integers(2, 3), st.integers(0, 100))
@settings(deadline=None)
def test_folds_are_each_validation_once(counts: list[int], folds: int, seed: int) -> None:
    whole = numbered([count + 3 for count in counts])
    cuts = [
        complete({"train": whole, "test": whole}, len(counts), folds=folds, fold=fold, seed=seed)
        for fold in range(folds)
    ]
    held_out = [number for cut in cuts for number in numbers(cut["validation"])]
    assert sorted(held_out) == sorted(numbers(whole))
    for cut in cuts:
        assert sorted(numbers(cut["train"]) + numbers(cut["validation"])) == sorted(numbers(whole))
        shares = torch.bincount(cut["validation"].labels) * folds
        assert (shares - torch.bincount(whole.labels)).abs().max() < folds
    other = complete({"train": whole, "test": whole}, len(counts), folds=folds, fold=1, seed=seed + 1)
    assert numbers(other["validation"]) != numbers(cuts[1]["validation"])


def test_folds_that_cannot_be_cut_are_refused() -> None:
    whole = numbered([9, 4])
    with pytest.raises(RaykdError, match=r"data\.folds 5: the smallest class has 4 training images"):
        complete({"train": whole, "test": whole}, 2, folds=5)
    with pytest.raises(RaykdError, match=r"data\.folds cuts validation splits .* but digits brings one: leave it out"):
        complete({"train": whole, "test": whole, "validation": whole}, 2, folds=2)
    with pytest.raises(ValueError, match=r"data\.fold 2 is none of 2"):
        DataSettings(folds=2, fold=2)
