"""What a comparison of teachers found: each teacher, what it cost, and how well its students did over the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from rich.console import Console

from raykd.places import PLAIN
from raykd.results.contender import ContenderRow, images_seen, without_students
from raykd.results.frames import html_table, text_table
from raykd.results.statistics import percent, spread
from raykd.results.tables import show_narrow
from raykd.search.names import METRIC
from raykd.tracking import Address

STANDARD, GENEROUS = "standard", "generous"
"""Names of the two teachers that are always compared; the students without teacher are `PLAIN`."""

HEADINGS = (
    "teacher",
    "its\nown",
    "wrong\nshare",
    "train\nseconds",
    "cost\nratio",
    "students,\nlast epoch",
    "best\nepoch",
    "against\nstandard",
)


@dataclass(frozen=True)
class ComparedTeacher(ContenderRow):
    """One teacher and its students, measured on the validation split.

    - name: ``plain`` (no teacher), ``standard``, ``generous``, or that of an ablation
    - teacher: description of the finished teacher (see `raykd.training.folder`), or None
    """

    metric: ClassVar[str] = METRIC

    teacher: Mapping[str, Any] | None

    @property
    def teacher_accuracy(self) -> float | None:
        """The teacher's own accuracy after its last epoch, on the validation split."""
        accuracy: float | None = None if self.teacher is None else self.teacher["metrics"][METRIC]
        return accuracy

    @property
    def seconds(self) -> float | None:
        """What the teacher's epochs took in sum: steps, its own teacher's answers, validation.

        None if that is not known: it is an external one, or others sat in its class, whose time it shared.
        """
        if self.teacher is None or not self.teacher.get("alone"):
            return None
        seconds: float = self.teacher["seconds"]
        return seconds

    @property
    def seconds_per_image(self) -> float | None:
        """The same for one training image of one epoch."""
        if self.teacher is None or self.seconds is None:
            return None
        return self.seconds / images_seen(self.teacher)

    @property
    def wrong_share(self) -> float | None:
        """Share of the training images, as the students last saw them, that the teacher answers wrongly."""
        shares = [student["metrics"].get("wrong_share") for student in self.students.values()]
        known = [share for share in shares if share is not None]
        return fmean(known) if known else None


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """A comparison's outcome.

    - folder: the study's
    - rows: students without teacher, then the standard teacher, the generous one and its ablations
    - seeds: how many students each was to have
    - trained_here: names of the teachers that were trained, not found, by this launch
    - place: where MLflow has it
    """

    folder: Path
    rows: tuple[ComparedTeacher, ...]
    seeds: int
    trained_here: frozenset[str]
    place: Address

    def row(self, name: str) -> ComparedTeacher:
        """The row of that name. KeyError if there is none."""
        return {row.name: row for row in self.rows}[name]

    def __repr__(self) -> str:
        return text_table(self._caption(), self._short_rows())

    def _repr_html_(self) -> str:
        return html_table(self._caption(), ("teacher", "its own", "students"), self._short_rows())

    def _caption(self) -> str:
        return f"ComparisonResult {self.folder}: accuracy on the validation split, in %, {self.seeds} seeds"

    def _short_rows(self) -> list[tuple[str, str, str]]:
        return [(row.name, percent(row.teacher_accuracy), spread(row.accuracy)) for row in self.rows]

    def cost_ratio(self, row: ComparedTeacher) -> float | None:
        """A teacher's seconds per image over the standard one's. None if either is not known."""
        standard = self.row(STANDARD).seconds_per_image
        return row.seconds_per_image / standard if row.seconds_per_image and standard else None

    def summary(self) -> dict[str, float]:
        """All that the table shows, as metrics; what is not known is left out."""
        standard = self.row(STANDARD)
        metrics: dict[str, float | None] = {}
        for row in self.rows:
            metrics |= {
                f"{row.name}_teacher_accuracy": row.teacher_accuracy,
                f"{row.name}_seconds": row.seconds,
                f"{row.name}_seconds_per_image": row.seconds_per_image,
                f"{row.name}_cost_ratio": self.cost_ratio(row),
                f"{row.name}_wrong_share": row.wrong_share,
                f"{row.name}_students": float(len(row.students)),
            }
            estimates = {"accuracy": row.accuracy, "best_accuracy": row.best_accuracy}
            if row is not standard and not row.missing and not standard.missing:
                estimates["gain"] = row.over(standard)
            for name, estimate in estimates.items():
                if estimate is not None:
                    metrics[f"{row.name}_student_{name}"] = estimate.mean
                    metrics[f"{row.name}_student_{name}_sd"] = estimate.sd
        return {name: value for name, value in metrics.items() if value is not None}

    def show(self, console: Console) -> None:
        """Print each teacher with its cost and its students, of which one at least must have finished."""
        title = f"{self.folder.name}: accuracy on the validation split, in %"
        show_narrow(console, title, HEADINGS, map(self._cells, self.rows), self._notes())

    def _cells(self, row: ComparedTeacher) -> list[str]:
        gain = None if row.name == STANDARD else row.over(self.row(STANDARD))
        ratio = self.cost_ratio(row)
        return [
            "none" if row.name == PLAIN else row.name,
            percent(row.teacher_accuracy),
            percent(row.wrong_share),
            "-" if row.seconds is None else f"{row.seconds:.1f}",
            "-" if ratio is None else f"{ratio:.2f}",
            spread(row.accuracy),
            percent(None if row.best_accuracy is None else row.best_accuracy.mean),
            spread(gain, "+"),
        ]

    def _notes(self) -> list[str]:
        images = next(each for row in self.rows for each in row.students.values())["data"]["split_sizes"]["validation"]
        notes = [
            f"students: mean±standard deviation over {self.seeds} seed{'s' if self.seeds > 1 else ''}; against "
            "standard: of the differences, seed by seed. Wrong share: of the teacher's answers to the training images.",
            f"One of the {images} validation images is {100 / images:.2f} points. The test split was not touched.",
        ]
        if lacking := without_students(self.rows):
            notes.append(
                f"students that have not finished: {lacking}. Their teachers are not compared fairly yet: --resume "
                "trains them again"
            )
        standard, generous = self.row(STANDARD), self.row(GENEROUS)
        if ratio := self.cost_ratio(generous):
            assert generous.seconds_per_image is not None
            assert standard.seconds_per_image is not None
            notes.append(
                f"the generous stage cost {ratio:.2f} times the standard one: "
                f"{1000 * generous.seconds_per_image:.3f} against {1000 * standard.seconds_per_image:.3f} ms for a "
                "training image and epoch (steps, the standard teacher's answers and validation; alone in its class)"
            )
        timed = [row.name for row in self.rows if row.seconds is not None]
        if earlier := [name for name in timed if name not in self.trained_here]:
            notes.append(f"not trained by this launch, but timed when they were trained: {', '.join(earlier)}")
        if untimed := [row.name for row in self.rows if row.teacher is not None and row.seconds is None]:
            notes.append(f"no time is known of: {', '.join(untimed)} (external, or trained in a class with others)")
        return [*notes, f"look further: {self.place.look}"]
