"""MobileNetV1 for ImageNet (arXiv 1704.04861), with the layers and parameter names of mdistiller."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from raykd.models.parts import pooled, scaled

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class MobileNetV1(nn.Module):
    """MobileNetV1 for ImageNet: a 3x3 stem, 13 depthwise separable convolutions, average pooling, one linear layer.

    Takes images (N, in_channels, H, W) of any size (made for 224x224), returns logits (N, num_classes). The stages end,
    each with its ReLU, at ``model.3``, ``model.5``, ``model.11`` and ``model.13``.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Factor on all channel counts (the paper's width multiplier), which are rounded and at least 4.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled(count, width) for count in CHANNELS]
        stem = nn.Sequential(*_step(in_channels, channels[0], kernel_size=3, stride=2))
        separable = (_separable(*pair, stride) for pair, stride in zip(pairwise(channels), STRIDES, strict=True))
        self.model = nn.Sequential(stem, *separable)
        self.fc = nn.Linear(channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(pooled(self.model(images)))
        return logits


def _separable(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    alone = _step(in_channels, in_channels, kernel_size=3, stride=stride, groups=in_channels)
    return nn.Sequential(*alone, *_step(in_channels, channels, kernel_size=1))


def _step(in_channels: int, channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel_size // 2
    convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU()]


FAMILY: dict[str, Callable[..., nn.Module]] = {"MobileNetV1": MobileNetV1}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
