"""The half-width MobileNetV2 of the CIFAR literature, with the layers and names of RepDistiller and mdistiller."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from raykd.models.parts import kaiming_start, pooled, scaled

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Of each stage: expansion, channels at width 1, blocks, stride."""
LAST_CHANNELS = 1280


class InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project back; with a shortcut where the shape stays."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.keeps_shape = stride == 1 and in_channels == channels
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.conv(images)
        return out + images if self.keeps_shape else out


class MobileNetV2(nn.Module):
    """MobileNetV2 for CIFAR: half-width by default, seven stages of inverted residuals.

    Takes images (N, in_channels, H, W) of any size (8x8 and up make sense), returns logits (N, num_classes). Unlike
    torchvision's it has plain ReLUs, halves the size four times instead of five, and starts each block with a 1x1
    convolution, also where nothing expands.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: The paper's width multiplier on all channel counts but the last 1280, which only grow. The field's
            CIFAR student has a half.

    Raises:
        RaykdError: ``width`` is no positive number.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 0.5) -> None:
        super().__init__()
        channels = scaled(32, width)
        self.conv1 = _convolution(in_channels, channels, kernel_size=3, stride=2)
        self.blocks = nn.ModuleList()
        for expansion, count, depth, stride in STAGES:
            out_channels = scaled(count, width)
            first = InvertedResidual(channels, out_channels, stride, expansion)
            rest = (InvertedResidual(out_channels, out_channels, 1, expansion) for _ in range(depth - 1))
            self.blocks.append(nn.Sequential(first, *rest))
            channels = out_channels
        last = scaled(LAST_CHANNELS, max(1.0, width))
        self.conv2 = _convolution(channels, last, kernel_size=1, stride=1)
        self.classifier = nn.Sequential(nn.Linear(last, num_classes))
        kaiming_start(self, linear_std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        out = self.conv1(images)
        for stage in self.blocks:
            out = stage(out)
        logits: Tensor = self.classifier(pooled(self.conv2(out)))
        return logits


def _convolution(in_channels: int, channels: int, kernel_size: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


FAMILY: dict[str, Callable[..., nn.Module]] = {"MobileNetV2": MobileNetV2}
"""Builders by name, each called with ``num_classes``, ``in_channels`` and the user's arguments as keywords."""
