"""The page docs/claims.md: what the study of the papers' claims found, from its record alone.

python -m raykd.report.claims_page docs/claims/fashion_mnist.json docs/claims.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from raykd.errors import RaykdError
from raykd.report.claims_figures import draw, figure_files
from raykd.results.claims import FINDINGS, LEVEL, ClaimsRecord, Outcome, StudentRecord, summary
from raykd.results.questions import QUESTIONS, TEACHER, Question
from raykd.results.statistics import Estimate, interval, percent, spread

HEAD = """# Do the papers' claims hold?

Made by `python -m raykd.report.claims_page {file} docs/claims.md` from that record
alone; a test keeps it current. The record is what `python experiments/reproduce_claims.py` measured; the design, in the
first lines of that file, was written down before the first run. Differences are in points of accuracy, seed by seed,
with their standard deviation and 95 % interval. p is two-sided and corrected by Holm's method over a question's
comparisons under one condition. A claim is **shown** where p is below {level:g}, **refuted** where its opposite is;
everything else is not shown. Where students are missing, there is no verdict.
"""
PICTURES = """![Differences of test accuracy, every comparison under every condition]({differences})

![What repairs and honest teachers gain over plain distillation, by how often its teacher is wrong]({wrong_share})"""
FIGURES = {"accuracy": "test images", "beyond": "test images that the standard teacher answers wrongly"}


def write_page(file: Path, page: Path) -> None:
    """Make the page of a record, and its figures beside the record.

    Raises:
        RaykdError: nothing was measured yet, or the page's folder is not above the record.
    """
    record = ClaimsRecord.read(file)
    if not file.absolute().is_relative_to(page.absolute().parent):
        raise RaykdError(f"{page}: the record {file} must lie below the page's folder, so that its figures do")
    text = claims_page(record, file.as_posix(), pictures_of(file, page))
    draw(record, file)
    page.write_text(text, encoding="utf-8")


def pictures_of(file: Path, page: Path) -> dict[str, str]:
    """How the page names its figures."""
    folder = page.absolute().parent
    return {name: path.absolute().relative_to(folder).as_posix() for name, path in figure_files(file).items()}


def claims_page(record: ClaimsRecord, file: str, pictures: Mapping[str, str]) -> str:
    """The whole page, in Markdown.

    Args:
        record: What was measured.
        file: Where it is, as the page names it.
        pictures: Addresses of the figures, by name.

    Raises:
        RaykdError: nothing was measured yet.
    """
    if not record.students:
        raise RaykdError(f"{file}: no student was measured")
    outcomes = list(record.outcomes())
    head = HEAD.format(file=file, level=LEVEL)
    parts = [head, _about(record), _overview(record, outcomes), PICTURES.format(**pictures)]
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
    seeds = len({student.seed for student in record.students})
    lines = [
        f"- data: {about['data']}, {sizes} images of {channels} x {height} x {width}",
        f"- networks: {about['teacher']} teaches {about['student']}; {about['teacher_epochs']} and "
        f"{about['epochs']} epochs",
        f"- {len(record.students):,} students under {seeds} seeds; each method was tuned by "
        f"{about['tuning_trials']} trials",
    ]
    for each in record.machines:
        versions = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        lines.append(f"- {each.students:,} of them in {each.seconds / 3600:.1f} hours on {each.cluster}; {versions}")
    return "## What was measured\n\n" + "\n".join(lines)


def _overview(record: ClaimsRecord, outcomes: Sequence[Outcome]) -> str:
    rows = []
    for variant in record.variants:
        counts = summary(each for each in outcomes if each.variant == variant)
        rows.append([variant, *map(str, counts.values())])
    return "## How many comparisons came out how\n\n" + table(["condition", *FINDINGS], rows)


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
                f"**{finding}**" if finding in ("shown", "refuted") else finding,
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
    """Make the page of a record: the record's file, and the page's."""
    file, page = arguments
    write_page(Path(file), Path(page))


if __name__ == "__main__":
    main(sys.argv[1:])
