"""What contenders reached: each one's students over the seeds, and the differences between two, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from raykd.results.statistics import Estimate
from raykd.training.folder import MEMBERS


@dataclass(frozen=True)
class ContenderRow:
    """One contender's finished students. A subclass says which metric is compared.

    - name: of the contender
    - seeds: under which it was to have students
    - students: descriptions of the finished students (see `raykd.training.folder`), by seed
    """

    metric: ClassVar[str]
    """Accuracy on the split that the students are measured on, as a share."""

    name: str
    seeds: Sequence[int]
    students: Mapping[int, Mapping[str, Any]]

    @property
    def accuracies(self) -> dict[int, float]:
        """Of the students after their last epoch, by seed."""
        return {seed: student["metrics"][self.metric] for seed, student in self.students.items()}

    @property
    def accuracy(self) -> Estimate | None:
        """Of the students after their last epoch; None if none has finished."""
        return self.estimate(self.accuracies.values())

    @property
    def best_accuracy(self) -> Estimate | None:
        """Of the students after the epoch that is best on this very split, and so too good."""
        return self.estimate(student["metrics"][f"best_{self.metric}"] for student in self.students.values())

    def over(self, other: ContenderRow) -> Estimate | None:
        """By how much the students' last accuracy exceeds that of another's, over the seeds that both have."""
        return Estimate.of_differences(self.accuracies, other.accuracies, wanted=len(self.seeds))

    def estimate(self, numbers: Iterable[float]) -> Estimate | None:
        """The estimate from one number of each seed that is known; None of none."""
        return Estimate.of(numbers, wanted=len(self.seeds))

    @property
    def missing(self) -> tuple[int, ...]:
        """The seeds whose students have not finished."""
        return tuple(seed for seed in self.seeds if seed not in self.students)


def without_students(rows: Iterable[ContenderRow]) -> str:
    """Whose students are missing, in words, such as "kd of seed 3, dkd of seeds 1, 2"; empty if nobody's are."""
    lacking = [row for row in rows if row.missing]
    return ", ".join(
        f"{row.name} of seed{'s' if len(row.missing) > 1 else ''} {', '.join(map(str, row.missing))}" for row in lacking
    )


def images_seen(description: Mapping[str, Any]) -> int:
    """Training images that a network, or several as one, has seen over all epochs.

    0 of an external teacher, whose images are unknown.
    """
    images: int = description["epochs"] * description["data"]["split_sizes"]["train"]
    # Of k teachers that teach as one, each has seen all but its fold.
    return images * max(len(description.get(MEMBERS, ())) - 1, 1)
