"""ShuffleNetV1 for CIFAR (CVPR 2018), with the layers and parameter names of RepDistiller and mdistiller."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.models.parts import pooled, scaled, shuffled

GROUPS = 3
STEM = 24
FIRST_STAGE = 240


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; with stride 2 the halved input joins as further channels."""

    def __init__(self, in_channels: int, channels: int, stride: int, first_groups: int) -> None:
        super().__init__()
        self.stride = stride
        self.first_groups = first_groups
        inner = channels // 4
        self.conv1 = nn.Conv2d(in_channels, inner, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, images: Tensor) -> Tensor:
        out = shuffled(F.relu(self.bn1(self.conv1(images))), self.first_groups)
        # A ReLU after the depthwise convolution, as in the published CIFAR weights; the paper has none there.
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        if self.stride == 1:
            return F.relu(out + images)
        return F.relu(torch.cat([out, F.avg_pool2d(images, 3, stride=2, padding=1)], dim=1))


class ShuffleNetV1(nn.Module):
    """ShuffleNetV1 for CIFAR: three groups, a 1x1 stem, three stages of shuffle units, average pooling, one linear
    layer.

    Takes images (N, in_channels, H, W) of any size (8x8 and up make sense), returns logits (N, num_classes).

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Factor on the stages' channels (240, 480, 960), rounded to multiples of 12; the stem keeps its 24.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        first = scaled(FIRST_STAGE, width, multiple=4 * GROUPS, least=2 * STEM)
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(4, STEM, first, first_groups=1)
        self.layer2 = _stage(8, first, 2 * first, first_groups=GROUPS)
        self.layer3 = _stage(4, 2 * first, 4 * first, first_groups=GROUPS)
        self.linear = nn.Linear(4 * first, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(pooled(out))
        return logits


def _stage(units: int, in_channels: int, channels: int, first_groups: int) -> nn.Sequential:
    first = ShuffleUnit(in_channels, channels - in_channels, 2, first_groups)
    return nn.Sequential(first, *(ShuffleUnit(channels, channels, 1, GROUPS) for _ in range(units - 1)))


FAMILY: dict[str, Callable[..., nn.Module]] = {"ShuffleNetV1": ShuffleNetV1}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
