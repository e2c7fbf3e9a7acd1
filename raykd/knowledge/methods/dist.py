"""DIST: correlations instead of divergences, within each sample and within each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, BatchMethod, as_published
from raykd.settings import NonNegative, Share

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_NORM = 1e-8
"""Rows or columns shorter than this count as constant, and correlate with nothing."""


class Dist(BatchMethod):
    """Distillation from a stronger teacher: Pearson correlation of answers within samples and within classes.

    With `floor` 0 it is the paper's in every case, otherwise wherever the student's answers differ more.
    """

    name = "dist"
    labels = "unused"
    formula = (
        "T^2 [inter_weight (1 - mean_i corr(p_i, q_i)) + intra_weight (1 - mean_k corr(p_.k, q_.k))], "
        "p and q softmax of teacher and student over T, i a sample, k a class, "
        "corr(p, q) = cos(p - mean p, q - mean q) with |q - mean q| at least floor |r - mean r|, "
        "r = p T_teacher / T_student"
    )
    source = "Huang et al.: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv 2205.10536"
    published = as_published(ce_weight=1.0, kd_weight=1.0, temperature=4.0)

    inter_weight: NonNegative = 2.0
    """Weight of the correlation between classes within each sample (the paper's beta)."""
    intra_weight: NonNegative = 2.0
    """Weight of the correlation between samples within each class (the paper's gamma)."""
    floor: Share = 0.1
    """Share of the teacher's deviations that the student's count as at least, for each sample and for each class:
    without it (0, as in the paper), answers that hardly differ yet get gradients without bound."""

    def among(self, answers: Answers, chosen: Tensor) -> Tensor:
        """Return the loss, 0-dim, of the chosen (bool [B]) samples alone, with its temperature weight; 0 of none."""
        p, q = answers.teacher.softmax(dim=1), answers.student.softmax(dim=1)
        # Near-uniform answers are shorter the higher the temperature.
        least = self.floor * answers.teacher_temperature / answers.student_temperature * p
        present = chosen.to(q.dtype)
        count = present.sum().clamp(min=1)
        weights = answers.squared_weight * present
        of_p, of_q, of_least = (x - x.mean(dim=1, keepdim=True) for x in (p, q, least))
        inter = (weights * (1 - _cosine(of_p, of_q, of_least, dim=1))).sum() / count
        # Absent samples are moved to the mean of the others, where they add nothing to a correlation.
        column = present.unsqueeze(1)
        p, q, least = (column * (x - (column * x).sum(dim=0) / count) for x in (p, q, least))
        intra = weights.sum() / count * (1 - _cosine(p, q, least, dim=0)).mean()
        return self.inter_weight * inter + self.intra_weight * intra


def _cosine(p: Tensor, q: Tensor, least: Tensor, dim: int) -> Tensor:
    """Return <p, q> / (|p| |q|) along a dimension, |q| counting as at least |least|."""
    of_q = q.square().sum(dim).maximum(least.square().sum(dim))
    # Clamped before the root, whose slope at 0 is infinite.
    norms = (p.square().sum(dim) * of_q).clamp(min=SMALLEST_NORM**2).sqrt()
    return (p * q).sum(dim) / norms
