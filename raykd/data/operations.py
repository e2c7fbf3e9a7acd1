"""The operations of RandAugment and TrivialAugment on batches: torchvision's kernels, on images of equal parameters.

Which operation, of which magnitude, an image gets is in tables; images that get the same are changed together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
"""By number, under torchvision's names."""
SIGNED = OPERATIONS[1:10]
"""Those whose magnitude is as often negative."""
STEPS = 31
"""Magnitudes of each operation, from none to the strongest."""


def magnitudes(wide: bool, height: int, width: int) -> Tensor:
    """The magnitudes of all operations, float64 (operations, `STEPS`); 0 where an operation has none.

    Args:
        wide: Those of TrivialAugment, whose strongest are stronger than RandAugment's.
        height, width: Of the images, in pixels.
    """
    color = 0.99 if wide else 0.9
    strongest = {
        "ShearX": 0.99 if wide else 0.3,
        "ShearY": 0.99 if wide else 0.3,
        "TranslateX": 32.0 if wide else 150.0 / 331.0 * width,
        "TranslateY": 32.0 if wide else 150.0 / 331.0 * height,
        "Rotate": 135.0 if wide else 30.0,
        "Brightness": color,
        "Color": color,
        "Contrast": color,
        "Sharpness": color,
    }
    table = {name: torch.linspace(0.0, most, STEPS) for name, most in strongest.items()}
    table["Solarize"] = torch.linspace(1.0, 0.0, STEPS)
    table["Posterize"] = (8 - torch.arange(STEPS) / ((STEPS - 1) / (6 if wide else 4))).round()
    return torch.stack([table.get(name, torch.zeros(STEPS)) for name in OPERATIONS]).double()


def apply_steps(images: Tensor, operations: Tensor, values: Tensor) -> Tensor:
    """Change each image by its own operations, one after the other.

    Args:
        images: uint8 (B, C, H, W) of 1 or 3 channels, on any device.
        operations: Numbers in `OPERATIONS`, int64 (B, steps), on the CPU.
        values: Their magnitudes, float64 (B, steps), on the CPU.

    Returns:
        uint8 (B, C, H, W). Each image depends on its own row alone.
    """
    for step in torch.stack([operations.double(), values], dim=2).unbind(1):
        images = by_kind(images, step, lambda some, kind, _: operation(some, OPERATIONS[int(kind[0])], kind[1]))
    return images


def by_kind(images: Tensor, kinds: Tensor, change: Callable[[Tensor, list[float], Tensor], Tensor]) -> Tensor:
    """Change images of one kind together.

    Args:
        images: (B, ...), on any device.
        kinds: Rows that are equal where images are of one kind, (B, k), on the CPU.
        change: Takes images of one kind, its row, and the places (B',) of the images, on the CPU; it returns as many
            images of the same type.
    """
    found, kind, counts = torch.unique(kinds, dim=0, return_inverse=True, return_counts=True)
    order = kind.argsort(stable=True)
    there, sizes = order.to(images.device, non_blocking=True), counts.tolist()
    groups = zip(torch.split(images[there], sizes), found.tolist(), torch.split(order, sizes), strict=True)
    changed = torch.cat([change(some, row, places) for some, row, places in groups])
    return torch.empty_like(changed).index_copy_(0, there, changed)


def operation(images: Tensor, name: str, magnitude: float) -> Tensor:
    """Images (B, C, H, W) after one operation, as `torchvision.transforms.v2.RandAugment` applies it."""
    from torchvision.transforms.v2 import functional as F  # takes a second to be imported

    changed: Tensor = images
    match name:
        case "ShearX":
            changed = _affine(images, shear=[math.degrees(math.atan(magnitude)), 0.0], center=[0.0, 0.0])
        case "ShearY":
            changed = _affine(images, shear=[0.0, math.degrees(math.atan(magnitude))], center=[0.0, 0.0])
        case "TranslateX":
            changed = _affine(images, translate=[int(magnitude), 0])
        case "TranslateY":
            changed = _affine(images, translate=[0, int(magnitude)])
        case "Rotate":
            changed = F.rotate(images, angle=magnitude)
        case "Brightness":
            changed = F.adjust_brightness(images, 1.0 + magnitude)
        case "Color":
            changed = F.adjust_saturation(images, 1.0 + magnitude)
        case "Contrast":
            changed = F.adjust_contrast(images, 1.0 + magnitude)
        case "Sharpness":
            changed = F.adjust_sharpness(images, 1.0 + magnitude)
        case "Posterize":
            changed = F.posterize(images, bits=int(magnitude))
        case "Solarize":
            changed = F.solarize(images, threshold=255.0 * magnitude)
        case "AutoContrast":
            changed = F.autocontrast(images)
        case "Equalize":
            changed = F.equalize(images)
    return changed


def _affine(
    images: Tensor,
    translate: list[float] | None = None,
    shear: list[float] | None = None,
    center: list[float] | None = None,
) -> Tensor:
    from torchvision.transforms.v2 import functional as F

    changed: Tensor = F.affine(
        images, angle=0.0, translate=translate or [0, 0], scale=1.0, shear=shear or [0.0, 0.0], center=center
    )
    return changed
