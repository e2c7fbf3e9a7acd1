"""Mixup and CutMix as part of the view: which images are mixed with which, and how.

Neighbours in a view's order are partners: its first and second image, its third and fourth, and so on; in an odd number
of images, the last one's partner is the one before it. So a pair depends neither on batch size nor on workers, is as
random as the order, and mostly lies in one batch, where each of the two is mixed into the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raykd.data.augmentation import Augmentation
from raykd.data.views import View
from raykd.knowledge.mixed_labels import MixedLabels


@dataclass(frozen=True)
class Mixing:
    """How the images of a view are mixed: tables over the training set.

    Attributes:
        partners: The image that each is mixed with, int64 (N,).
        shares: What each keeps of itself, float32 (N,); the rest is its partner's.
        boxes: CutMix: what is its partner's, int64 (N, 4) as top, left, bottom and right. Mixup: all 0, and the whole
            image is a weighted mean.
    """

    partners: Tensor
    shares: Tensor
    boxes: Tensor

    @classmethod
    def of(cls, view: View, how: Augmentation, height: int, width: int) -> Mixing | None:
        """That of a view of images of this size; None where they are not mixed."""
        if not how.mixes:
            return None
        random = np.random.default_rng(view.seed_for("mixing"))
        cut = random.random(view.size) < 0.5 if how.mixup and how.cutmix else np.full(view.size, how.cutmix > 0)
        shares, boxes = _drawn(random, how, cut, height, width)
        return cls(partners_in(view.order()), torch.from_numpy(shares).float(), torch.from_numpy(boxes))

    def with_partners(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images needed for some, int64 (B,): these, then the partners that are not among them, int64 (B',).

        And the place of each one's partner in the needed ones, int64 (B,).
        """
        partners = self.partners[rows]
        needed = torch.cat([rows, torch.unique(partners[~torch.isin(partners, rows)])])
        order = needed.argsort()
        return needed, order[torch.searchsorted(needed[order], partners)]

    def to(self, device: torch.device) -> Mixing:
        """The same on a device."""
        return Mixing(self.partners.to(device), self.shares.to(device), self.boxes.to(device))

    def partners_of(self, rows: Tensor, images: Tensor, labels: Tensor) -> Partners:
        """What these images, int64 (B,), are mixed with: their partners' images (B, C, H, W), and all labels (N,).

        All on one device, where nothing waits for it.
        """
        return Partners(images, labels[self.partners[rows]], self.shares[rows], self.boxes[rows])


@dataclass(frozen=True)
class Partners:
    """What the images of a batch are mixed with: see `Mixing`, row by row, with images and labels; on one device."""

    images: Tensor
    labels: Tensor
    shares: Tensor
    boxes: Tensor

    def mixed_into(self, pixels: Tensor, partners: Tensor) -> Tensor:
        """Mixed images, float32 (B, C, H, W), of a batch's and their partners' pixels in [0, 1]."""
        top, left, bottom, right = self.boxes.view(-1, 4, 1, 1, 1).unbind(1)
        rows = torch.arange(pixels.shape[2], device=pixels.device).view(-1, 1)
        columns = torch.arange(pixels.shape[3], device=pixels.device)
        inside = (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
        cut = (bottom > top) & (right > left)
        kept = torch.where(cut, (~inside).float(), self.shares.view(-1, 1, 1, 1))
        # Products and sums apart: fused ones would round differently at the end of a vector.
        return pixels * kept + partners * (1 - kept)

    def labelled(self, labels: Tensor) -> tuple[Tensor, MixedLabels]:
        """The labels with the larger share, int64 (B,), and what is mixed into them; of a batch's own labels."""
        larger = self.shares >= 0.5
        others = torch.where(larger, self.labels, labels)
        shares = torch.where(larger, self.shares, 1 - self.shares)
        return torch.where(larger, labels, self.labels), MixedLabels(others, shares)


def partners_in(order: Tensor) -> Tensor:
    """Each image's neighbour in an order (N,), by its number, int64 (N,)."""
    place = torch.arange(len(order))
    neighbour = torch.where(place ^ 1 < len(order), place ^ 1, (place - 1).clamp(min=0))
    return torch.empty_like(order).index_copy_(0, order, order[neighbour])


def _drawn(
    random: np.random.Generator, how: Augmentation, cut: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shares (N,) and boxes (N, 4), as `torchvision.transforms.v2.MixUp` and `CutMix` draw them for batches."""
    size = len(cut)
    shares = np.where(
        cut,
        random.beta(how.cutmix, how.cutmix, size) if how.cutmix else 1.0,
        random.beta(how.mixup, how.mixup, size) if how.mixup else 1.0,
    )
    half = 0.5 * np.sqrt(1 - shares)
    edges = []
    for side in (height, width):
        middle, reach = random.integers(0, side, size), (half * side).astype(np.int64)
        edges.append((np.maximum(middle - reach, 0), np.minimum(middle + reach, side)))
    (top, bottom), (left, right) = edges
    boxes = np.stack([top, left, bottom, right], axis=1) * cut[:, None]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.where(cut, 1 - area / math.prod((height, width)), shares), boxes
