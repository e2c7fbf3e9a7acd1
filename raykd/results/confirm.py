"""What a confirm found: each row's numbers over the seeds, and whether the winner beats whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from raykd.places import PLAIN
from raykd.results.contender import ContenderRow, images_seen
from raykd.results.statistics import Estimate, Verdict
from raykd.tracking import Address

TEST = "test_accuracy"
"""The metric that is confirmed."""
PUBLISHED_EPOCHS = 240
"""Length of the training that published warm-ups belong to; a shorter one warms up for the same share of it."""


@dataclass(frozen=True)
class ChosenTrial:
    """A trial of the study that is confirmed.

    - name: as in folders and MLflow
    - values: the searched settings by dotted name
    - accuracy: on the validation split after its last epoch
    """

    name: str
    values: Mapping[str, Any]
    accuracy: float


@dataclass(frozen=True)
class Fixed:
    """What is fixed before the test split is touched.

    - study: name of the study
    - trials: those that are confirmed, best first
    - seeds: of the students
    - began: when, as ISO 8601 in UTC
    """

    study: str
    trials: tuple[ChosenTrial, ...]
    seeds: tuple[int, ...]
    began: str


@dataclass(frozen=True)
class Use:
    """One use of a study's test split: by the confirm of this name, begun then."""

    confirm: str
    began: str

    def __str__(self) -> str:
        return f"{self.confirm} ({self.began})"


@dataclass(frozen=True)
class TeacherRow:
    """A teacher, of whom there is one.

    - name: see `raykd.study.contenders.NamedTeacher`
    - parameters: of its network
    - model: its description (see `raykd.training.folder`)
    """

    name: str
    parameters: int
    model: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """On the test split, after its last epoch."""
        accuracy: float = self.model["metrics"][TEST]
        return accuracy

    @property
    def best_accuracy(self) -> float | None:
        """After the epoch that is best on the test split itself; None of an external teacher."""
        best: float | None = self.model["metrics"].get(f"best_{TEST}")
        return best

    @property
    def images(self) -> int | None:
        """Training images that it has seen, over all of its epochs; None of an external teacher."""
        return images_seen(self.model) or None


@dataclass(frozen=True)
class StudentRow(ContenderRow):
    """One contender's students, measured on the test split.

    - baseline: whether it is no trial of the study
    - teacher: name of its teacher, or None
    - parameters: of the student's network, and of its teacher's (None without one)
    - values: the searched settings, of a trial
    """

    metric: ClassVar[str] = TEST

    baseline: bool
    teacher: str | None
    parameters: int
    teacher_parameters: int | None
    values: Mapping[str, Any]

    @property
    def seconds(self) -> Estimate | None:
        """Of each student's class, over all of its epochs."""
        return self.estimate(student["seconds"] for student in self.students.values())

    @property
    def images(self) -> int | None:
        """Training images that each student has seen, over all of its epochs; None if none has finished."""
        student = next(iter(self.students.values()), None)
        return None if student is None else images_seen(student)

    def over_teacher(self, teacher: TeacherRow) -> Estimate | None:
        """By how much its students' last accuracy exceeds a teacher's one number."""
        return self.estimate(student["metrics"][TEST] - teacher.accuracy for student in self.students.values())


@dataclass(frozen=True)
class Answer:
    """Whether the winner beats those that it is held against.

    - difference: by how much it exceeds them; None if there are no students to compare, or it is not known whom
    - missing: contenders that a verdict needs and whose students have not all finished
    """

    difference: Estimate | None
    missing: tuple[StudentRow, ...]

    @property
    def verdict(self) -> Verdict:
        """What is shown; nothing while students are missing."""
        return "not shown" if self.difference is None or self.missing else self.difference.verdict


