"""Augmentation in memory: the kernels and distributions of torchvision's transforms, drawn by the view."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from raykd.config import AugmentSettings, DataSettings
from raykd.data import Augmentation, View, load_data, training_batches
from raykd.data.augmented_images import (
    AugmentedImages,
    crop_table,
    erase,
    erasing_table,
    resized_crops,
    step_tables,
)
from raykd.data.image_data import ArraySplit
from raykd.data.operations import OPERATIONS, STEPS, apply_steps, magnitudes
from raykd.errors import RaykdError

ALL = {"policy": "randaugment", "color_jitter": 0.4, "erasing": 0.5, "resized_crop": 0.3}
THEIRS = {"randaugment": v2.RandAugment(), "trivialaugment": v2.TrivialAugmentWide()}
IMAGES = 20_000


def how(**settings: Any) -> Augmentation:
    return Augmentation.of(DataSettings(augment=AugmentSettings(**settings)))


def random_images(count: int, channels: int = 3, height: int = 12, width: int = 15) -> Tensor:
    draw = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, channels, height, width), generator=draw).byte()
    images[::3] //= 4  # dark ones, which have room for contrast
    images[1::4] = images[1::4, :1]  # grey ones, whose blends lie on the edge between two levels
    return images


@pytest.mark.parametrize("policy", THEIRS)
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_torchvisions_image_by_image(policy: str, channels: int) -> None:
    table = magnitudes(policy == "trivialaugment", 12, 15)
    operations, steps = torch.meshgrid(torch.arange(len(OPERATIONS)), torch.arange(STEPS), indexing="ij")
    operations, steps = operations.reshape(-1, 1), steps.reshape(-1, 1)
    values = table[operations, steps]
    values[1::2] *= torch.where(operations[1::2].sub(1).abs() < 9, -1, 1) * (operations[1::2] > 0)
    images = random_images(len(values), channels)
    changed = apply_steps(images, operations, values)
    theirs = THEIRS[policy]
    for image, name, value, ours in zip(
        images, operations.flatten().tolist(), values.flatten().tolist(), changed, strict=True
    ):
        expected = theirs._apply_image_or_video_transform(
            image, OPERATIONS[name], value, interpolation=theirs.interpolation, fill=theirs._fill
        )
        assert torch.equal(ours, expected), (OPERATIONS[name], value)


@pytest.mark.parametrize("policy", THEIRS)
def test_magnitudes_are_torchvisions(policy: str) -> None:
    space = THEIRS[policy]._AUGMENTATION_SPACE
    assert tuple(space) == OPERATIONS
    table = magnitudes(policy == "trivialaugment", 12, 15)
    for name, ours in zip(OPERATIONS, table, strict=True):
        values, signed = space[name]
        expected = values(STEPS, 12, 15)
        assert ours.tolist() == ([0.0] * STEPS if expected is None else [float(each) for each in expected])
        drawn = View(3, 0, 4000), how(policy=policy)
        ((operations, chosen),) = step_tables(*drawn, 12, 15)
        found = chosen[operations == OPERATIONS.index(name)]
        assert (found < 0).double().mean().item() == pytest.approx(0.5 * signed, abs=0.1 * signed)


def test_steps_are_drawn_as_torchvision_draws_them() -> None:
    """Operations evenly and apart from each other, RandAugment's of one magnitude, TrivialAugment's of all evenly."""
    ((operations, values),) = step_tables(
        View(0, 1, IMAGES), how(policy="randaugment", magnitude=13, operations=2), 28, 28
    )
    assert operations.shape == (IMAGES, 2)
    counts = torch.bincount(operations[:, 0] * 14 + operations[:, 1], minlength=14**2)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    table = magnitudes(False, 28, 28)[:, 13]
    assert torch.equal(values.abs(), table[operations].abs())
    ((operations, values),) = step_tables(View(0, 1, IMAGES), how(policy="trivialaugment"), 28, 28)
    assert operations.shape == (IMAGES, 1)
    assert stats.chisquare(operations.flatten().bincount(minlength=14).numpy()).pvalue > 1e-3
    rotated = values[operations == OPERATIONS.index("Rotate")].abs()
    counts = (rotated / 135 * (STEPS - 1)).round().long().bincount(minlength=STEPS)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_jitter_is_torchvisions() -> None:
    ((operations, values),) = step_tables(View(0, 0, IMAGES), how(color_jitter=0.4), 8, 8)
    theirs = [v2.ColorJitter(0.4, 0.4, 0.4).make_params([]) for _ in range(2000)]
    names = dict(enumerate(("brightness", "contrast", "saturation")))
    numbers = [OPERATIONS.index(name) for name in ("Brightness", "Contrast", "Color")]
    for name, number in zip(names.values(), numbers, strict=True):
        ours = 1 + values[operations == number]
        assert len(ours) == IMAGES, "each image has each factor once"
        assert stats.ks_2samp(ours.numpy(), [each[f"{name}_factor"] for each in theirs]).pvalue > 1e-3
    assert stats.chisquare(operations[:, 0].bincount(minlength=14)[numbers].numpy()).pvalue > 1e-3
    image = random_images(40)[5:6]
    order, factors = operations[:1], values[:1]
    expected = image
    for number, factor in zip(order[0].tolist(), factors[0].tolist(), strict=True):
        change = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[numbers.index(number)]
        expected = change(expected, 1 + factor)
    assert torch.equal(apply_steps(image, order, factors), expected)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (9, 31)])
def test_crops_and_rectangles_are_drawn_as_torchvision_draws_them(height: int, width: int) -> None:
    """All four numbers of each, apart and as area, against torchvision's own draws."""
    image = [torch.zeros(3, height, width)]
    crop, rectangle = v2.RandomResizedCrop((height, width), scale=(0.2, 1.0)), v2.RandomErasing(p=1.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crops = [crop.make_params(image) for _ in range(3000)]
        erased = [rectangle.make_params(image) for _ in range(3000)]
    erased = [each | {"h": 0, "w": 0} if each["v"] is None else each for each in erased]
    ours = crop_table(View(1, 2, IMAGES), 0.2, height, width)
    theirs = torch.tensor([[each[name] for name in ("top", "left", "height", "width")] for each in crops])
    alike(ours, theirs)
    alike(
        erasing_table(View(1, 2, IMAGES), 1.0, height, width),
        torch.tensor([[each[name] for name in ("i", "j", "h", "w")] for each in erased]),
    )
    some = erasing_table(View(1, 2, IMAGES), 0.25, height, width)
    assert (some[:, 2] > 0).double().mean().item() == pytest.approx(0.25, abs=0.02)


def alike(ours: Tensor, theirs: Tensor) -> None:
    """All columns, and the areas, have the same distribution."""
    ours, theirs = (torch.cat([table, table[:, 2:3] * table[:, 3:]], dim=1) for table in (ours, theirs))
    for one, other in zip(ours.unbind(1), theirs.unbind(1), strict=True):
        assert stats.ks_2samp(one.numpy(), other.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_resized_crops_and_rectangles_are_torchvisions_image_by_image(interpolation: str) -> None:
    images, mode = random_images(60), v2.InterpolationMode(interpolation)
    crops = crop_table(View(0, 0, 60), 0.1, 12, 15)
    fill = torch.tensor([7, 8, 9]).byte().view(3, 1, 1)
    rectangles = erasing_table(View(0, 0, 60), 0.7, 12, 15)
    cropped, erased = resized_crops(images, crops, mode), erase(images, rectangles, fill)
    for row in range(60):
        expected = F.resized_crop(images[row], *crops[row].tolist(), [12, 15], interpolation=mode, antialias=True)
        assert torch.equal(cropped[row], expected)
        assert torch.equal(erased[row], F.erase(images[row], *rectangles[row].tolist(), v=fill))


@pytest.mark.parametrize("settings", [ALL, {"policy": "trivialaugment"}], ids=["all", "trivialaugment"])
def test_an_image_depends_on_seed_view_and_its_index_alone(settings: dict[str, Any]) -> None:
    data = load_data(DataSettings(train_images=200, augment=AugmentSettings(**settings)))
    split = data.split("train")
    assert isinstance(split, ArraySplit)
    state = torch.get_rng_state()
    view = View(data.info.seed, 3, 200)
    whole = AugmentedImages(split.images, data.info, view)(torch.arange(200))
    one = AugmentedImages(split.images, data.info, view)
    assert torch.equal(whole, torch.cat([one(torch.tensor([row])) for row in range(200)]))
    team = [training_batches(data, batch_size=30, rank=rank, workers=2) for rank in range(2)]
    for batches in (*(each.epoch(3) for each in team), team[0].view(3), team[1].view(3)):  # type: ignore[attr-defined]
        for batch in batches:
            assert torch.equal(batch.pixels, whole[batch.indices].float() / 255)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(
        whole, AugmentedImages(split.images, data.info, View(data.info.seed, 4, 200))(torch.arange(200))
    )
    assert (whole != split.images).flatten(1).any(1).sum() > 150


def test_what_changes_nothing_is_no_other_augmentation() -> None:
    assert how(magnitude=20, operations=5) == how() == how(policy="none", magnitude=3)
    assert how(policy="trivialaugment", magnitude=20) == how(policy="trivialaugment")
    assert how(policy="randaugment", magnitude=20) != how(policy="randaugment")
    assert how(**ALL).in_use() == ALL | {"policy": "randaugment"}


@pytest.mark.parametrize("setting", ["policy", "color_jitter"])
def test_images_of_two_channels_have_no_colours(setting: str) -> None:
    settings = AugmentSettings.model_validate({setting: {"policy": "randaugment", "color_jitter": 0.5}[setting]})
    data = DataSettings(name="tests.data.test_augmentation:two_channels", augment=settings)
    with pytest.raises(RaykdError, match=rf"data.augment.{setting} \S+: it is for images of 1 or 3 channels"):
        load_data(data)
    plain = load_data(data.model_copy(update={"augment": AugmentSettings(erasing=1.0, resized_crop=0.5)}))
    assert next(iter(training_batches(plain, batch_size=8).epoch(0))).pixels.shape == (8, 2, 12, 15)


def two_channels() -> tuple[Tensor, Tensor]:
    """Images of two channels, with labels."""
    return random_images(60, 2), torch.arange(60) % 3
