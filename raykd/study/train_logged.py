"""Teachers and students taught in shared classes, each with its course as a child run in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from raykd.errors import RaykdError
from raykd.knowledge.methods.base import AnswerMethod
from raykd.study.train import Ending, teach_shown, teach_together
from raykd.tracking import Tracker
from raykd.training.folder import description
from raykd.training.messages import Report, TrainRequest


@dataclass(frozen=True)
class LoggedStudent:
    """A student, the name of its teacher or ``none``, and what its run has for parameters."""

    request: TrainRequest
    teacher: str
    parameters: Mapping[str, object]


def teach_logged_teacher(broker: Any, teacher: TrainRequest, name: str, tracker: Tracker, console: Console) -> None:
    """Have a teacher taught, alone in its class if nobody else is enrolled; one that is there is logged as it is.

    Args:
        broker: The broker's actor handle.
        teacher: Its enrolment.
        name: Such as ``standard``.
        tracker: Of the run.
        console: Where progress is shown.

    Raises:
        RaykdError: it diverged, or could not be taught.
    """
    run = f"teacher-{name}"
    tags = {"raykd.role": "teacher", "raykd.teacher": name, "raykd.folder": teacher.folder}
    tracker.start_trial(run, _teacher_parameters(name, teacher), tags)

    def told(report: Report) -> None:
        tracker.epoch(run, report.epoch, report.metrics)

    try:
        found = teach_shown(broker, teacher, f"{name} teacher", console, told)
    except RaykdError as error:
        tracker.end_trial(run, "failed", str(error))
        raise
    tracker.epoch(run, found["epochs"], found["metrics"])
    summary = {"total_seconds": found["seconds"]} if found.get("alone") else {}
    tracker.end_trial(run, "finished", metrics=summary)


def teach_logged_students(broker: Any, students: Sequence[LoggedStudent], tracker: Tracker, console: Console) -> None:
    """Have students taught together; those that are finished are logged as they are.

    Args:
        broker: The broker's actor handle.
        students: In the order in which they get seats.
        tracker: Of the run.
        console: Where progress is shown.
    """
    requests = {each.request.student: each.request for each in students}

    def told(report: Report) -> None:
        tracker.epoch(report.student, report.epoch, report.metrics)

    def ended(ending: Ending) -> None:
        # The launch that taught it may have died before it could tell of its end.
        if found := description(requests[ending.student].folder):
            tracker.epoch(ending.student, found["epochs"], found["metrics"])
        tracker.end_trial(ending.student, ending.state, ending.reason)

    for student in students:
        request = student.request
        tags = {"raykd.role": "student", "raykd.teacher": student.teacher, "raykd.folder": request.folder}
        tracker.start_trial(request.student, {"teacher": student.teacher, **student.parameters}, tags)
        if description(request.folder):
            ended(Ending(request.student, "finished"))
    teach_together(broker, list(requests.values()), "students", console, told, ended)


def _teacher_parameters(name: str, teacher: TrainRequest) -> dict[str, Any]:
    """How a teacher is taught, in the settings of its lesson."""
    spec = teacher.spec
    shown: dict[str, Any] = {"teacher": name, "method.name": spec.method.name}
    method = spec.method.chosen()
    if isinstance(method, AnswerMethod):
        shown |= {f"method.{method.name}.{key}": value for key, value in method.model_dump().items()}
        for section in ("objective", "temperature", "bias"):
            settings = getattr(spec, section).model_dump()
            shown |= {f"{section}.{key}": value for key, value in settings.items()}
    return shown
