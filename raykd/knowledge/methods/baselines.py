"""Baselines without teacher: what every method has to beat."""

from __future__ import annotations

from raykd.knowledge.methods.base import TeacherFree, as_published
from raykd.settings import Share


class CrossEntropy(TeacherFree):
    """Cross-entropy with the labels alone: the plain student."""

    name = "cross_entropy"
    formula = "mean_i -log softmax(student_i)_y"
    source = "the usual training of a classifier"
    published = as_published(ce_weight=1.0)


class LabelSmoothing(TeacherFree):
    """Cross-entropy with smoothed labels, the simplest of all teachers."""

    name = "label_smoothing"
    formula = "mean_i -sum_k ((1 - amount) [k = y] + amount / C) log softmax(student_i)_k"
    source = "Szegedy et al.: Rethinking the Inception Architecture, CVPR 2016, arXiv 1512.00567, section 7"
    published = as_published(ce_weight=1.0)

    amount: Share = 0.1
    """Share of the label's weight that is spread over all classes."""

    @property
    def smoothing(self) -> float | None:
        """Label smoothing of the cross-entropy."""
        return self.amount
