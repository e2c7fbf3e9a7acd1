"""DIST: correlations instead of divergences, within each sample and within each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, BatchMethod, as_published
from raykd.settings import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_NORM = 1e-8
"""Rows or columns shorter than this count as constant, and correlate with nothing."""


class Dist(BatchMethod):
    """Distillation from a stronger teacher: Pearson correlation of answers within samples and within classes."""

    name = "dist"
    formula = (
        "T^2 [inter_weight (1 - mean_i corr(p_i, q_i)) + intra_weight (1 - mean_k corr(p_.k, q_.k))], "
        "p and q softmax of teacher and student over T, i a sample, k a class"
    )
    source = "Huang et al.: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv 2205.10536"
    published = as_published(ce_weight=1.0, kd_weight=1.0, temperature=4.0)

    inter_weight: NonNegative = 2.0
    """Weight of the correlation between classes within each sample (the paper's beta)."""
    intra_weight: NonNegative = 2.0
    """Weight of the correlation between samples within each class (the paper's gamma)."""

    def among(self, answers: Answers, chosen: Tensor) -> Tensor:
        """Return the loss, 0-dim, of the chosen (bool [B]) samples alone, with its temperature weight; 0 of none."""
        p, q = answers.teacher.softmax(dim=1), answers.student.softmax(dim=1)
        present = chosen.to(q.dtype)
        count = present.sum().clamp(min=1)
        weights = answers.squared_weight * present
        inter = (weights * (1 - _correlation(p, q, dim=1))).sum() / count
        # Absent samples are moved to the mean of the others, where they add nothing to a correlation.
        column = present.unsqueeze(1)
        p, q = (column * (x - (column * x).sum(dim=0) / count) for x in (p, q))
        intra = weights.sum() / count * (1 - _cosine(p, q, dim=0)).mean()
        return self.inter_weight * inter + self.intra_weight * intra


def _correlation(p: Tensor, q: Tensor, dim: int) -> Tensor:
    return _cosine(p - p.mean(dim, keepdim=True), q - q.mean(dim, keepdim=True), dim)


def _cosine(p: Tensor, q: Tensor, dim: int) -> Tensor:
    # Clamped before the root, whose slope at 0 is infinite.
    norms = (p.square().sum(dim) * q.square().sum(dim)).clamp(min=SMALLEST_NORM**2).sqrt()
    return (p * q).sum(dim) / norms
