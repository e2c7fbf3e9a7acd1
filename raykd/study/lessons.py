"""Whole lessons with their progress shown: teachers before a study, and single students."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from raykd.config import Lesson
from raykd.report.progress import RunProgress
from raykd.study.seat import teach
from raykd.training.folder import description
from raykd.training.messages import Enrolment, Report


def teach_shown(
    broker: Any,
    enrolment: Enrolment,
    title: str,
    console: Console,
    on_report: Callable[[Report], None] | None = None,
) -> dict[str, Any]:
    """Have a student taught to the end with its progress shown, and return the finished model's description.

    Args:
        broker: The broker's actor handle.
        enrolment: Who wants to learn what.
        title: What it is called.
        console: Where progress is shown.
        on_report: Hears every epoch's report, too.

    Raises:
        RaykdError: it diverged, or could not be taught.
    """
    found = description(enrolment.folder)
    if found is None:
        epochs = Lesson.model_validate(enrolment.lesson).training.epochs
        with RunProgress(console, title, epochs) as progress:

            def told(report: Report) -> None:
                progress.epoch(title, report.metrics)
                if on_report is not None:
                    on_report(report)

            found = teach(broker, enrolment, told)
    accuracy = found["metrics"]["validation_accuracy"]
    console.print(
        f"{title}: {accuracy:.2%} on the validation split ({enrolment.folder})", soft_wrap=True, highlight=False
    )
    return found


def teach_teachers(
    broker: Any, chain: Sequence[Enrolment], console: Console, on_report: Callable[[Report], None] | None = None
) -> dict[str, Any]:
    """Have the teachers of a chain taught (see `raykd.study.teachers`), and return the last one's description."""
    found: dict[str, Any] = {}
    for teacher in chain:
        title = "standard teacher" if teacher.teacher is None else "generous teacher"
        found = teach_shown(broker, teacher, title, console, on_report if teacher is chain[-1] else None)
    return found
