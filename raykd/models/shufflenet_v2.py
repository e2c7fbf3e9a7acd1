"""ShuffleNetV2 for CIFAR (ECCV 2018), with the layers and parameter names of RepDistiller and mdistiller."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.errors import RaykdError
from raykd.models.parts import pooled, shuffled

STEM = 24
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}
"""Channels of the three stages and of the last convolution by width."""
UNITS = (3, 7, 3)


class ShuffleUnit(nn.Module):
    """Leaves one half of the channels as they are, filters the other, and shuffles the two."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, images: Tensor) -> Tensor:
        kept, out = images.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = F.relu(self.bn3(self.conv3(out)))
        return shuffled(torch.cat([kept, out], dim=1), groups=2)


class DownUnit(nn.Module):
    """Halves the size and changes the channels, in two branches that are shuffled."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, stride=2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, images: Tensor) -> Tensor:
        left = self.bn1(self.conv1(images))
        left = F.relu(self.bn2(self.conv2(left)))
        right = F.relu(self.bn3(self.conv3(images)))
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)))
        return shuffled(torch.cat([left, right], dim=1), groups=2)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 for CIFAR: a 1x1 stem, three stages of shuffle units, average pooling, one linear layer.

    Takes images (N, in_channels, H, W) of any size (8x8 and up make sense), returns logits (N, num_classes).

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: The paper's size: 0.5, 1, 1.5 or 2.

    Raises:
        RaykdError: Another ``width``.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        if width not in CHANNELS:
            raise RaykdError(f"width of ShuffleNetV2 must be one of {', '.join(map(str, CHANNELS))}, not {width!r}")
        *stages, last = CHANNELS[width]
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(UNITS[0], STEM, stages[0])
        self.layer2 = _stage(UNITS[1], stages[0], stages[1])
        self.layer3 = _stage(UNITS[2], stages[1], stages[2])
        self.conv2 = nn.Conv2d(stages[2], last, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(last)
        self.linear = nn.Linear(last, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.relu(self.bn2(self.conv2(out)))
        logits: Tensor = self.linear(pooled(out))
        return logits


def _stage(units: int, in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(DownUnit(in_channels, channels), *(ShuffleUnit(channels) for _ in range(units)))


FAMILY: dict[str, Callable[..., nn.Module]] = {"ShuffleNetV2": ShuffleNetV2}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
