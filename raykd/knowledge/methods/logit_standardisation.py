"""Logit standardisation: answers are compared after their logits have been z-scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, LogitMethod, as_published
from raykd.knowledge.methods.kd import kd
from raykd.knowledge.temperature import floored, std_temperature
from raykd.settings import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor


class LogitStandardisation(LogitMethod):
    """Knowledge distillation between z-scored logits, whatever the temperature policy.

    The same as kd under `temperature.policy` std with `temperature.loss_weight` multiplier, which other methods can
    have as well. With `floor` 0 it is the paper's in every case, otherwise wherever the student's logits spread more.
    """

    name = "logit_standardisation"
    labels = "unused"
    formula = (
        "base^2 mean_i KL(softmax(Z(teacher_i) / base) || softmax(Z(student_i) / base)), Z(x) = (x - mean x) / std x, "
        "the student's std being at least floor times the teacher's"
    )
    source = "Sun et al.: Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427"
    published = as_published(ce_weight=0.1, kd_weight=9.0)
    finite = True

    base_temperature: Positive = 2.0
    """Temperature of the z-scored logits."""
    floor: Share = 0.1
    """Share of the teacher's standard deviation that the student's counts as at least, as `temperature.floor`."""

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        # The mean changes no softmax.
        student = answers.student * answers.student_temperature
        teacher = answers.teacher * answers.teacher_temperature
        teacher_temperature = std_temperature(teacher, self.base_temperature)
        student_temperature = floored(std_temperature(student, self.base_temperature), teacher_temperature, self.floor)
        loss = kd(student / student_temperature, teacher / teacher_temperature, answers.labels)
        return self.base_temperature**2 * loss
