"""Similarity preserving: samples that excite the teacher alike should excite the student alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import FeatureMethod, Hints, as_published
from raykd.settings import NonNegative

if TYPE_CHECKING:
    from torch import Tensor


class Sp(FeatureMethod):
    """Similarity preserving: squared distance of the samples' similarity matrices."""

    name = "sp"
    labels = "unused"
    formula = (
        "weight / B^2 sum_layers |G(teacher_features) - G(student_features)|_F^2, G(f) = f f^T with rows of length 1"
    )
    source = "Tung, Mori: Similarity-Preserving Knowledge Distillation, ICCV 2019, arXiv 1907.09682"
    published = as_published(ce_weight=1.0, kd_weight=0.0)
    where = "last"

    weight: NonNegative = 3000.0
    """Weight of the feature term."""

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        total = hints.student[0].new_zeros(())
        for student, teacher in zip(hints.student, hints.teacher, strict=True):
            total = total + (_similarity(student) - _similarity(teacher)).square().mean()
        return total


def _similarity(features: Tensor) -> Tensor:
    from torch.nn import functional as F

    rows = features.flatten(1)
    return F.normalize(rows @ rows.T, dim=1)
