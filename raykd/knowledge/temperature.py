"""Temperatures: what a network's logits are divided by before they are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from raykd.knowledge.ideas import Idea
from raykd.settings import Positive, Settings, Share

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

    At a student's logits s, a loss w KL(p || q) at T = m std(s) has a gradient of at most sqrt(2) w / (m std(s)):
    without bound for a network whose logits hardly differ yet, as after a small head. So the student's standard
    deviation counts as at least `floor` of the teacher's, which bounds it by 1 / floor times what a student that
    spreads as its teacher gets. Below the floor the loss is that of constant temperatures, convex in s, and its minimum
    is on the floor: s = floor * teacher. Above it, loss and gradient are the papers' to the bit.
    """

    policy: Literal["std", "constant"] = "constant"
    """constant: T = value; std: T = multiplier * standard deviation of each sample's logits, each network its own."""
    multiplier: Positive = 2.0
    """std: multiple of the standard deviation."""
    value: Positive = 4.0
    """constant: the temperature."""
    floor: Share = 0.1
    """std: share of the teacher's standard deviation that the student's counts as at least, sample by sample: without
    it (0, as in the papers), near-zero logits get gradients without bound."""
    loss_weight: Literal["temperature", "multiplier"] = "temperature"
    """std: what is squared to weigh each sample's loss: its temperature (NormKD, Generous Teacher) or the multiplier
    (logit standardisation)."""

    def of(self, logits: Tensor) -> Tensor:
        """Return the temperature [B, 1] of every row of logits [B, C].

        std: the unbiased standard deviation over all C, times the multiplier; ValueError if C < 2.
        """
        if self.policy == "constant":
            return logits.new_full((logits.shape[0], 1), self.value)
        return std_temperature(logits, self.multiplier)

    def of_student(self, logits: Tensor, teacher_temperature: Tensor) -> Tensor:
        """Return the temperature [B, 1] of every row of a student's logits [B, C], whose teacher's is [B, 1].

        std: where the logits spread less than `floor` of the teacher's, the temperature is as if they spread so much.
        """
        own = self.of(logits)
        return own if self.policy == "constant" else floored(own, teacher_temperature, self.floor)

    def squared_weight(self, teacher_temperature: Tensor) -> Tensor:
        """Return the factor [B] that makes up for the small gradients of hot logits, from T [B, 1].

        It is the teacher's T^2, or multiplier^2 where `loss_weight` says so.
        """
        temperature = teacher_temperature.squeeze(1)
        if self.policy == "std" and self.loss_weight == "multiplier":
            return temperature.new_full(temperature.shape, self.multiplier**2)
        return temperature.square()


def std_temperature(logits: Tensor, multiplier: float) -> Tensor:
    """Return the multiplier times the unbiased standard deviation of every row of logits [B, C], as [B, 1].

    Raises ValueError if C < 2.
    """
    if logits.shape[1] < 2:
        raise ValueError("the std temperature needs at least 2 classes")
    # Clamped before the root, whose slope at 0 is infinite: a constant row gets a gradient of 0, not NaN.
    variance = logits.var(dim=1, keepdim=True).clamp(min=SMALLEST_STD**2)
    return multiplier * variance.sqrt()


def floored(student_temperature: Tensor, teacher_temperature: Tensor, floor: float) -> Tensor:
    """Return the student's std temperature [B, 1], at least `floor` of the teacher's [B, 1]."""
    return student_temperature.maximum(floor * teacher_temperature)


POLICIES = {
    "constant": Idea(
        "T = value",
        "Hinton, Vinyals, Dean: arXiv 1503.02531, section 2",
        "The default, and what most papers use. It was better than std under the same settings on both data sets of "
        "docs/search.md.",
    ),
    "std": Idea(
        "T_teacher = multiplier * std(teacher logits), "
        "T_student = multiplier * max(std(student logits), floor * std(teacher logits)), for each sample",
        "Generous Teacher, Image and Vision Computing 150, 105199 (2024); "
        "logit standardisation, arXiv 2403.01427, section 4",
        "Where student and teacher differ in the size of their logits, or samples do: only patterns are compared.",
    ),
}
"""The temperatures: what a network's logits are divided by."""
