"""The images that networks see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from pydantic import Field, field_validator, model_validator

from raykd.config.augment import AugmentSettings
from raykd.config.preprocessing import Crop, Interpolation, Mean, Std
from raykd.settings import Address, Count, CountOrZero, NonNegative, OpenShare, Settings, Share

DOWNLOADABLE = ("cifar10", "cifar100", "fashion_mnist")
"""Data sets that `data.download` can fetch."""


class DataSettings(Settings):
    """The images that the networks see, and how they are split and augmented."""

    name: str = "digits"
    """digits, fashion_mnist, cifar10, cifar100, imagenet, folder, or an import path `package.module:function`."""
    root: Annotated[str | Path | None, Address] = None
    """Folder that holds the data set's files, or a URL that each node fetches once into `cache`: an archive (.tar,
    .tar.gz, .tgz, .zip) at http(s)://, or a folder or archive at s3://, gs://, abfs:// or file://. None: where the data
    set is usually found on this machine."""
    download: bool = False
    """Fetch cifar10, cifar100 or fashion_mnist, once a node, where it is not found."""
    cache: Path = Path("~/.cache/raykd/data")
    """Each node's own folder for data that it fetches."""
    validation_share: OpenShare = 0.2
    """Share of the training images cut off for validation where the data set brings no validation split."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validated search: each trial trains a student on each of so many splits of the training images, and its
    accuracy is their mean. Instead of `validation_share`; for data sets that bring no validation split."""
    fold: Annotated[CountOrZero, tyro.conf.Suppress] = 0
    """Which of the folds is the validation split. A study looks at all of them, everything else at the first."""
    test_share: OpenShare = 0.2
    """Share of all images cut off for testing where the data set brings no test split."""
    train_images: Count | None = None
    """Use only this many training images, stratified. None: all."""
    seed: CountOrZero = 0
    """Seeds the splits and the views (augmentations and order of each epoch)."""
    view_seed: CountOrZero | None = None
    """Seeds the views alone, so that they may differ on the same splits. None: `seed`."""
    held_out: Annotated[Literal["validation", "test"], tyro.conf.Suppress] = "validation"
    """What networks are measured on. test: learn from train and validation, be measured on test; only confirm does."""
    label_noise: Share = 0.0
    """Share of the training labels that are replaced by other classes, drawn at random: how a method bears wrong labels
    or a poor teacher. Labels of the other splits stay right."""
    left_out: Annotated[tuple[CountOrZero, Count] | None, tyro.conf.Suppress] = None
    """Which fold of how many the training images lack. Only the teachers of `teacher.folds` lack one."""
    crop_padding: CountOrZero | None = None
    """Pixels of zero padding for the random crop of in-memory images. None: usual for the data set (CIFAR: 4)."""
    horizontal_flip: bool | None = None
    """Flip half of the training images left to right. None: usual for the data set (no flips of digits)."""
    augment: AugmentSettings = AugmentSettings()
    mixup: NonNegative = 0.0
    """Mix each training image, and its label, with another: the image's share is drawn from Beta(mixup, mixup) (arXiv
    1710.09412). 0: not. With `cutmix` as well, one of the two is drawn for each image."""
    cutmix: NonNegative = 0.0
    """Paste a rectangle of another image into each training image, and mix the labels by area, which is drawn from
    Beta(cutmix, cutmix) (arXiv 1905.04899). 0: not."""
    image_size: Count | None = None
    """Height and width in pixels: streamed images are cropped to it, in-memory ones resized. None: the data set's own
    (streamed: 224)."""
    resize: CountOrZero | None = None
    """Held-out images of folders: their shorter side in pixels before the crop of `image_size` at the centre. 0: images
    are not resized. None: 256/224 of `image_size`, as is usual for ImageNet."""
    crop: Crop = "center"
    """Held-out images of folders. center: the shorter side is resized, and the centre cropped; squash: both sides are
    resized (to `resize`, or `image_size`), whatever the image's aspect ratio."""
    interpolation: Interpolation = "bilinear"
    """How images are resized: bilinear, bicubic or nearest."""
    mean: Annotated[Mean, Field(min_length=1)] | None = None
    """Subtracted from images in [0, 1]: one number, or one a channel. None: the training images' (folders:
    ImageNet's)."""
    std: Annotated[Std, Field(min_length=1)] | None = None
    """What images are divided by then: one number, or one a channel. None: the training images' (folders:
    ImageNet's)."""
    loader_processes: CountOrZero | None = None
    """Processes per worker that decode streamed images; in-memory data needs none. None: 4, or as many as the worker
    has CPU threads where these are fewer."""

    @field_validator("root")
    @classmethod
    def _folder_or_url(cls, root: str | Path | None) -> str | Path | None:
        return Path(root) if isinstance(root, str) and "://" not in root else root

    @model_validator(mode="after")
    def _can_be_downloaded(self) -> Self:
        if self.download and self.name not in DOWNLOADABLE:
            raise ValueError(
                f"data.download fetches {', '.join(DOWNLOADABLE)}, not {self.name}: "
                "leave it out, or name a URL with data.root"
            )
        return self

    @model_validator(mode="after")
    def _can_be_resized(self) -> Self:
        if self.resize == 0 and self.crop == "squash":
            raise ValueError("data.resize 0 does not resize images, and data.crop squash does: leave one out")
        return self

    @model_validator(mode="after")
    def _is_one_of_the_folds(self) -> Self:
        if self.fold >= (self.folds or 1):
            raise ValueError(f"data.fold {self.fold} is none of {self.folds or 1}: the first one is 0")
        return self

    @property
    def mixing(self) -> str | None:
        """The setting that mixes images, with its value; None if none does."""
        if self.mixup:
            return f"data.mixup {self.mixup:g}"
        return f"data.cutmix {self.cutmix:g}" if self.cutmix else None

    @property
    def seed_of_views(self) -> int:
        """What seeds the views."""
        return self.seed if self.view_seed is None else self.view_seed
