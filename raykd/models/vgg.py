"""VGGs for CIFAR with batch norm, with the layers and parameter names of RepDistiller and mdistiller."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from raykd.models.parts import kaiming_start, pooled, scaled

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {
    "vgg8": (1, 1, 1, 1, 1),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
LARGE = 64


class VGG(nn.Module):
    """VGG for CIFAR: five stages of 3x3 convolutions with batch norm, average pooling, one linear layer.

    Takes images (N, in_channels, H, W) of 8x8 and up, returns logits (N, num_classes). Stages 0 to 2 are halved in size
    by max pooling; from 64x64 on stage 3 is, too.

    Args:
        convolutions: How many in each of the five stages.
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Factor on all channel counts, which are rounded and at least 4.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(
        self, convolutions: tuple[int, ...], /, *, num_classes: int, in_channels: int = 3, width: float = 1.0
    ) -> None:
        super().__init__()
        channels = [in_channels, *(scaled(count, width) for count in CHANNELS)]
        stages = [_stage(depth, *channels[i : i + 2]) for i, depth in enumerate(convolutions)]
        self.block0, self.block1, self.block2, self.block3, self.block4 = stages
        self.classifier = nn.Linear(channels[-1], num_classes)
        kaiming_start(self, linear_std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        out = F.max_pool2d(self.block0(images), 2)
        out = F.max_pool2d(self.block1(out), 2)
        out = F.max_pool2d(self.block2(out), 2)
        out = self.block3(out)
        if min(images.shape[-2:]) >= LARGE:
            out = F.max_pool2d(out, 2)
        logits: Tensor = self.classifier(pooled(self.block4(out)))
        return logits


def _stage(depth: int, in_channels: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*layers)


FAMILY: dict[str, Callable[..., nn.Module]] = {
    name: partial(VGG, convolutions) for name, convolutions in CONVOLUTIONS.items()
}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
