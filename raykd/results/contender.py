"""What contenders reached: each one's students over the seeds, and the differences between two, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from raykd.results.statistics import Estimate
from raykd.training.folder import MEMBERS


@dataclass(frozen=True)
class ContenderRow:
    """One contender's finished students. A subclass says which metric is compared.

    - name: of the contender
    - students: descriptions of the finished students (see `raykd.training.folder`), by seed
    """

    metric: ClassVar[str]
    """Accuracy on the split that the students are measured on, as a share."""

    name: str
    students: Mapping[int, Mapping[str, Any]]

    @property
    def accuracies(self) -> dict[int, float]:
        """Of the students after their last epoch, by seed."""
        return {seed: student["metrics"][self.metric] for seed, student in self.students.items()}

    @property
    def accuracy(self) -> Estimate | None:
        """Of the students after their last epoch; None if none has finished."""
        return Estimate.of(self.accuracies.values())

    @property
    def best_accuracy(self) -> Estimate | None:
        """Of the students after the epoch that is best on this very split, and so too good."""
        return Estimate.of(student["metrics"][f"best_{self.metric}"] for student in self.students.values())

    def over(self, other: ContenderRow) -> Estimate | None:
        """By how much the students' last accuracy exceeds that of another's, over the seeds that both have."""
        return Estimate.of_differences(self.accuracies, other.accuracies)

    def missing(self, seeds: int) -> str:
        """Such as " (2 of 3)" where not all students have finished; else nothing."""
        return f" ({len(self.students)} of {seeds})" if len(self.students) < seeds else ""


def images_seen(description: Mapping[str, Any]) -> int:
    """Training images that a network, or several as one, has seen over all epochs.

    0 of an external teacher, whose images are unknown.
    """
    images: int = description["epochs"] * description["data"]["split_sizes"]["train"]
    # Of k teachers that teach as one, each has seen all but its fold.
    return images * max(len(description.get(MEMBERS, ())) - 1, 1)
