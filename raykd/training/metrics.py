"""Means of metrics over an epoch, summed on the device: the CPU waits for it once, at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from raykd.knowledge import Losses
from raykd.training.messages import Report
from raykd.training.team import Team


class MetricSums:
    """Sums of 0-dim tensors by name, each with the number of samples or batches it stands for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, sums: Mapping[str, Tensor], count: int) -> None:
        """Add sums over `count` samples, or values of one batch (`count` 1)."""
        for name, value in sums.items():
            known = self._sums.get(name)
            # float64 counts exactly; a GPU adds it as a scalar, without a wait.
            self._sums[name] = value.double() if known is None else known + value
            self._counts[name] = self._counts.get(name, 0) + count

    def means(self, team: Team, elsewhere: Iterable[str] = ()) -> dict[str, float]:
        """Means over all workers: one all-reduce, and one wait for the device.

        Args:
            team: The workers.
            elsewhere: Names that other workers may have added to and this one not; all must sum the same.
        """
        names = sorted({*self._sums, *elsewhere})
        if not names:
            return {}
        nothing = torch.zeros((), dtype=torch.float64, device=team.device)
        sums = torch.stack([self._sums.get(name, nothing) for name in names])
        counted = [self._counts.get(name, 0) for name in names]
        counts = torch.tensor(counted, dtype=torch.float64, device=sums.device)
        totals = team.sum(torch.stack([sums, counts]))
        return dict(zip(names, (totals[0] / totals[1]).tolist(), strict=True))


class StudentMetrics:
    """The metrics of a student in one epoch, gathered batch by batch.

    Args:
        held_out: Name of the split that it is measured on.
        taught: Whether it has a teacher.
        averaged: Whether the average of its weights is judged, see `raykd.training.average`.
    """

    def __init__(self, held_out: str, *, taught: bool, averaged: bool) -> None:
        self._accuracy, self._loss = f"{held_out}_accuracy", f"{held_out}_loss"
        # Of the weights as they are.
        self._raw_accuracy = f"{held_out}_accuracy_raw"
        self._answers = [self._accuracy, self._loss]
        self._answers += ["teacher_agreement"] if taught else []
        self._answers += [self._raw_accuracy] if averaged else []
        self._sums = MetricSums()

    def add_step(self, losses: Losses, logits: Tensor, labels: Tensor) -> None:
        """Count the losses and the right answers of a training step: logits [B, classes], labels [B]."""
        self._sums.add(losses.parts | {"loss": losses.total.detach()}, 1)
        self._sums.add({"train_accuracy": (logits.argmax(1) == labels).sum()}, len(labels))

    def add_answers(self, logits: Tensor, labels: Tensor, teacher_answers: Tensor | None) -> None:
        """Count the answers to a held-out batch: logits [B, classes], labels [B], the teacher's classes [B] or None."""
        logits = logits.float()
        answers = logits.argmax(1)
        counts = {
            self._accuracy: (answers == labels).sum(),
            self._loss: F.cross_entropy(logits, labels, reduction="sum"),
        }
        if teacher_answers is not None:
            counts["teacher_agreement"] = (answers == teacher_answers).sum()
        self._sums.add(counts, len(labels))

    def add_raw_answers(self, logits: Tensor, labels: Tensor) -> None:
        """Count the right answers that the weights as they are give, where their average is judged."""
        self._sums.add({self._raw_accuracy: (logits.argmax(1) == labels).sum()}, len(labels))

    def means(self, team: Team) -> dict[str, float]:
        """The means over all workers, see `MetricSums.means`; a new epoch begins."""
        # A worker may have had no held-out batch.
        means = self._sums.means(team, self._answers)
        self._sums = MetricSums()
        return means

    def best(self, metrics: Mapping[str, float], history: Sequence[Report]) -> dict[str, float]:
        """The highest accuracy so far, of an epoch's metrics and of earlier reports, and its epoch (1-based)."""
        accuracies = [*(report.metrics[self._accuracy] for report in history), metrics[self._accuracy]]
        best = max(accuracies)
        return {f"best_{self._accuracy}": best, "best_epoch": accuracies.index(best) + 1}

    def diverged(self, metrics: Mapping[str, float]) -> bool:
        """Whether an epoch's losses are no longer finite."""
        return not (math.isfinite(metrics["loss"]) and math.isfinite(metrics[self._loss]))
