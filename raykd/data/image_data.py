"""A loaded data set: its description and its splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raykd.config import Crop, Interpolation, PreprocessingSettings
from raykd.data.augmentation import NONE, Augmentation
from raykd.data.file_names import some_of
from raykd.data.image_files import Ignored
from raykd.data.noise import noisy
from raykd.data.rows import Rows, fold_numbers
from raykd.errors import RaykdError, unknown_name
from raykd.fingerprints import without_fold
from raykd.seeds import seed_of


@dataclass(frozen=True)
class DataInfo:
    """Facts about a data set as the settings cut and resized it; plain values, fit for JSON.

    Attributes:
        name: ``data.name`` of the settings.
        num_classes: Number of classes.
        class_names: Names in the order of the labels.
        channels, height, width: Shape of every image.
        mean, std: Per channel, of images in [0, 1]: of the training split (streamed: ImageNet's published figures).
        split_sizes: Images of each split.
        fingerprint: sha256 (hex) of all splits: pixels and labels, or (streamed) file names, sizes, labels and image
            size. Equal fingerprints mean equal images in equal order. Label noise does not change it.
        seed: Seeds the views.
        crop_padding: Pixels of zero padding for the random crop (streamed: 0, they use random resized crops).
        horizontal_flip: Whether half of the training images are flipped left to right.
        augmentation: What else changes training images.
        resize, crop, interpolation: As in the settings; how held-out images are cropped out of streamed ones.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    split_sizes: Mapping[str, int]
    fingerprint: str
    seed: int
    crop_padding: int
    horizontal_flip: bool
    resize: int | None = None
    crop: Crop = "center"
    interpolation: Interpolation = "bilinear"
    augmentation: Augmentation = NONE

    @property
    def resized_to(self) -> int:
        """The shorter side of a streamed held-out image before its centre is cropped; 0: as it is."""
        if self.resize is not None:
            return self.resize
        # As usual for ImageNet: 224 pixels cropped from a shorter side of 256.
        return self.height if self.crop == "squash" else round(self.height * 256 / 224)

    def wanted_by(self, wanted: PreprocessingSettings) -> DataInfo:
        """The same data as a network sees it that wants its images so; None: as they are.

        Raises:
            RaykdError: Mean and std are neither one number nor one a channel.
        """
        size, crop = wanted.image_size, wanted.crop or self.crop
        same = size in (None, self.height) and crop == self.crop
        return replace(
            self,
            height=size or self.height,
            width=size or self.width,
            resize=self.resize if same and wanted.resize is None else wanted.resize,
            crop=crop,
            interpolation=wanted.interpolation or self.interpolation,
            mean=per_channel(wanted.mean, self.channels, "teacher.mean") or self.mean,
            std=per_channel(wanted.std, self.channels, "teacher.std") or self.std,
        )

    @property
    def summary(self) -> str:
        """Name, sizes, shape and classes, in a line."""
        sizes = ", ".join(f"{size:,} {split}" for split, size in self.split_sizes.items())
        shape = f"{self.channels} x {self.height} x {self.width}"
        classes = f"{self.num_classes} classes ({some_of(self.class_names)})"
        return f"{self.name}: {sizes} images of {shape}, {classes}"

    @property
    def held_out(self) -> str:
        """The split that networks are evaluated on: test where the validation images are part of the training split."""
        return "validation" if "validation" in self.split_sizes else "test"


@dataclass(frozen=True)
class ArraySplit:
    """Images in memory.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.int64]) -> ArraySplit:
        """These rows, in this order."""
        index = torch.from_numpy(rows)
        return ArraySplit(self.images[index], self.labels[index])

    def joined(self, other: ArraySplit) -> ArraySplit:
        """These rows, then the other's."""
        return ArraySplit(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def to(self, device: torch.device) -> ArraySplit:
        """The same rows on a device; no copy where they already are there."""
        return ArraySplit(self.images.to(device), self.labels.to(device))

    def digest(self) -> bytes:
        """sha256 of shape, pixels and labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().numpy().data)
        return digest.digest()


@dataclass(frozen=True)
class FileSplit:
    """Images in files, decoded as they are needed.

    Attributes:
        root: Folder that the names are relative to.
        names: File names (N,) as bytes: millions of str objects would be copied into each loader process.
        file_sizes: Bytes of each file, int64 (N,).
        labels: int64 (N,).
    """

    root: Path
    names: npt.NDArray[np.bytes_]
    file_sizes: npt.NDArray[np.int64]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        """The file of a row."""
        return self.root / os.fsdecode(self.names[index])

    def take(self, rows: npt.NDArray[np.int64]) -> FileSplit:
        """These rows, in this order."""
        return FileSplit(self.root, self.names[rows], self.file_sizes[rows], self.labels[torch.from_numpy(rows)])

    def joined(self, other: FileSplit) -> FileSplit:
        """These rows, then the other's."""
        return FileSplit(
            self.root,
            np.concatenate([self.names, other.names]),
            np.concatenate([self.file_sizes, other.file_sizes]),
            torch.cat([self.labels, other.labels]),
        )

    def digest(self) -> bytes:
        """sha256 of names, file sizes and labels."""
        digest = hashlib.sha256(b"\n".join(self.names.tolist()))
        digest.update(self.file_sizes.data)
        digest.update(self.labels.numpy().data)
        return digest.digest()


Split = ArraySplit | FileSplit


@dataclass(frozen=True)
class ImageData:
    """A loaded data set.

    Attributes:
        info: Its description.
        splits: ``train``, ``validation`` and ``test``; all in memory or all streamed.
        true_labels: Labels of the training split without label noise, int64 (N,), on the CPU.
        loader_processes: Processes per worker that decode streamed images; None: as many as suit it.
        ignored: What lies in its folders and was not read. None: it is not in class folders.
    """

    info: DataInfo
    splits: Mapping[str, Split]
    true_labels: Tensor
    loader_processes: int | None
    ignored: Ignored | None = None

    @property
    def streamed(self) -> bool:
        """Whether images are decoded from files as they are needed."""
        return isinstance(self.splits["train"], FileSplit)

    def split(self, name: str) -> Split:
        """A split by name.

        Raises:
            RaykdError: There is no such split.
        """
        if name not in self.splits:
            raise unknown_name("split", name, self.splits, where=f"data set {self.info.name!r}")
        return self.splits[name]

    def to(self, device: torch.device | str) -> ImageData:
        """The same data with in-memory images on a device, once for all that is made from it; streamed: unchanged."""
        device = torch.device(device)
        splits = {name: s.to(device) if isinstance(s, ArraySplit) else s for name, s in self.splits.items()}
        return replace(self, splits=splits)

    def seen_as(self, info: DataInfo) -> ImageData:
        """The same streamed images in the size, and cropped in the way, of another description.

        Images in memory stay as they are: who wants them in another size resizes them.
        """
        names = ("height", "width", "resize", "crop", "interpolation")
        other = replace(self.info, **{name: getattr(info, name) for name in names})
        return replace(self, info=other) if self.streamed and other != self.info else self

    def with_views_of(self, seed: int, augmentation: Augmentation | None = None) -> ImageData:
        """The same images under views of another seed, and of another augmentation; None: of the same.

        Raises:
            RaykdError: The images have no such colours as it changes.
        """
        augmentation = augmentation or self.info.augmentation
        augmentation.check(self.info.channels)
        return replace(self, info=replace(self.info, seed=seed, augmentation=augmentation))

    def with_validation_in_train(self) -> ImageData:
        """The data whose train split is train, then validation; only ``test`` is left beside it.

        Mean and std stay those of the train split alone, so that networks of either data see the same inputs. Indices
        and fingerprint are those of the new split.
        """
        train, validation = self.splits["train"], self.splits["validation"]
        if isinstance(train, ArraySplit) and isinstance(validation, ArraySplit):
            joined: Split = train.joined(validation)
        else:
            assert isinstance(train, FileSplit)
            assert isinstance(validation, FileSplit)
            joined = train.joined(validation)
        splits: dict[str, Split] = {"train": joined, "test": self.splits["test"]}
        info = self.info
        sizes = {name: len(split) for name, split in splits.items()}
        info = replace(info, split_sizes=sizes, fingerprint=fingerprint(splits, info))
        return replace(self, info=info, splits=splits, true_labels=joined.labels)

    def with_label_noise(self, share: float, seed: int) -> ImageData:
        """The data with this share of the training labels replaced by other classes."""
        labels = noisy(self.true_labels, share, self.info.num_classes, seed)
        return replace(self, splits={**self.splits, "train": replace(self.splits["train"], labels=labels)})

    def folds(self, count: int, seed: int) -> Rows:
        """The fold of each training image, int64 (N,) in [0, count), for teachers that each lack one.

        Label noise does not move it. `seed` is `data.seed`.

        Raises:
            RaykdError: A class has fewer training images than there are folds.
        """
        return fold_numbers(self.true_labels.numpy(), count, seed_of("teacher folds", seed), "teacher.folds")

    def without_fold(self, fold: int, count: int, seed: int) -> ImageData:
        """The data without one fold of the training images; mean and std stay, so that networks see the same inputs."""
        rows = np.flatnonzero(self.folds(count, seed) != fold)
        info = self.info
        sizes = {**info.split_sizes, "train": len(rows)}
        info = replace(info, split_sizes=sizes, fingerprint=without_fold(info.fingerprint, fold, count, seed))
        splits = {**self.splits, "train": self.splits["train"].take(rows)}
        return replace(self, info=info, splits=splits, true_labels=self.true_labels[torch.from_numpy(rows)])


def fingerprint(splits: Mapping[str, Split], info: DataInfo) -> str:
    """sha256 (hex) over the splits' names and contents, the image size, and how streamed images are cropped to it."""
    digest = hashlib.sha256(f"{info.height}x{info.width}".encode())
    how = (info.resized_to, info.crop, info.interpolation)
    if isinstance(splits["train"], FileSplit) and how != (round(info.height * 256 / 224), "center", "bilinear"):
        digest.update(repr(how).encode())
    for name, split in splits.items():
        digest.update(name.encode())
        digest.update(split.digest())
    return digest.hexdigest()


def per_channel(values: tuple[float, ...] | None, channels: int, name: str) -> tuple[float, ...] | None:
    """One number for each channel, of one for all or one for each.

    Raises:
        RaykdError: There are neither one nor as many as channels; it begins with `name`.
    """
    if values is None or len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    raise RaykdError(f"{name}: {len(values)} numbers for images of {channels} channels: give one, or {channels}")
