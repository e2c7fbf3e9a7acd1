"""Refined logit distillation: the teacher's confidence and its ranking below the label, never its mistakes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, LogitMethod, as_published
from raykd.knowledge.methods.dkd import binary_kl, decouple
from raykd.settings import NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


class Rld(LogitMethod):
    """Refined logit distillation: the teacher's confidence for the label, and its view of the classes below it."""

    name = "rld"
    formula = (
        "confidence_weight c^2 mean_i KL([max p, 1 - max p] || [q_y, 1 - q_y]) at temperature c "
        "+ ranking_weight T^2 mean_i KL(p || q) at temperature T over the classes that the teacher ranks below y"
    )
    source = "Sun et al.: Knowledge Distillation with Refined Logits, ICCV 2025, arXiv 2408.07703"
    published = as_published(ce_weight=1.0, kd_weight=1.0, temperature=4.0, warmup_epochs=20)

    confidence_weight: NonNegative = 1.0
    """Weight of the binary part between the teacher's highest probability and the student's for the label."""
    ranking_weight: NonNegative = 8.0
    """Weight of the part over the classes below the label; published: 8 on CIFAR-100, 0.5 (and temperature 1) on
    ImageNet."""
    confidence_temperature: Positive = 1.0
    """Temperature of the binary part, for both networks."""

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        teacher = answers.teacher * answers.teacher_temperature / self.confidence_temperature
        student = answers.student * answers.student_temperature / self.confidence_temperature
        teacher_lead, _ = decouple(teacher, teacher.argmax(dim=1))
        student_lead, _ = decouple(student, answers.labels)
        confidence = self.confidence_temperature**2 * binary_kl(student_lead, teacher_lead)
        ranking = answers.squared_weight * _kl_below_label(answers.student, answers.teacher, answers.labels)
        return self.confidence_weight * confidence + self.ranking_weight * ranking


def _kl_below_label(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return the KL [B] among the classes that the teacher ranks below the label; 0 where there are none."""
    below = teacher < teacher.gather(1, labels.unsqueeze(1))
    log_p, log_q = (_log_share(logits, below) for logits in (teacher, student))
    # Left out before exp, which overflows for classes far above the label: infinity times 0 is NaN in the gradient.
    p = log_p.masked_fill(~below, -math.inf).exp()
    return (p * (log_p - log_q)).sum(dim=1)


def _log_share(logits: Tensor, among: Tensor) -> Tensor:
    """Return log softmax [B, C] among some classes; arbitrary but finite elsewhere, and with finite gradients."""
    # All classes of a row without any count, so that no logarithm of nothing is taken; the caller drops them.
    counted = among | ~among.any(dim=1, keepdim=True)
    return logits - logits.masked_fill(~counted, -math.inf).logsumexp(dim=1, keepdim=True)
