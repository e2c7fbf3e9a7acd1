"""The ResNets of the CIFAR literature, with the layers and parameter names of RepDistiller and mdistiller.

Weights published for those toolkits load with ``load_state_dict``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from raykd.models.parts import kaiming_start, pooled, scaled

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is projected where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, images: Tensor) -> Tensor:
        shortcut = images if self.downsample is None else self.downsample(images)
        out = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNet(nn.Module):
    """CIFAR-style ResNet: a 3x3 stem, three stages of basic blocks, global average pooling, one linear layer.

    Takes images (N, in_channels, H, W) of any size (8x8 and up make sense), returns logits (N, num_classes).

    Args:
        depth: Layers: 6n + 2 for n blocks a stage.
        channels: Channels of the stem and the three stages.
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Factor on all channel counts, which are rounded and at least 4.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(
        self,
        depth: int,
        channels: tuple[int, int, int, int],
        /,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        stem, *stages = (scaled(count, width) for count in channels)
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(blocks, stem, stages[0], stride=1)
        self.layer2 = _stage(blocks, stages[0], stages[1], stride=2)
        self.layer3 = _stage(blocks, stages[1], stages[2], stride=2)
        self.fc = nn.Linear(stages[2], num_classes)
        kaiming_start(self)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.fc(pooled(out))
        return logits


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


FAMILY: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, WIDE) for depth in (8, 32)},
}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
