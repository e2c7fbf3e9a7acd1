"""What the families share: channel counts under a width factor, and the initial weights of the CIFAR literature."""

from __future__ import annotations

import math

from torch import Tensor, nn

from raykd.errors import RaykdError


def scaled(channels: int, width: float, *, multiple: int = 1, least: int = 4) -> int:
    """A channel count under a width factor.

    Args:
        channels: Count at width 1.
        width: Factor.
        multiple: The count is rounded to a multiple of this, where groups or halves need one.
        least: Smallest count.

    Raises:
        RaykdError: ``width`` is no positive number.
    """
    if not (isinstance(width, int | float) and 0 < width < math.inf):
        raise RaykdError(f"width must be a positive number, not {width!r}: correct it among the model's arguments")
    return max(least, multiple * round(channels * width / multiple))


def kaiming_start(network: nn.Module, *, linear_std: float | None = None) -> None:
    """Draw the convolutions' weights from Kaiming's normal distribution (fan out), biases zero, in place.

    Args:
        network: The network.
        linear_std: Standard deviation of the linear layers' normal weights, with biases zero. None: linear layers keep
            torch's own initial weights.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, std=linear_std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pooled(features: Tensor) -> Tensor:
    """Mean over height and width: (N, C, H, W) to (N, C)."""
    return features.mean(dim=(2, 3))


def shuffled(features: Tensor, groups: int) -> Tensor:
    """The channel shuffle: neighbouring channels are from different groups; (N, C, H, W) stays (N, C, H, W)."""
    count, channels, height, width = features.shape
    shuffled_channels = features.reshape(count, groups, channels // groups, height, width).transpose(1, 2)
    return shuffled_channels.reshape(count, channels, height, width)
