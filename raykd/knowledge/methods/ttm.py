"""Transformed teacher matching: only the teacher is tempered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, LogitMethod, as_published
from raykd.knowledge.methods.kd import kd

if TYPE_CHECKING:
    from torch import Tensor


class Ttm(LogitMethod):
    """Transformed teacher matching: the teacher's answers to the power 1 / T against the student's untempered ones."""

    name = "ttm"
    labels = "unused"
    formula = "mean_i KL(softmax(teacher_i / T) || softmax(student_i)), without T^2"
    source = "Zheng, Yang: Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024, arXiv 2402.11148"
    # The authors' README, for VGG13-VGG8; their weight differs from pair to pair.
    published = as_published(ce_weight=1.0, kd_weight=45.0, temperature=10.0)

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        return kd(answers.student * answers.student_temperature, answers.teacher, answers.labels)


class Wttm(Ttm):
    """Weighted transformed teacher matching: samples with a smooth answer have more weight."""

    name = "wttm"
    formula = "mean_i U_i KL(softmax(teacher_i / T) || softmax(student_i)), U_i = sum_k softmax(teacher_i)_k^(1 / T)"
    # The authors' README, beside crd; their weight differs from pair to pair.
    published = as_published(ce_weight=1.0, kd_weight=4.0, temperature=5.0)

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        temperature = answers.teacher_temperature.squeeze(1)
        untempered = answers.teacher * answers.teacher_temperature
        log_power_sum = answers.teacher.logsumexp(dim=1) - untempered.logsumexp(dim=1) / temperature
        return log_power_sum.exp() * super().rows(answers)
