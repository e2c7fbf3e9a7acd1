"""ImageNet's ResNets with a stem for CIFAR, with the layers and parameter names of RepDistiller and mdistiller.

They are written ResNet18, ResNet50, ... in the field, to tell them from the narrow ``resnet20`` and from torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from raykd.models.parts import kaiming_start, pooled, scaled

CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is projected where the shape changes."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(images))


class Bottleneck(nn.Module):
    """A 3x3 convolution between a narrowing and a widening 1x1 one, and a shortcut as in `BasicBlock`."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(images))


class FourStageResNet(nn.Module):
    """ImageNet's ResNet with a stem for CIFAR: 3x3 without pooling, then four stages of 64 to 512 channels.

    Takes images (N, in_channels, H, W) of any size (8x8 and up make sense), returns logits (N, num_classes).

    Args:
        block: Which block.
        blocks: How many in each of the four stages.
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Factor on all channel counts, which are rounded and at least 4.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, int, int, int],
        /,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        channels = [scaled(count, width) for count in CHANNELS]
        widths = [channels[0], *(block.expansion * count for count in channels)]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.layer1 = _stage(block, blocks[0], widths[0], channels[0], stride=1)
        self.layer2 = _stage(block, blocks[1], widths[1], channels[1], stride=2)
        self.layer3 = _stage(block, blocks[2], widths[2], channels[2], stride=2)
        self.layer4 = _stage(block, blocks[3], widths[3], channels[3], stride=2)
        self.linear = nn.Linear(widths[4], num_classes)
        kaiming_start(self)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.linear(pooled(out))
        return logits


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and in_channels == channels:
        return nn.Sequential()
    projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(channels))


def _stage(
    block: type[BasicBlock | Bottleneck], blocks: int, in_channels: int, channels: int, stride: int
) -> nn.Sequential:
    out_channels = block.expansion * channels
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(out_channels, channels, 1) for _ in range(blocks - 1)))


FAMILY: dict[str, Callable[..., nn.Module]] = {
    "ResNet18": partial(FourStageResNet, BasicBlock, (2, 2, 2, 2)),
    "ResNet34": partial(FourStageResNet, BasicBlock, (3, 4, 6, 3)),
    "ResNet50": partial(FourStageResNet, Bottleneck, (3, 4, 6, 3)),
}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
