"""Temperatures: what a network's logits are divided by before they are compared."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

SMALLEST_STD = 1e-4
"""Rows whose logits spread less than this count as constant; trained networks spread thousands of times more."""


class Temperature(Protocol):
    """How hot the logits of one network are taken, and what its loss weighs in return."""

    def of(self, logits: Tensor) -> Tensor:
        """Return the temperature [B, 1] of every row of logits [B, C]."""
        ...

    def squared_weight(self, teacher_temperature: Tensor) -> Tensor:
        """Return the factor [B] that makes up for the small gradients of hot logits, from T [B, 1]."""
        ...


@dataclass(frozen=True)
class ConstantTemperature:
    """One temperature for every sample and both networks (Hinton et al., arXiv 1503.02531, section 2).

    Raises ValueError unless `value` is positive and finite.
    """

    value: float

    def __post_init__(self) -> None:
        _check_positive("temperature value", self.value)

    def of(self, logits: Tensor) -> Tensor:
        """Return `value` as [B, 1] for logits [B, C]."""
        return logits.new_full((logits.shape[0], 1), self.value)

    def squared_weight(self, teacher_temperature: Tensor) -> Tensor:
        """Return T^2 [B] for T [B, 1]."""
        return teacher_temperature.squeeze(1).square()


@dataclass(frozen=True)
class StdTemperature:
    """T = multiplier * std(logits), per sample, each network by its own logits; gradients flow through it.

    As in Generous Teacher (Image and Vision Computing 150, 2024) and logit standardisation (arXiv 2403.01427,
    section 4: subtracting the mean as well changes no softmax). `loss_weight` says what T^2 in the loss means:
    "temperature" is the teacher's T^2 (Generous Teacher, NormKD), "multiplier" is multiplier^2 (standardisation).

    Raises ValueError unless `multiplier` is positive and finite and `loss_weight` is known.
    """

    multiplier: float
    loss_weight: Literal["temperature", "multiplier"] = "temperature"

    def __post_init__(self) -> None:
        _check_positive("temperature multiplier", self.multiplier)
        if self.loss_weight not in ("temperature", "multiplier"):
            raise ValueError(f"loss_weight must be 'temperature' or 'multiplier', not {self.loss_weight!r}")

    def of(self, logits: Tensor) -> Tensor:
        """Return the temperature [B, 1] of logits [B, C]: unbiased std over all C; ValueError if C < 2."""
        if logits.shape[1] < 2:
            raise ValueError("the std temperature needs at least 2 classes")
        # Clamped before the root, whose slope at 0 is infinite: a constant row gets a gradient of 0, not NaN.
        variance = logits.var(dim=1, keepdim=True).clamp(min=SMALLEST_STD**2)
        return self.multiplier * variance.sqrt()

    def squared_weight(self, teacher_temperature: Tensor) -> Tensor:
        """Return T^2 or multiplier^2, as `loss_weight` says, as [B] for T [B, 1]."""
        if self.loss_weight == "multiplier":
            return torch.full_like(teacher_temperature.squeeze(1), self.multiplier**2)
        return teacher_temperature.squeeze(1).square()


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, not {value}")
