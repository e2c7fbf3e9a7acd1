"""One worker's share of a data set: which rows become which batches, and what a batch is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from raykd.data.image_data import ImageData
from raykd.data.mixing import Mixing, Partners
from raykd.data.views import View
from raykd.knowledge.mixed_labels import MixedLabels


@dataclass(frozen=True)
class Batch:
    """One worker's rows of a global batch, on its device.

    Attributes:
        pixels: float32 (B, C, H, W) in [0, 1], after augmentation: what a `Classifier` takes.
        images: The same, normalised with the data's mean and std: what a bare network of this data takes. Both are
            channels-last in memory on a GPU.
        labels: int64 (B,); of mixed images those with the larger share.
        indices: Rows of the samples in their split, int64 (B,).
        mixed: What is mixed into the labels. None: the images have one label each.
    """

    pixels: Tensor
    images: Tensor
    labels: Tensor
    indices: Tensor
    mixed: MixedLabels | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Batch:
        """These rows of the batch, int64 (B',)."""
        mixed = None if self.mixed is None else self.mixed.take(rows)
        return Batch(self.pixels[rows], self.images[rows], self.labels[rows], self.indices[rows], mixed)


@dataclass(frozen=True)
class Plan:
    """Which rows of which split go to one worker's device, and how they become batches.

    Attributes:
        data, split: What is read.
        batch_size: Images of a global batch, over all workers together.
        device: Where the batches go.
        rank, workers: This worker, from 0, and how many there are.
    """

    data: ImageData
    split: str
    batch_size: int
    device: torch.device
    rank: int
    workers: int

    @property
    def share(self) -> int:
        """This worker's rows of each complete global batch."""
        return self.batch_size * (self.rank + 1) // self.workers - self.batch_size * self.rank // self.workers

    @property
    def full_batches(self) -> int:
        """Complete global batches of the split."""
        return len(self.data.split(self.split)) // self.batch_size

    def view(self, number: int) -> View:
        """The split's view of this number."""
        return View(self.data.info.seed, number, len(self.data.split(self.split)))

    def mixing(self, number: int) -> Mixing | None:
        """How the images of the split's view of this number are mixed; None: not at all."""
        info = self.data.info
        return Mixing.of(self.view(number), info.augmentation, info.height, info.width)

    def training_shares(self, order: Tensor) -> Iterator[Tensor]:
        """This worker's contiguous rows of each complete global batch of a view's order (N,)."""
        return self._shares(order[: self.full_batches * self.batch_size])

    def evaluation_shares(self) -> list[Tensor]:
        """This worker's rows of the split in its own order; a last batch too small for all is left to the others."""
        return [rows for rows in self._shares(torch.arange(len(self.data.split(self.split)))) if len(rows)]

    def _shares(self, order: Tensor) -> Iterator[Tensor]:
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield rows[len(rows) * self.rank // self.workers : len(rows) * (self.rank + 1) // self.workers]

    @cached_property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """The data's mean and std, float32 (C, 1, 1), on the device."""
        info = self.data.info
        mean, std = (torch.tensor(figures, device=self.device).view(-1, 1, 1) for figures in (info.mean, info.std))
        return mean, std

    def batch(self, images: Tensor, labels: Tensor, indices: Tensor, partners: Partners | None = None) -> Batch:
        """A batch of uint8 images (B, C, H, W) that are on the device, mixed with their partners if they have any."""
        pixels = as_pixels(images)
        mixed = None
        if partners is not None:
            pixels = partners.mixed_into(pixels, as_pixels(partners.images))
            labels, mixed = partners.labelled(labels)
        mean, std = self.normalisation
        return Batch(pixels, (pixels - mean) / std, labels, indices, mixed)


def as_pixels(images: Tensor) -> Tensor:
    """float32 images in [0, 1] of uint8 ones (B, C, H, W); channels-last in memory on a GPU, where that is faster."""
    layout = torch.channels_last if images.device.type == "cuda" else torch.contiguous_format
    return images.to(torch.float32, memory_format=layout).div_(255)
