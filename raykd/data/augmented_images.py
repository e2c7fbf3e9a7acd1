"""The images of a view as it changes them: the parameters of all images as tables, drawn by the view, and their use.

The distributions are those of torchvision's transforms; a factor of `color_jitter` is one of 256 in its range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from raykd.data.augmentation import NONE, Augmentation
from raykd.data.image_data import DataInfo
from raykd.data.operations import OPERATIONS, SIGNED, STEPS, apply_steps, by_kind, magnitudes
from raykd.data.views import View, augment

if TYPE_CHECKING:
    from torchvision.transforms.v2 import InterpolationMode

TRIES = 10
"""Rectangles that are drawn, as by torchvision, until one fits into the image."""
LEVELS = 256
"""Factors that `color_jitter` draws from."""
CROP_RATIO = (3 / 4, 4 / 3)
ERASED_AREA, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
JITTERED = tuple(OPERATIONS.index(name) for name in ("Brightness", "Contrast", "Color"))


class AugmentedImages:
    """The images of a view in memory, each augmented when it is asked for.

    Args:
        images: Of the training split, uint8 (N, C, H, W), on any device.
        info: Their description.
        view: Draws the parameters.

    Attributes:
        grouped: Whether images of equal parameters are changed together: the more images at once, the faster.
    """

    def __init__(self, images: Tensor, info: DataInfo, view: View) -> None:
        how = info.augmentation
        self._images = images
        self._interpolation = info.interpolation
        self._padding = info.crop_padding
        self._fill = torch.tensor([round(255 * mean) for mean in info.mean], device=images.device).byte().view(-1, 1, 1)
        flips = view.flips() if info.horizontal_flip else view.no_flips()
        self._flips, self._offsets = flips.to(images.device), view.offsets(info.crop_padding).to(images.device)
        size = (info.height, info.width)
        self._crops = None if how.resized_crop is None else crop_table(view, how.resized_crop, *size)
        self._steps = step_tables(view, how, *size)
        self._erased = erasing_table(view, how.erasing, *size).to(images.device) if how.erasing else None
        self.grouped = self._crops is not None or bool(self._steps)

    def __call__(self, rows: Tensor) -> Tensor:
        """These images, uint8 (B, C, H, W), of rows int64 (B,) on the CPU; each depends on its own row alone."""
        here = rows.to(self._images.device, non_blocking=True)
        images = self._cropped(rows, here)
        for operations, values in self._steps:
            images = apply_steps(images, operations[rows], values[rows])
        return images if self._erased is None else erase(images, self._erased[here], self._fill)

    def _cropped(self, rows: Tensor, here: Tensor) -> Tensor:
        images, flips = self._images[here], self._flips[here]
        if self._crops is None:
            return augment(images, self._offsets[here], flips, self._padding)
        from torchvision.transforms.v2 import InterpolationMode

        return flipped(resized_crops(images, self._crops[rows], InterpolationMode(self._interpolation)), flips)


def step_tables(view: View, how: Augmentation, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """Operations, int64 (N, steps), with magnitudes, float64 (N, steps): those of the jitter, then of the policy."""
    tables = []
    if how.color_jitter:
        draw = view.generator("color jitter")
        order = torch.rand(view.size, len(JITTERED), generator=draw).argsort(dim=1)
        levels = torch.randint(0, LEVELS, order.shape, generator=draw).double()
        tables.append((torch.tensor(JITTERED)[order], how.color_jitter * (2 * levels / (LEVELS - 1) - 1)))
    if how.policy != NONE.policy:
        draw = view.generator(how.policy)
        wide = how.policy == "trivialaugment"
        shape = (view.size, 1 if wide else how.operations)
        operations = torch.randint(0, len(OPERATIONS), shape, generator=draw)
        chosen = torch.randint(0, STEPS, shape, generator=draw) if wide else torch.tensor(how.magnitude)
        values = magnitudes(wide, height, width)[operations, chosen]
        signed = torch.tensor([name in SIGNED for name in OPERATIONS])[operations]
        negative = torch.randint(0, 2, shape, generator=draw).bool() & signed
        tables.append((operations, torch.where(negative, -values, values)))
    return tables


def crop_table(view: View, smallest: float, height: int, width: int) -> Tensor:
    """Crops of at least this share of the image: top, left, height and width, int64 (N, 4).

    As `torchvision.transforms.v2.RandomResizedCrop` draws them.
    """
    draw = view.generator("resized crops")
    widths, heights = _sides(draw, view.size, (smallest, 1.0), CROP_RATIO, height * width)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    narrowest, widest = CROP_RATIO
    whole = (min(height, round(width / narrowest)), min(width, round(height * widest)))
    found, (heights, widths) = _first(fits, (heights, widths), whole)
    top, left = (_place(draw, side - own, found) for side, own in ((height, heights), (width, widths)))
    return torch.stack([top, left, heights, widths], dim=1)


def erasing_table(view: View, share: float, height: int, width: int) -> Tensor:
    """Rectangles to paint over: top, left, height and width, int64 (N, 4); of no size where the image stays.

    As `torchvision.transforms.v2.RandomErasing` draws them.
    """
    draw = view.generator("erasing")
    chosen = torch.rand(view.size, generator=draw) < share
    heights, widths = _sides(draw, view.size, ERASED_AREA, ERASED_RATIO, height * width)
    found, (heights, widths) = _first((heights < height) & (widths < width), (heights, widths), (0, 0))
    top, left = (_place(draw, side - own, found) for side, own in ((height, heights), (width, widths)))
    return torch.stack([top, left, heights, widths], dim=1) * chosen.unsqueeze(1)


def resized_crops(images: Tensor, crops: Tensor, interpolation: InterpolationMode) -> Tensor:
    """Crops of uint8 images (B, C, H, W), resized to the whole: top, left, height and width, int64 (B, 4), on the CPU.

    Crops of one size are resized together; `torchvision.transforms.v2.functional.resized_crop` of each gives the same.
    """
    from torchvision.transforms.v2 import functional as F

    size = list(images.shape[2:])

    def cut(some: Tensor, kind: list[float], places: Tensor) -> Tensor:
        corner = crops[places, :2].to(some.device, non_blocking=True)
        rows, columns = (corner[:, axis, None] + torch.arange(int(kind[axis]), device=some.device) for axis in range(2))
        samples = torch.arange(len(some), device=some.device).view(-1, 1, 1)
        # Indexed apart from the channels, the crops come out as (B', rows, columns, C).
        cropped = some[samples, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
        whole: Tensor = F.resize(cropped, size, interpolation=interpolation, antialias=True)
        return whole

    return by_kind(images, crops[:, 2:], cut)


def flipped(images: Tensor, flips: Tensor) -> Tensor:
    """Images (B, C, H, W), flipped left to right where `flips` (B,) is true."""
    return torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)


def erase(images: Tensor, rectangles: Tensor, fill: Tensor) -> Tensor:
    """Images (B, C, H, W) with a rectangle, top, left, height and width, int64 (B, 4), in the colour `fill` (C, 1, 1).

    All on one device.
    """
    top, left, height, width = rectangles.view(-1, 4, 1, 1, 1).unbind(1)
    rows = torch.arange(images.shape[2], device=images.device).view(-1, 1)
    columns = torch.arange(images.shape[3], device=images.device)
    inside = (top <= rows) & (rows < top + height) & (left <= columns) & (columns < left + width)
    return torch.where(inside, fill, images)


def _sides(
    draw: torch.Generator, size: int, shares: tuple[float, float], ratios: tuple[float, float], area: int
) -> tuple[Tensor, Tensor]:
    """Both sides of `TRIES` random rectangles for each image, the first one over the second in `ratios`."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(size, TRIES, generator=draw, dtype=torch.float64)

    areas = area * uniform(*shares)
    ratio = uniform(*map(math.log, ratios)).exp()
    return (areas * ratio).sqrt().round().long(), (areas / ratio).sqrt().round().long()


def _first(fits: Tensor, sides: tuple[Tensor, Tensor], otherwise: tuple[int, int]) -> tuple[Tensor, list[Tensor]]:
    """Whether one of each image's rectangles fits, bool (N,), and the sides of the first; `otherwise` if none."""
    place = (fits.cumsum(dim=1) == 0).sum(dim=1, keepdim=True)
    padded = [
        torch.cat([side, torch.full_like(side[:, :1], last)], dim=1)
        for side, last in zip(sides, otherwise, strict=True)
    ]
    return place.squeeze(1) < TRIES, [side.gather(1, place).squeeze(1) for side in padded]


def _place(draw: torch.Generator, room: Tensor, found: Tensor) -> Tensor:
    """Where rectangles begin that leave so much room, int64 (N,): anywhere, or in the middle where none was found."""
    drawn = (torch.rand(len(room), generator=draw, dtype=torch.float64) * (room + 1)).long()
    return torch.where(found, drawn, room // 2)
