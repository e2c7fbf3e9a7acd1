"""Relational distillation: distances and angles between the samples' embeddings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import FeatureMethod, Hints, as_published
from raykd.settings import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

SAME = 1e-6
"""Samples closer than this share of the mean distance have no direction between them: it would be rounding."""
SMALLEST_MEAN = 1e-12
"""Smallest mean distance that distances are divided by."""


class Rkd(FeatureMethod):
    """Relational knowledge distillation: distances between pairs and angles between triples of samples."""

    name = "rkd"
    labels = "unused"
    formula = (
        "weight [distance_weight mean_ij huber(d(t_i, t_j) - d(s_i, s_j)) "
        "+ angle_weight mean_ijk huber(cos(t_i t_j t_k) - cos(s_i s_j s_k))], d over its batch mean"
    )
    source = "Park et al.: Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068"
    published = as_published(ce_weight=1.0, kd_weight=0.0)
    where = "embedding"

    weight: NonNegative = 1.0
    """Weight of the feature term."""
    distance_weight: NonNegative = 25.0
    """Weight of the distances."""
    angle_weight: NonNegative = 50.0
    """Weight of the angles."""

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        from torch.nn import functional as F

        total = hints.student[0].new_zeros(())
        for pair in zip(hints.student, hints.teacher, strict=True):
            student, teacher = (_relations(features.flatten(1)) for features in pair)
            distance, angle = map(F.smooth_l1_loss, student, teacher)
            total = total + self.distance_weight * distance + self.angle_weight * angle
        return total


def _relations(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances [B, B] between rows [B, D] over their mean, and the cosines [B, B, B] at the first of three.

    Lengths are taken of differences: |a|^2 + |b|^2 - 2 a.b cancels where rows are long and close.
    """
    from torch.linalg import vector_norm

    differences = rows.unsqueeze(0) - rows.unsqueeze(1)
    lengths = vector_norm(differences, dim=2)
    pairs = len(rows) * (len(rows) - 1)
    mean = (lengths.sum() / max(pairs, 1)).clamp(min=SMALLEST_MEAN)
    directions = differences / lengths.masked_fill(lengths < SAME * mean, math.inf).unsqueeze(2)
    return lengths / mean, directions @ directions.transpose(1, 2)
