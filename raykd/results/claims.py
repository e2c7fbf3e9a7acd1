"""What the study of the papers' claims found: every student's figures, and what they say about each claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from raykd.records import read_json, write_json
from raykd.results.questions import QUESTIONS, TEACHER, Comparison
from raykd.results.statistics import Estimate

LEVEL = 0.05
"""Of Holm's correction, over the comparisons of one question under one condition."""

Finding = Literal["shown", "refuted", "not shown", "seeds missing"]
FINDINGS: tuple[Finding, ...] = get_args(Finding)


@dataclass(frozen=True)
class StudentRecord:
    """One student on the test split.

    - variant: the conditions, such as ``strong``
    - contender, seed: whose student it is
    - accuracy: after its last epoch
    - teacher_accuracy: its teacher's, on the same images; None without one
    - wrong_share: share of the training images that its teacher answered wrongly in the last epoch
    - beyond: of the test images that the standard teacher of its seed answers wrongly, the share that it answers
      rightly; None where that is not asked about
    - epochs: it was trained for
    """

    variant: str
    contender: str
    seed: int
    accuracy: float
    teacher_accuracy: float | None
    wrong_share: float | None
    beyond: float | None
    epochs: int


@dataclass(frozen=True)
class TunedFamily:
    """The best of a family's settings on the validation split, under one seed.

    - accuracies: of all that were tried, in their order; None of a student that diverged
    """

    variant: str
    family: str
    values: Mapping[str, Any]
    accuracies: tuple[float | None, ...]


@dataclass
class Machines:
    """Where students were trained one after the other; a record that goes on elsewhere has several.

    - cluster: its nodes and devices
    - versions: of the packages there
    - students: how many it has added to the record
    - seconds: how long that took
    """

    cluster: str
    versions: Mapping[str, str | int]
    students: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """One comparison under one condition.

    - difference: of the first from the second, seed by seed
    - p: two-sided, by Holm's correction; None where there is no interval
    """

    comparison: Comparison
    variant: str
    difference: Estimate
    p: float | None

    @property
    def finding(self) -> Finding:
        """Whether the claim is shown, its opposite is shown, or neither; nothing before all students are measured."""
        if self.difference.missing:
            return "seeds missing"
        if self.p is None or self.p >= LEVEL:
            return "not shown"
        return "shown" if self.difference.mean > 0 else "refuted"


@dataclass
class ClaimsRecord:
    """All that was measured; it is kept as JSON, and tables are made from it.

    - about: data, networks, budgets
    - machines: where, in the order of the students
    """

    about: dict[str, Any] = field(default_factory=dict)
    machines: list[Machines] = field(default_factory=list)
    tuned: list[TunedFamily] = field(default_factory=list)
    students: list[StudentRecord] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> ClaimsRecord:
        """The record in a file; an empty one if there is no file."""

        def made_of(content: Any) -> ClaimsRecord:
            tuned = [TunedFamily(**each | {"accuracies": tuple(each["accuracies"])}) for each in content["tuned"]]
            machines = [Machines(**each) for each in content["machines"]]
            return cls(content["about"], machines, tuned, [StudentRecord(**each) for each in content["students"]])

        return read_json(file, made_of, "delete it: it is made again of the trained students") or cls()

    def write(self, file: Path) -> None:
        """Replace the file, in one move."""
        write_json(file, asdict(self))

    def add(
        self, students: Sequence[StudentRecord], seconds: float, cluster: str, versions: Mapping[str, str | int]
    ) -> None:
        """Put down students that were trained on these machines in so many seconds."""
        last = self.machines[-1] if self.machines else None
        if last is None or (last.cluster, last.versions) != (cluster, versions):
            last = Machines(cluster, versions)
            self.machines.append(last)
        last.students += len(students)
        last.seconds += seconds
        self.students += students

    @property
    def variants(self) -> list[str]:
        """The conditions that were tried, in their order."""
        return list(dict.fromkeys(student.variant for student in self.students))

    def of(self, variant: str, contender: str) -> dict[int, StudentRecord]:
        """A contender's students under one condition, by seed."""
        return {each.seed: each for each in self.students if (each.variant, each.contender) == (variant, contender)}

    def outcomes(self) -> Iterator[Outcome]:
        """What is known of every claim, condition by condition, as far as both sides were measured."""
        for variant in self.variants:
            for question in QUESTIONS.values():
                found = [(each, self._difference(variant, each)) for each in question.comparisons]
                known = [(each, difference) for each, difference in found if difference is not None]
                # What is not measured yet counts as a comparison: its seeds may not make others easier to show.
                corrected = holm([1.0 if difference.missing else difference.p for _, difference in known])
                for (each, difference), p in zip(known, corrected, strict=True):
                    yield Outcome(each, variant, difference, None if difference.missing else p)

    def seeds(self, variant: str) -> int:
        """Under how many seeds every contender has a student, once all are measured."""
        measured = {student.seed for student in self.students if student.variant == variant}
        return int(self.about.get("seeds", len(measured)))

    def _difference(self, variant: str, comparison: Comparison) -> Estimate | None:
        names = (comparison.better, comparison.than)
        better, than = (self._figures(variant, name, comparison.figure) for name in names)
        return Estimate.of_differences(better, than, wanted=self.seeds(variant))

    def _figures(self, variant: str, name: str, figure: str) -> dict[int, float]:
        """By seed; of a teacher, its accuracy."""
        of_teacher = name.startswith(TEACHER)
        students = self.of(variant, name.removeprefix(TEACHER))
        found = {s: getattr(each, "teacher_accuracy" if of_teacher else figure) for s, each in students.items()}
        return {seed: value for seed, value in found.items() if value is not None}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979); unknown ones stay, and do not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min((len(known) - rank) * p, 1.0))
        corrected[place] = largest
    return corrected


def summary(outcomes: Iterable[Outcome]) -> dict[Finding, int]:
    """How many comparisons came out how."""
    counts = dict.fromkeys(FINDINGS, 0)
    for outcome in outcomes:
        counts[outcome.finding] += 1
    return counts
