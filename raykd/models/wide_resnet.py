"""Wide ResNets for CIFAR (BMVC 2016), with the layers and parameter names of RepDistiller and mdistiller."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from raykd.models.parts import kaiming_start, pooled, scaled


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after its norm and ReLU; a shortcut that is projected where the channels change."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        # Channels can be equal where the size is halved: at a width so small that all stages have four.
        projected = in_channels != channels or stride != 1
        self.convShortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False) if projected else None

    def forward(self, images: Tensor) -> Tensor:
        active = F.relu(self.bn1(images))
        # The projection starts from the activated input, the plain shortcut from the raw one.
        shortcut = images if self.convShortcut is None else self.convShortcut(active)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + shortcut


class WideResNet(nn.Module):
    """Wide ResNet for CIFAR: a 3x3 stem, three stages of pre-activation blocks, average pooling, one linear layer.

    Takes images (N, in_channels, H, W) of any size (8x8 and up make sense), returns logits (N, num_classes). Its stages
    ``block1`` to ``block3`` end before norm and ReLU, which belong to what follows them.

    Args:
        depth: Layers: 6n + 4 for n blocks a stage.
        widening: Channels of the stages in multiples of 16, 32, 64; the stem has 16.
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Factor on all channel counts, which are rounded and at least 4.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(
        self, depth: int, widening: int, /, *, num_classes: int, in_channels: int = 3, width: float = 1.0
    ) -> None:
        super().__init__()
        stem, *stages = (scaled(count, width) for count in (16, 16 * widening, 32 * widening, 64 * widening))
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.block1 = _stage(blocks, stem, stages[0], stride=1)
        self.block2 = _stage(blocks, stages[0], stages[1], stride=2)
        self.block3 = _stage(blocks, stages[1], stages[2], stride=2)
        self.bn1 = nn.BatchNorm2d(stages[2])
        self.fc = nn.Linear(stages[2], num_classes)
        kaiming_start(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        out = self.block3(self.block2(self.block1(self.conv1(images))))
        logits: Tensor = self.fc(pooled(F.relu(self.bn1(out))))
        return logits


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(in_channels, channels, stride)
    layer = nn.Sequential(first, *(PreActivationBlock(channels, channels, stride=1) for _ in range(blocks - 1)))
    return nn.Sequential(OrderedDict(layer=layer))


SIZES = [(depth, widening) for depth in (16, 28, 40) for widening in (1, 2, 4)] + [(28, 10)]
FAMILY: dict[str, Callable[..., nn.Module]] = {
    f"wrn_{depth}_{widening}": partial(WideResNet, depth, widening) for depth, widening in SIZES
}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
