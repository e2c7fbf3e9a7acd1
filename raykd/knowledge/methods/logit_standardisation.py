"""Logit standardisation: answers are compared after their logits have been z-scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, LogitMethod, as_published
from raykd.knowledge.methods.kd import kd
from raykd.knowledge.temperature import TemperatureSettings
from raykd.settings import Positive

if TYPE_CHECKING:
    from torch import Tensor


class LogitStandardisation(LogitMethod):
    """Knowledge distillation between z-scored logits, whatever the temperature policy.

    The same as kd under `temperature.policy` std with `temperature.loss_weight` multiplier, which other methods can
    have as well.
    """

    name = "logit_standardisation"
    formula = (
        "base^2 mean_i KL(softmax(Z(teacher_i) / base) || softmax(Z(student_i) / base)), Z(x) = (x - mean x) / std x"
    )
    source = "Sun et al.: Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427"
    published = as_published(ce_weight=0.1, kd_weight=9.0)
    finite = True

    base_temperature: Positive = 2.0
    """Temperature of the z-scored logits."""

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        student = self._standardised(answers.student * answers.student_temperature)
        teacher = self._standardised(answers.teacher * answers.teacher_temperature)
        return self.base_temperature**2 * kd(student, teacher, answers.labels)

    def _standardised(self, logits: Tensor) -> Tensor:
        # The mean changes no softmax.
        return logits / TemperatureSettings(policy="std", multiplier=self.base_temperature).of(logits)
