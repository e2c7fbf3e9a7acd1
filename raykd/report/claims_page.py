"""The page docs/claims.md: what the study of the papers' claims found, from its record alone.

python -m raykd.report.claims_page docs/claims/fashion_mnist.json > docs/claims.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from raykd.errors import RaykdError
from raykd.results.claims import LEVEL, ClaimsRecord, Outcome, StudentRecord, summary
from raykd.results.questions import QUESTIONS, TEACHER, Question
from raykd.results.statistics import Estimate, interval, percent, spread

HEAD = """# Do the papers' claims hold?

Made by `python -m raykd.report.claims_page {file} > docs/claims.md` from that record
alone; a test keeps it current. The record is what `python experiments/reproduce_claims.py` measured; the design, in the
first lines of that file, was written down before the first run. Differences are in points of accuracy, seed by seed,
with their standard deviation and 95 % interval. p is two-sided and corrected by Holm's method over a question's
comparisons under one condition. A claim is **shown** where p is below {level:g}, **refuted** where its opposite is;
everything else is not shown.
"""
FIGURES = {"accuracy": "test images", "beyond": "test images that the standard teacher answers wrongly"}


def claims_page(record: ClaimsRecord, file: str) -> str:
    """The whole page, in Markdown.

    Args:
        record: What was measured.
        file: Where it is, as the page names it.

    Raises:
        RaykdError: nothing was measured yet.
    """
    if not record.students:
        raise RaykdError(f"{file}: no student was measured")
    outcomes = list(record.outcomes())
    parts = [HEAD.format(file=file, level=LEVEL), _about(record), _overview(record, outcomes)]
    for name, question in QUESTIONS.items():
        answered = [each for each in outcomes if each.comparison in question.comparisons]
        if answered:
            parts.append(_answer(name, question, answered))
    parts += [_teachers(record), _accuracies(record), _tuned(record)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(record: ClaimsRecord) -> str:
    about = record.about
    sizes = ", ".join(f"{size:,} {name}" for name, size in about["split_sizes"].items())
    channels, height, width = about["image"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    seeds = len({student.seed for student in record.students})
    lines = [
        f"- data: {about['data']}, {sizes} images of {channels} x {height} x {width}",
        f"- networks: {about['teacher']} teaches {about['student']}; {about['teacher_epochs']} and "
        f"{about['epochs']} epochs",
        f"- {len(record.students):,} students under {seeds} seeds, in {about['seconds'] / 3600:.1f} hours; each method "
        f"was tuned by {about['tuning_trials']} trials",
        f"- {versions}",
    ]
    return "## What was measured\n\n" + "\n".join(lines)


def _overview(record: ClaimsRecord, outcomes: Sequence[Outcome]) -> str:
    rows = []
    for variant in record.variants:
        counts = summary(each for each in outcomes if each.variant == variant)
        rows.append([variant, *map(str, counts.values())])
    return "## How many comparisons came out how\n\n" + table(["condition", "shown", "refuted", "not shown"], rows)


def _answer(name: str, question: Question, outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        comparison, finding = outcome.comparison, outcome.finding
        rows.append(
            [
                outcome.variant,
                comparison.better,
                comparison.than,
                spread(outcome.difference, "+"),
                interval(outcome.difference, "+"),
                "-" if outcome.p is None else "<0.001" if outcome.p < 0.001 else f"{outcome.p:.3f}",
                finding if finding == "not shown" else f"**{finding}**",
            ]
        )
    figures = {FIGURES[outcome.comparison.figure] for outcome in outcomes}
    headings = ["condition", "better?", "than", "difference", "95 % interval", "p", "claim"]
    counts = summary(outcomes)
    said = ", ".join(f"{finding} {count}" for finding, count in counts.items())
    return "\n\n".join(
        [
            f"## {name}. {question.title}",
            f"Claim: {question.claim} Accuracy on the {' and the '.join(sorted(figures))}.",
            table(headings, rows),
            f"Of {len(outcomes)} comparisons: {said}.",
        ]
    )


def _mean(values: Sequence[float | None]) -> str:
    return spread(Estimate.of(value for value in values if value is not None))


def _students(record: ClaimsRecord, variant: str) -> dict[str, list[StudentRecord]]:
    found: dict[str, list[StudentRecord]] = {}
    for student in record.students:
        if student.variant == variant:
            found.setdefault(student.contender, []).append(student)
    return found


def _teachers(record: ClaimsRecord) -> str:
    """Accuracy and wrong share of the teachers, of the standard, the generous and the honest one."""
    rows = []
    for variant in record.variants:
        for contender, students in _students(record, variant).items():
            if contender in ("kd", "generous", "honest"):
                accuracy = _mean([student.teacher_accuracy for student in students])
                rows.append(
                    [variant, TEACHER + contender, accuracy, _mean([student.wrong_share for student in students])]
                )
    headings = ["condition", "", "test accuracy, %", "wrong about training images, %"]
    return "## The teachers\n\n" + table(headings, rows)


def _accuracies(record: ClaimsRecord) -> str:
    blocks = ["## All contenders"]
    for variant in record.variants:
        rows = [
            [
                contender,
                str(len(students)),
                _mean([student.accuracy for student in students]),
                _mean([student.beyond for student in students]),
            ]
            for contender, students in _students(record, variant).items()
        ]
        headings = ["contender", "seeds", "test accuracy, %", "right where the standard teacher is wrong, %"]
        blocks += [f"### {variant}", table(headings, rows)]
    return "\n\n".join(blocks)


def _tuned(record: ClaimsRecord) -> str:
    rows = []
    for each in record.tuned:
        values = ", ".join(f"{name.rpartition('.')[2]} {value:.3g}" for name, value in each.values.items())
        best = max(accuracy or 0.0 for accuracy in each.accuracies)
        rows.append([each.variant, each.family, values, percent(best)])
    headings = ["condition", "method", "best settings", "validation accuracy, %"]
    return "## What was tuned\n\n" + table(headings, rows)


def main(arguments: Sequence[str]) -> None:
    """Print the page of a record."""
    (file,) = arguments
    print(claims_page(ClaimsRecord.read(Path(file)), file), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
