"""Curriculum temperature: the temperature is learned against the student, ever harder."""

from __future__ import annotations

import math

from raykd.knowledge.methods.base import AnswerMethod, SampleTerm, as_published
from raykd.settings import CountOrZero, NonNegative, Positive


class Ctkd(AnswerMethod):
    """Curriculum temperature: kd at a learned temperature, which an adversary raises or lowers to make it harder.

    It multiplies the policy's temperature, so a constant 1 is the paper's. Its gradient is reversed, with a strength
    that rises from 0 to `adversary` by a cosine over `curriculum_epochs`.
    """

    name = "ctkd"
    labels = "unused"
    formula = (
        "t^2 T^2 mean_i KL(softmax(teacher_i / (t T)) || softmax(student_i / (t T))), t = lowest + span sigmoid(theta)"
    )
    source = "Li et al.: Curriculum Temperature for Knowledge Distillation, AAAI 2023, arXiv 2211.16231"
    published = as_published(ce_weight=0.1, kd_weight=0.9, temperature=1.0)

    lowest: Positive = 1.0
    """Lowest learned temperature."""
    span: NonNegative = 20.0
    """How far the learned temperature may rise above the lowest."""
    adversary: NonNegative = 1.0
    """Strength of the reversed gradient after the curriculum."""
    curriculum_epochs: CountOrZero = 10
    """Epochs over which the reversed gradient rises to its strength."""

    def term(self) -> SampleTerm:
        """The loss with its learned temperature."""
        from raykd.knowledge.learned_temperature import LearnedTemperature

        return LearnedTemperature(self.lowest, self.span, self.reversal)

    def reversal(self, epoch: int) -> float:
        """The factor on the temperature's gradient in an epoch (from 0), in [-adversary, 0]."""
        progress = min(epoch / self.curriculum_epochs, 1.0) if self.curriculum_epochs else 1.0
        return -self.adversary * (1 - math.cos(math.pi * progress)) / 2
