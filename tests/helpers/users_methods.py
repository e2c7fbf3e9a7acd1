"""What users might hand over by import path: methods, and things that are none."""

from __future__ import annotations

import torch
from torch import Tensor

from raykd.knowledge.methods.base import (
    Answers,
    BatchMethod,
    FeatureMethod,
    Hints,
    LogitMethod,
    Method,
    TeacherFree,
)
from raykd.settings import Positive

NUMBER = 3


def absolute(student: Tensor, teacher: Tensor, labels: Tensor, *, power: float = 1.0) -> Tensor:
    """Mean absolute difference of probabilities, to a power."""
    return (student.softmax(dim=1) - teacher.softmax(dim=1)).abs().mean(dim=1) ** power


def averaged(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Wrong: one number for the batch."""
    return absolute(student, teacher, labels).mean()


class Sharpened(LogitMethod):
    """Mean absolute difference of sharpened probabilities."""

    sharpness: Positive = 2.0
    """How much the teacher's answers are sharpened."""

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [B] of tempered logits [B, C] and labels int64 [B], without any T^2."""
        return absolute(student, teacher * self.sharpness, labels)


class Means(BatchMethod):
    """Squared distance of the mean answers."""

    scale: Positive = 1.0

    def among(self, answers: Answers, chosen: Tensor) -> Tensor:
        """Return the loss, 0-dim, of the chosen (bool [B]) samples alone; 0 of none."""
        share = chosen.float().unsqueeze(1) / chosen.sum().clamp(min=1)
        means = [(share * x.softmax(dim=1)).sum(dim=0) for x in (answers.student, answers.teacher)]
        return self.scale * (means[0] - means[1]).square().sum()


class Norms(FeatureMethod):
    """Squared difference of the lengths of the last features."""

    where = "embedding"
    weight: Positive = 3.0

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        student, teacher = (features[-1].flatten(1).norm(dim=1) for features in (hints.student, hints.teacher))
        return (student - teacher).square().mean()


class Baseline(TeacherFree):
    """Cross-entropy with half smoothed labels."""

    @property
    def smoothing(self) -> float | None:
        """Label smoothing of the cross-entropy."""
        return 0.5


class Unfinished(LogitMethod):
    """Computes nothing."""


class UnfinishedBatch(BatchMethod):
    """Computes nothing."""


class Nowhere(FeatureMethod):
    """Does not say where its hints are."""

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch."""
        return torch.zeros(())


class Kindless(Method):
    """A method of no kind."""


class Unrelated:
    """No method at all."""
