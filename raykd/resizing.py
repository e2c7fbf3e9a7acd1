"""Images in memory in another size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resized(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Float images (N, C, H, W) in another height and width.

    Args:
        images: Of any range; bicubic interpolation may leave it.
        size: Height and width.
        interpolation: ``bilinear`` or ``bicubic``, both without aliasing, or ``nearest``.
    """
    if interpolation == "nearest":
        return F.interpolate(images, size, mode="nearest-exact")
    return F.interpolate(images, size, mode=interpolation, antialias=True)
