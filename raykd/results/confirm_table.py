"""A confirm's table and its findings in plain words, for a terminal and as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from raykd.results.confirm import PUBLISHED_EPOCHS, Answer, ConfirmResult, StudentRow, TeacherRow
from raykd.results.contender import without_students
from raykd.results.statistics import Estimate, interval, p_value, percent, spread
from raykd.results.tables import show_narrow

HEADINGS = (
    "last\nepoch",
    "95 %\ninterval",
    "over best\nbaseline",
    "95 %\ninterval",
    "p",
    "best\nepoch*",
    "class\nseconds",
    "images\nseen",
    "parameters",
    "times\nsmaller",
)


def show(result: ConfirmResult, console: Console) -> None:
    """Print the table, what it means, and where to look further."""
    notes = (*findings(result), *_notes(result), f"look further: {result.place.look}")
    show_narrow(console, _title(result), ["", *HEADINGS], _rows(result), notes)


def markdown(result: ConfirmResult) -> str:
    """The same as a page of markdown."""
    headings = ["", *(heading.replace("\n", " ") for heading in HEADINGS)]
    lines = [headings, ["---", *["---:"] * len(HEADINGS)], *_rows(result)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    sentences = "\n".join(f"- {line}" for line in (*findings(result), *_notes(result)))
    return f"# {_title(result)}\n\n{table}\n\n{sentences}\n".replace("*", r"\*")


def findings(result: ConfirmResult) -> list[str]:
    """Whether the winner beats each of those it is held against: one sentence each."""
    name = result.winner.name
    return [f"Does {name} beat {against}? {_answer(answer)}" for against, answer in result.answers().items()]


def _answer(answer: Answer) -> str:
    difference = answer.difference
    if answer.missing:
        known = "" if difference is None else f" ({percent(difference.mean, '+')} points {_over(difference)})"
        return f"No verdict{known}: students are missing, {without_students(answer.missing)}."
    assert difference is not None
    points = f"{percent(difference.mean, '+')} points"
    if difference.low is None or difference.high is None:
        why = "of a single seed" if difference.count == 1 else f"in each of {difference.count} seeds"
        return f"Not shown: {points} {why}, without any spread, from which no interval follows."
    known = f"{points}, 95 % interval {interval(difference, '+')}, p {p_value(difference)}"
    known += f", {_over(difference)}"
    match difference.verdict:
        case "yes":
            return f"Yes: {known}."
        case "no":
            return f"No, it is worse: {known}."
        case _:
            needed = difference.seeds_needed
            more = f" About {needed} seeds would show such a difference (power 80 %)." if needed else ""
            return f"Not shown: {known}.{more}"


def _over(difference: Estimate) -> str:
    return f"over {difference.count} seed{'s' if difference.count > 1 else ''}"


def _title(result: ConfirmResult) -> str:
    return f"{result.fixed.study}: accuracy on the test split, in %, over {len(result.fixed.seeds)} seeds"


def _rows(result: ConfirmResult) -> list[Sequence[str]]:
    teachers = [_teacher_cells(teacher) for teacher in result.teachers]
    return [*teachers, *(_student_cells(row, result) for row in result.rows)]


def _teacher_cells(teacher: TeacherRow) -> Sequence[str]:
    seconds, images = teacher.model.get("seconds"), teacher.images
    return (
        f"{teacher.name} teacher",
        percent(teacher.accuracy),
        *["-"] * 4,
        percent(teacher.best_accuracy),
        f"{seconds:.1f}" if seconds else "-",
        "-" if images is None else f"{images:,}",
        f"{teacher.parameters:,}",
        "-",
    )


def _student_cells(row: StudentRow, result: ConfirmResult) -> Sequence[str]:
    best = result.best_baseline
    difference = None if best is None or row is best else row.over(best)
    mark = " (winner)" if row is result.winner else " (best baseline)" if row is best else ""
    ratio = None if row.teacher_parameters is None else row.teacher_parameters / row.parameters
    return (
        f"{row.name}{mark}",
        spread(row.accuracy),
        interval(row.accuracy),
        spread(difference, "+"),
        interval(difference, "+"),
        p_value(difference),
        percent(None if row.best_accuracy is None else row.best_accuracy.mean),
        "-" if row.seconds is None else f"{row.seconds.mean:.1f}",
        "-" if row.images is None else f"{row.images:,}",
        f"{row.parameters:,}",
        "-" if ratio is None else f"{ratio:.1f}",
    )


def _notes(result: ConfirmResult) -> list[str]:
    seeds, winner = result.fixed.seeds, result.winner
    notes = [
        "students learn from train and validation, all at the same budget; the last epoch is the result: mean±standard "
        f"deviation over seeds {seeds[0]} to {seeds[-1]} (weights, order, augmentation; splits as in the study)",
        "over best baseline: of the differences seed by seed, with the t-test of pairs, two-sided; a teacher is one "
        f"training, a fixed number. p of rows other than {winner.name} is not corrected for many comparisons",
        f"kd and dkd: as published, by the standard teacher; warm-ups of {PUBLISHED_EPOCHS} epochs' training scaled to "
        "these. The best baseline is the best one here, which is in its favour",
        f"One of the {result.images} test images is {100 / result.images:.2f} points.",
        "*best epoch: chosen on the test split, and so too good; it decides nothing",
        "class seconds: of a student's epochs, in which its whole class learns",
    ]
    trained = {name: value for name, value in winner.values.items() if name.startswith(("training.", "data."))}
    if trained:
        own = ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in trained.items()
        )
        notes.append(f"the search has tuned the winner's training as well, unlike the baselines': {own}")
    if lacking := without_students(result.rows):
        notes.append(
            f"students that have not finished: {lacking}. There is no verdict on these: --resume trains them again"
        )
    if result.others:
        others = ", ".join(map(str, result.others))
        notes.append(f"this test split is no longer fresh: it was used by {others}, too")
    return notes
