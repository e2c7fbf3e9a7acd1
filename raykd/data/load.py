"""From a data set's settings to its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import psutil
import torch
from torch import Tensor

from raykd.config import DataSettings, Interpolation
from raykd.data.augmentation import Augmentation
from raykd.data.cifar import read_cifar
from raykd.data.custom import read_custom
from raykd.data.digits import read_digits
from raykd.data.fashion_mnist import read_fashion_mnist
from raykd.data.folders import read_folder, read_imagenet
from raykd.data.image_data import ArraySplit, DataInfo, FileSplit, ImageData, Split, fingerprint, per_channel
from raykd.data.source import Source
from raykd.data.splits import complete_splits
from raykd.errors import RaykdError, unknown_name
from raykd.resizing import resized
from raykd.seeds import seed_of

SOURCES: dict[str, Callable[[DataSettings], Source]] = {
    "digits": read_digits,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar,
    "cifar100": read_cifar,
    "imagenet": read_imagenet,
    "folder": read_folder,
}
"""Readers by ``data.name``. A new data set is one file with a reader, and one line here."""

STREAMED_SIZE = 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_data(settings: DataSettings) -> ImageData:
    """The data set that the settings describe, the same in every process: train, validation and test.

    Where `data.held_out` is test, the validation images are among those of train, and validation is left out. Label
    noise replaces training labels then, and `data.left_out` takes a fold of the training images away last. Class
    folders are streamed; all else lives in memory.

    Raises:
        RaykdError: Unknown name, missing or damaged files, labels that do not fit, or too few images to split.
    """
    source = _reader(settings.name)(settings)
    splits = complete_splits(source.splits, source.class_names, settings)
    _check_memory(splits, settings.image_size)
    splits = {name: _resized(split, settings.image_size, settings.interpolation) for name, split in splits.items()}
    train = splits["train"]
    if isinstance(train, ArraySplit):
        if settings.resize is not None:
            raise RaykdError(
                f"data.resize {settings.resize}: the images of {settings.name} are in memory; they are resized to "
                "data.image_size, and not cropped"
            )
        channels, height, width = train.images.shape[1:]
        mean, std = mean_and_std(train.images)
        padding = source.crop_padding if settings.crop_padding is None else settings.crop_padding
        if padding >= min(height, width) and settings.crop_padding is not None:
            raise RaykdError(
                f"data.crop_padding {padding} of images of {height} x {width}: a crop may miss the whole image: "
                f"give less than {min(height, width)}"
            )
    else:
        channels, height, width = 3, settings.image_size or STREAMED_SIZE, settings.image_size or STREAMED_SIZE
        mean, std, padding = IMAGENET_MEAN, IMAGENET_STD, 0
    flip = settings.horizontal_flip
    augmentation = Augmentation.of(settings)
    augmentation.check(channels)
    info = DataInfo(
        name=settings.name,
        num_classes=len(source.class_names),
        class_names=source.class_names,
        channels=channels,
        height=height,
        width=width,
        mean=per_channel(settings.mean, channels, "data.mean") or mean,
        std=per_channel(settings.std, channels, "data.std") or std,
        split_sizes={name: len(split) for name, split in splits.items()},
        fingerprint="",
        seed=settings.seed_of_views,
        crop_padding=padding,
        horizontal_flip=source.horizontal_flip if flip is None else flip,
        resize=settings.resize,
        crop=settings.crop,
        interpolation=settings.interpolation,
        augmentation=augmentation,
    )
    info = replace(info, fingerprint=fingerprint(splits, info))
    data = ImageData(info, splits, train.labels, settings.loader_processes, source.ignored)
    if settings.held_out == "test":
        data = data.with_validation_in_train()
    if settings.label_noise:
        data = data.with_label_noise(settings.label_noise, seed_of("label noise", settings.seed))
    if settings.left_out is not None:
        data = data.without_fold(*settings.left_out, settings.seed)
    return data


def mean_and_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images (N, C, H, W), in units of [0, 1].

    Computed from the channel's histogram: exact, and the same on every machine. A constant channel gets std 1.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        shares = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (shares * levels).sum()
        means.append(mean.item())
        stds.append((shares * (levels - mean).square()).sum().sqrt().item() or 1.0)
    return tuple(means), tuple(stds)


def _reader(name: str) -> Callable[[DataSettings], Source]:
    if ":" in name:
        return read_custom
    if name not in SOURCES:
        raise unknown_name("data set", name, [*SOURCES, "package.module:function"], where="data.name")
    return SOURCES[name]


def _check_memory(splits: Mapping[str, Split], size: int | None) -> None:
    """Refuse a size at which the images of this machine's data do not fit into its memory."""
    if size is None:
        return
    needed = sum(len(s) * s.images.shape[1] * size**2 for s in splits.values() if isinstance(s, ArraySplit))
    available = psutil.virtual_memory().available
    if needed > available:
        raise RaykdError(
            f"data.image_size {size}: the images would take {needed / 2**30:,.1f} GiB of memory, and "
            f"{available / 2**30:,.1f} GiB are free: give a smaller size"
        )


def _resized(split: Split, size: int | None, interpolation: Interpolation) -> Split:
    if isinstance(split, FileSplit) or size is None or tuple(split.images.shape[2:]) == (size, size):
        return split
    # In chunks: as float32 a whole data set would take four times its memory.
    chunks = [
        resized(chunk.float(), (size, size), interpolation).round_().clamp_(0, 255).byte()
        for chunk in torch.split(split.images, 1024)
    ]
    return ArraySplit(torch.cat(chunks), split.labels)
