"""Whole lessons with their progress shown: teachers before a study, single students, and many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import ray
from rich.console import Console

from raykd.cluster.client import train_to_end
from raykd.errors import RaykdError
from raykd.progress import RunProgress
from raykd.storage import StorageError
from raykd.tracking import TrialState
from raykd.training.folder import description
from raykd.training.messages import Report, TrainRequest


def teach_shown(
    broker: Any,
    request: TrainRequest,
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
    held_out = _held_out(request)
    found = description(request.folder)
    if found is None:
        with RunProgress(console, title, _epochs(request), held_out=held_out) as progress:

            def told(report: Report) -> None:
                progress.epoch(title, report.metrics)
                if on_report is not None:
                    on_report(report)

            found = train_to_end(broker, request, told)
    accuracy = found["metrics"][f"{held_out}_accuracy"]
    console.print(
        f"{title}: {accuracy:.2%} on the {held_out} split ({request.folder})", soft_wrap=True, highlight=False
    )
    return found


def teach_teachers(
    broker: Any, chain: Sequence[TrainRequest], console: Console, on_report: Callable[[Report], None] | None = None
) -> dict[str, Any]:
    """Have the teachers of a chain taught (see `raykd.training.teacher_cache`); return the last one's description."""
    found: dict[str, Any] = {}
    for teacher in chain:
        title = "standard teacher" if teacher.teacher is None else "generous teacher"
        found = teach_shown(broker, teacher, title, console, on_report if teacher is chain[-1] else None)
    return found


@dataclass(frozen=True)
class Ending:
    """How a student's lesson came to its end: its state, and why if it was not finished."""

    student: str
    state: TrialState
    reason: str | None = None


def teach_together(
    broker: Any,
    requests: Sequence[TrainRequest],
    title: str,
    console: Console,
    on_report: Callable[[Report], None],
    on_end: Callable[[Ending], None],
) -> None:
    """Have many students taught to the end, in shared classes as the seats allow, with their progress shown.

    One that diverges or cannot be taught leaves the others in peace. Those whose finished models are there are passed
    over. All are measured on the same split. Both callbacks are called in this thread only.

    Args:
        broker: The broker's actor handle.
        enrolments: Who wants to learn what, in the order in which they get seats.
        title: What they are called together.
        console: Where progress is shown.
        on_report: Hears every epoch's report.
        on_end: Hears how each came to its end.
    """
    missing = [each for each in requests if description(each.folder) is None]
    epochs = {each.student: _epochs(each) for each in missing}
    held_out = next(map(_held_out, requests), "")
    news: SimpleQueue[Report | Ending | BaseException] = SimpleQueue()
    # Seats are given in the order of enrolment, and threads start in any.
    ray.get(broker.submit_for_all_epochs.remote(missing))
    for request in missing:
        # They outlive an interrupted run no longer than its classrooms do.
        threading.Thread(target=_attend, args=(broker, request, news), daemon=True).start()
    last: dict[str, Report] = {}
    waiting = len(epochs)
    with RunProgress(console, title, sum(epochs.values()), waiting, "students", held_out) as progress:
        while waiting:
            match news.get():
                case Report() as report:
                    last[report.student] = report
                    progress.epoch(report.student, report.metrics)
                    on_report(report)
                case Ending(student, state, reason) as ending:
                    waiting -= 1
                    heard = last.get(student)
                    accuracy = heard.metrics[f"{held_out}_accuracy"] if heard and state == "finished" else None
                    progress.end_trial(student, state, heard.epoch if heard else 0, epochs[student], accuracy)
                    if reason is not None:
                        progress.say(reason)
                    on_end(ending)
                case error:
                    raise error


def _attend(broker: Any, request: TrainRequest, news: SimpleQueue[Report | Ending | BaseException]) -> None:
    """One student's lesson, told as news."""
    diverged = False

    def told(report: Report) -> None:
        nonlocal diverged
        diverged = report.diverged
        news.put(report)

    try:
        train_to_end(broker, request, told)
    except StorageError as error:
        news.put(error)  # no student's fault, and none can be taught
    except RaykdError as error:
        news.put(Ending(request.student, "diverged" if diverged else "failed", str(error)))
    except BaseException as error:
        news.put(error)
    else:
        news.put(Ending(request.student, "finished"))


def _held_out(request: TrainRequest) -> str:
    return request.spec.data.held_out


def _epochs(request: TrainRequest) -> int:
    return request.spec.training.epochs
