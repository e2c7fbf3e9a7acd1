"""Hard-label distillation: the teacher's class as a second label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, LogitMethod, as_published

if TYPE_CHECKING:
    from torch import Tensor


class Hard(LogitMethod):
    """Hard-label distillation: cross-entropy with the teacher's class, at temperature 1 whatever the settings say.

    Students with a distillation token (timm's ``deit_*_distilled_*``) learn it with that token's head.
    """

    name = "hard"
    labels = "unused"
    formula = "mean_i -log softmax(student_i)_t, t = argmax teacher_i"
    source = (
        "Touvron et al.: Training data-efficient image transformers & distillation through attention, ICML 2021, "
        "arXiv 2012.12877, equation 3"
    )
    published = as_published(ce_weight=0.5, kd_weight=0.5)

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B]; temperatures have no part in it."""
        return self.loss(answers.student * answers.student_temperature, answers.teacher, answers.labels)

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy [B] of logits [B, C] with the teacher's argmax."""
        from torch.nn import functional as F

        return F.cross_entropy(student, teacher.argmax(dim=1), reduction="none")
