"""Label noise: so many training labels are wrong, everything else is as it was. And folds that it does not move."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raykd.config import DataSettings
from raykd.data import ImageData, load_data
from raykd.data.noise import noisy
from raykd.errors import RaykdError
from raykd.fingerprints import without_fold

DIGITS = DataSettings(train_images=200)


def digits(**settings: object) -> ImageData:
    return load_data(DIGITS.model_copy(update=settings))


@given(st.integers(1, 300), st.floats(0, 1), st.integers(2, 7), st.integers(0, 99))
def test_so_many_labels_are_replaced_by_others(count: int, share: float, classes: int, seed: int) -> None:
    labels = torch.arange(count) % classes
    wrong = noisy(labels, share, classes, seed)
    assert int((wrong != labels).sum()) == round(share * count)
    assert bool(((wrong >= 0) & (wrong < classes)).all())
    assert torch.equal(wrong, noisy(labels, share, classes, seed))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_more_noise_keeps_the_labels_that_less_noise_replaced(one: float, other: float, seed: int) -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    less, more = (noisy(labels, share, 10, seed) for share in sorted((one, other)))
    assert torch.equal(less[less != 0], more[less != 0])


def test_every_other_class_is_as_likely() -> None:
    counts = torch.bincount(noisy(torch.full((30_000,), 3), 1.0, 10, seed=0), minlength=10)
    assert counts[3] == 0
    expected = 30_000 / 9
    assert float((counts[counts > 0] - expected).square().sum() / expected) < 26.1  # chi-square, 8 degrees, p 0.001


def test_only_training_labels_are_replaced() -> None:
    right, wrong = digits(), digits(label_noise=0.2)
    assert int((right.splits["train"].labels != wrong.splits["train"].labels).sum()) == 40
    assert torch.equal(right.splits["train"].images, wrong.splits["train"].images)
    assert torch.equal(wrong.true_labels, right.splits["train"].labels)
    assert wrong.info == right.info
    for name in ("validation", "test"):
        assert torch.equal(right.splits[name].labels, wrong.splits[name].labels)


def test_validation_images_that_are_learned_from_have_wrong_labels_too() -> None:
    right, wrong = digits(held_out="test"), digits(held_out="test", label_noise=0.2)
    count = len(right.splits["train"])
    replaced = right.splits["train"].labels != wrong.splits["train"].labels
    assert int(replaced.sum()) == round(0.2 * count)
    assert 0 < int(replaced[200:].sum()) < count - 200
    assert torch.equal(right.splits["test"].labels, wrong.splits["test"].labels)


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_folds_hold_each_image_once_and_each_class_alike(held_out: str) -> None:
    data = digits(held_out=held_out)
    folds = torch.from_numpy(data.folds(4, seed=0))
    assert len(folds) == len(data.splits["train"])
    counts = torch.stack([torch.bincount(data.true_labels[folds == fold], minlength=10) for fold in range(4)])
    assert int((counts.max(0).values - counts.min(0).values).max()) <= 1


def test_noise_does_not_move_the_folds_and_the_seed_does() -> None:
    folds = digits().folds(4, seed=0)
    assert (digits(label_noise=0.5).folds(4, seed=0) == folds).all()
    assert (digits().folds(4, seed=1) != folds).any()


@pytest.mark.parametrize("label_noise", [0.0, 0.3])
def test_data_without_a_fold(label_noise: float) -> None:
    whole, left = digits(label_noise=label_noise), digits(label_noise=label_noise, left_out=(1, 4))
    kept = torch.from_numpy(whole.folds(4, seed=0)) != 1
    assert torch.equal(left.splits["train"].images, whole.splits["train"].images[kept])
    assert torch.equal(left.splits["train"].labels, whole.splits["train"].labels[kept])
    assert torch.equal(left.true_labels, whole.true_labels[kept])
    assert left.info.split_sizes["train"] == int(kept.sum())
    assert (left.info.mean, left.info.std) == (whole.info.mean, whole.info.std)
    assert left.info.fingerprint == without_fold(whole.info.fingerprint, 1, 4, 0)
    assert torch.equal(left.splits["validation"].images, whole.splits["validation"].images)


def test_fingerprints_differ_by_fold_count_and_seed() -> None:
    prints = {without_fold("x", *numbers) for numbers in ((0, 4, 0), (1, 4, 0), (0, 5, 0), (0, 4, 1))}
    assert len(prints | {"x"}) == 5


def test_a_class_with_fewer_images_than_folds_is_named() -> None:
    with pytest.raises(RaykdError, match=r"^teacher\.folds 30: the smallest class has 19 training images"):
        digits().folds(30, seed=0)
