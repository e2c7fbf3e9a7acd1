"""Plain knowledge distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import LogitMethod, as_published

if TYPE_CHECKING:
    from torch import Tensor


class Kd(LogitMethod):
    """Knowledge distillation: Kullback-Leibler divergence of the softened answers."""

    name = "kd"
    labels = "unused"
    formula = "T^2 mean_i KL(softmax(teacher_i / T) || softmax(student_i / T))"
    source = "Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, arXiv 1503.02531, section 2"
    published = as_published(ce_weight=0.1, kd_weight=0.9, temperature=4.0)

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [B] of tempered logits [B, C] and labels int64 [B], without any T^2."""
        return kd(student, teacher, labels)


def kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return KL(softmax(teacher) || softmax(student)) [B], in nats, of tempered logits [B, C].

    Hinton et al., arXiv 1503.02531, section 2. The labels are not used.
    """
    log_p = teacher.log_softmax(dim=1)
    log_q = student.log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)