@dataclass(frozen=True)
class ConfirmResult:
    """A confirm's outcome.

    - folder: the confirm's
    - fixed: what was compared
    - teachers: the standard one first
    - rows: the baselines, the plain student first, then the trials, the winner of the search first
    - images: of the test split
    - others: other confirms that have used this test split
    - place: where MLflow has it
    """

    folder: Path
    fixed: Fixed
    teachers: tuple[TeacherRow, ...]
    rows: tuple[StudentRow, ...]
    images: int
    others: tuple[Use, ...]
    place: Address

    def row(self, name: str) -> StudentRow:
        """The row of that name. KeyError if there is none."""
        return {row.name: row for row in self.rows}[name]

    @property
    def winner(self) -> StudentRow:
        """The trial that was best on the validation split, whatever it does here."""
        return self.row(self.fixed.trials[0].name)

    @property
    def best_baseline(self) -> StudentRow | None:
        """The baseline of the highest mean here, of those whose students have all finished; None if there are none.

        Of equals it is the simpler one.
        """
        whole = [row for row in self.rows if row.baseline and not row.missing]
        means = [(row.accuracy.mean, row) for row in whole if row.accuracy is not None]
        return max(means, key=lambda each: each[0])[1] if means else None

    @property
    def unfinished_baselines(self) -> tuple[StudentRow, ...]:
        """Baselines of whom students are missing: any of them might be the best one."""
        return tuple(row for row in self.rows if row.baseline and row.missing)

    def answers(self) -> dict[str, Answer]:
        """Whether the winner beats the plain student, the best baseline, and each teacher; by what they are."""
        best, plain, unfinished = self.best_baseline, self.row(PLAIN), self.unfinished_baselines
        answers = {}
        if best is not plain or unfinished:
            answers["the plain student"] = self._against(plain)
        if unfinished:
            if best is not None and best is not plain:
                answers[f"{best.name}, the best of the baselines that have finished"] = self._against(best)
            # Which one it is, nobody knows yet.
            answers["the best baseline"] = Answer(None, unfinished)
        elif best is not None:
            name = (
                "the plain student, which is the best baseline" if best is plain else f"the best baseline, {best.name}"
            )
            answers[name] = self._against(best)
        lacking = (self.winner,) if self.winner.missing else ()
        of_teachers = {f"the {each.name} teacher": self.winner.over_teacher(each) for each in self.teachers}
        return answers | {name: Answer(difference, lacking) for name, difference in of_teachers.items()}

    def _against(self, row: StudentRow) -> Answer:
        return Answer(self.winner.over(row), tuple(each for each in (self.winner, row) if each.missing))

    def summary(self) -> dict[str, float]:
        """All that the table shows, as metrics; what is not known, as while students are missing, is left out."""
        best = None if self.unfinished_baselines else self.best_baseline
        metrics: dict[str, float | None] = {"test_images": float(self.images)}
        for teacher in self.teachers:
            metrics[f"{teacher.name} teacher/{TEST}"] = teacher.accuracy
        for row in self.rows:
            estimates = {TEST: row.accuracy, f"best_{TEST}": row.best_accuracy, "class_seconds": row.seconds}
            if best is not None and row is not best:
                estimates["over_best_baseline"] = None if row.missing else row.over(best)
            for name, each in estimates.items():
                if each is not None:
                    metrics |= {f"{row.name}/{name}": each.mean, f"{row.name}/{name}_sd": each.sd}
            metrics[f"{row.name}/students"] = float(len(row.students))
        if best is not None and not self.winner.missing and (difference := self.winner.over(best)) is not None:
            metrics |= {
                "winner_over_best_baseline": difference.mean,
                "winner_over_best_baseline_low": difference.low,
                "winner_over_best_baseline_high": difference.high,
                "winner_over_best_baseline_p": difference.p,
            }
        return {name: value for name, value in metrics.items() if value is not None}

    def as_data(self) -> dict[str, Any]:
        """All of it, as JSON data; accuracies are shares."""
        best = self.best_baseline
        return {
            **asdict(self.fixed),
            "test_images": self.images,
            "other_uses_of_the_test_split": [str(use) for use in self.others],
            "teachers": [
                {
                    "name": each.name,
                    "parameters": each.parameters,
                    TEST: each.accuracy,
                    f"best_{TEST}": each.best_accuracy,
                    "seconds": each.model.get("seconds"),
                    "images": each.images,
                }
                for each in self.teachers
            ],
            "students": [_as_data(row, best) for row in self.rows],
            "missing": {row.name: list(row.missing) for row in self.rows if row.missing},
            "best_baseline": None if best is None else best.name,
            "winner": self.winner.name,
            "answers": {
                against: None if each.difference is None else asdict(each.difference) | {"beats": each.verdict}
                for against, each in self.answers().items()
            },
        }


def _as_data(row: StudentRow, best: StudentRow | None) -> dict[str, Any]:
    difference = None if best is None or row is best else row.over(best)
    estimates = {TEST: row.accuracy, f"best_{TEST}": row.best_accuracy, "class_seconds": row.seconds}
    return {
        "name": row.name,
        "teacher": row.teacher,
        "settings": dict(row.values),
        "parameters": row.parameters,
        "teacher_parameters": row.teacher_parameters,
        "images": row.images,
        **{name: None if each is None else _without_test(each) for name, each in estimates.items()},
        "over_best_baseline": None if difference is None else asdict(difference),
        "by_seed": {seed: student["metrics"][TEST] for seed, student in sorted(row.students.items())},
    }


def _without_test(estimate: Estimate) -> dict[str, Any]:
    """An estimate that nobody asks to be above 0."""
    return {name: value for name, value in asdict(estimate).items() if name != "p"}
