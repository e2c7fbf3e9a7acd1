"""Temperatures: what a network's logits are divided by before they are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from raykd.settings import Positive, Settings

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_STD = 1e-4
"""Rows whose logits spread less than this count as constant; trained networks spread thousands of times more."""


class TemperatureSettings(Settings):
    """How answers are softened before they are compared: what a network's logits are divided by.

    The constant temperature is that of Hinton et al. (arXiv 1503.02531, section 2). The std temperature is taken per
    sample, each network by its own logits, and gradients flow through it, as in Generous Teacher (Image and Vision
    Computing 150, 2024) and logit standardisation (arXiv 2403.01427, section 4: subtracting the mean as well changes
    no softmax).
    """

    policy: Literal["std", "constant"] = "constant"
    """constant: T = value; std: T = multiplier * standard deviation of each sample's logits, each network its own."""
    multiplier: Positive = 2.0
    """std: multiple of the standard deviation."""
    value: Positive = 4.0
    """constant: the temperature."""
    loss_weight: Literal["temperature", "multiplier"] = "temperature"
    """std: what is squared to weigh each sample's loss: its temperature (NormKD, Generous Teacher) or the multiplier
    (logit standardisation)."""

    def of(self, logits: Tensor) -> Tensor:
        """Return the temperature [B, 1] of every row of logits [B, C].

        std: the unbiased standard deviation over all C, times the multiplier; ValueError if C < 2.
        """
        if self.policy == "constant":
            return logits.new_full((logits.shape[0], 1), self.value)
        if logits.shape[1] < 2:
            raise ValueError("the std temperature needs at least 2 classes")
        # Clamped before the root, whose slope at 0 is infinite: a constant row gets a gradient of 0, not NaN.
        variance = logits.var(dim=1, keepdim=True).clamp(min=SMALLEST_STD**2)
        return self.multiplier * variance.sqrt()

    def squared_weight(self, teacher_temperature: Tensor) -> Tensor:
        """Return the factor [B] that makes up for the small gradients of hot logits, from T [B, 1].

        It is the teacher's T^2, or multiplier^2 where `loss_weight` says so.
        """
        temperature = teacher_temperature.squeeze(1)
        if self.policy == "std" and self.loss_weight == "multiplier":
            return temperature.new_full(temperature.shape, self.multiplier**2)
        return temperature.square()
