"""The learned temperature of curriculum distillation (arXiv 2211.16231)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raykd.knowledge.methods.base import Answers
from raykd.knowledge.methods.kd import kd


class LearnedTemperature(nn.Module):
    """kd at a temperature t = lowest + span sigmoid(theta) times the policy's.

    Args:
        lowest: Lowest t.
        span: How far t may rise above it.
        reversal: Factor on theta's gradient in an epoch; a negative one makes the loss grow.
    """

    def __init__(self, lowest: float, span: float, reversal: Callable[[int], float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(()))
        self._lowest = lowest
        self._span = span
        self._reversal = reversal

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        factor = self._reversal(answers.epoch)
        # The value of theta, with a gradient that is `factor` times as large.
        theta = factor * self.theta + (1 - factor) * self.theta.detach()
        t = self._temperature(theta)
        return answers.squared_weight * t.square() * kd(answers.student / t, answers.teacher / t, answers.labels)

    def metrics(self) -> dict[str, float]:
        """The learned temperature, to log after an epoch."""
        return {"learned_temperature": self._temperature(self.theta.detach()).item()}

    def _temperature(self, theta: Tensor) -> Tensor:
        return self._lowest + self._span * theta.sigmoid()
