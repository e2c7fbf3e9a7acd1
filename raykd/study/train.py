"""Whole trainings with their progress shown: one network, the teachers of a chain, or many students at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import ray
from rich.console import Console

from raykd.cluster.client import awaited, train_to_end
from raykd.errors import RaykdError, StorageError
from raykd.progress import RunProgress
from raykd.search.outcome import outcome_of_report
from raykd.tracking import Tracker, TrialState
from raykd.training.folder import description, disown
from raykd.training.messages import Report, TrainRequest
from raykd.training.saved import is_whole
from raykd.training.teacher_cache import kind_of


def train_with_progress(
    broker: Any,
    request: TrainRequest,
    title: str,
    console: Console,
    on_report: Callable[[Report], None] | None = None,
) -> dict[str, Any]:
    """Train a network to the end, unless its finished model is there, and return the model's description.

    Args:
        broker: The broker's actor handle; not used where the finished model is there.
        request: Which network, and how.
        title: What it is called.
        console: Where progress is shown.
        on_report: Called with every epoch's report, too.

    Raises:
        RaykdError: it diverged, or could not be trained.
    """
    held_out = request.spec.data.held_out
    model = description(request.folder)
    if model is not None and not is_whole(request.folder):
        line = f"{title}: its weights in {request.folder} are damaged; they are made again"
        console.print(line, soft_wrap=True, highlight=False)
        disown(request.folder)
        model = None
    if model is None:
        epochs, waits_for = request.spec.training.epochs, awaited(broker, request.student)
        with RunProgress(console, title, epochs, held_out=held_out, awaited=waits_for) as progress:

            def reported(report: Report) -> None:
                progress.epoch(title, report.metrics)
                if on_report is not None:
                    on_report(report)

            model = train_to_end(broker, request, reported)
    accuracy = model["metrics"][f"{held_out}_accuracy"]
    result = f"{title}: {accuracy:.2%} on the {held_out} split ({request.folder})"
    console.print(result, soft_wrap=True, highlight=False)
    return model


def train_teachers(
    broker: Any, chain: Sequence[TrainRequest], console: Console, on_report: Callable[[Report], None] | None = None
) -> dict[str, Any]:
    """Train the teachers of a chain (see `raykd.training.teacher_cache`), and return the last one's description.

    The reports of the last one go to `on_report`.
    """
    model: dict[str, Any] = {}
    for teacher in chain:
        heard = on_report if teacher is chain[-1] else None
        model = train_with_progress(broker, teacher, teacher_title(teacher), console, heard)
    return model


def teacher_title(teacher: TrainRequest) -> str:
    """What a teacher is called where its progress is shown."""
    if teacher.members:
        return f"{len(teacher.members)} {kind_of(teacher)} teachers as one"
    left_out = teacher.spec.data.left_out
    return f"{kind_of(teacher)} teacher" + (f" without fold {left_out[0] + 1} of {left_out[1]}" if left_out else "")


def teacher_name(teacher: TrainRequest) -> str:
    """What a teacher is called in tables and in MLflow: its kind, and which fold it lacks."""
    left_out = teacher.spec.data.left_out
    return kind_of(teacher) + (f"-fold-{left_out[0]}" if left_out else "")


@dataclass(frozen=True)
class TrainingEnd:
    """How a student's training ended: the state, and the reason if it was not finished."""

    student: str
    state: TrialState
    reason: str | None = None


def train_together(
    broker: Any,
    requests: Sequence[TrainRequest],
    title: str,
    console: Console,
    on_report: Callable[[Report], None],
    on_end: Callable[[TrainingEnd], None],
) -> None:
    """Train many students to the end, in shared classes as the seats allow, with their progress shown.

    A student that diverges or cannot be trained does not disturb the others. Those whose finished models are there are
    passed over. All are measured on the same split. Both callbacks are called in this thread only.

    Args:
        broker: The broker's actor handle.
        requests: The students, in the order in which they get seats.
        title: What they are called together.
        console: Where progress is shown.
        on_report: Called with every epoch's report.
        on_end: Called when a student's training ends.
    """
    missing = [request for request in requests if description(request.folder) is None]
    epochs = {request.student: request.spec.training.epochs for request in missing}
    held_out = requests[0].spec.data.held_out if requests else ""
    events: SimpleQueue[Report | TrainingEnd | BaseException] = SimpleQueue()
    # Seats are given in the order of the requests, while threads start in any order.
    ray.get(broker.submit_for_all_epochs.remote(missing))
    for request in missing:
        # Daemons: the threads of an interrupted run live no longer than its classrooms.
        threading.Thread(target=_follow, args=(broker, request, events), daemon=True).start()
    last: dict[str, Report] = {}
    running = len(missing)
    total, waits_for = sum(epochs.values()), awaited(broker)
    with RunProgress(console, title, total, running, "students", held_out, waits_for) as progress:
        while running:
            match events.get():
                case Report() as report:
                    last[report.student] = report
                    progress.epoch(report.student, report.metrics)
                    on_report(report)
                case TrainingEnd(student, state, reason) as end:
                    running -= 1
                    final = last.get(student)
                    accuracy = final.metrics[f"{held_out}_accuracy"] if final and state == "finished" else None
                    progress.end_trial(student, state, final.epoch if final else 0, epochs[student], accuracy)
                    if reason is not None:
                        progress.say(reason)
                    on_end(end)
                case error:
                    raise error


def log_if_finished(request: TrainRequest, tracker: Tracker) -> bool:
    """Log a network that is finished, by an earlier launch or elsewhere, as it is; return whether it is.

    Args:
        request: Whose run in MLflow has been started.
        tracker: Of the run.
    """
    model = description(request.folder)
    if model is not None:
        tracker.epoch(request.student, model["epochs"], model["metrics"])
        tracker.end_trial(request.student, "finished")
    return model is not None


def train_logged(broker: Any, requests: Sequence[TrainRequest], title: str, console: Console, tracker: Tracker) -> None:
    """As `train_together`; every epoch and end goes to the student's run in MLflow, which has been started."""

    def log(report: Report) -> None:
        tracker.epoch(report.student, report.epoch, report.metrics)

    def end(ended: TrainingEnd) -> None:
        tracker.end_trial(ended.student, ended.state, ended.reason)

    train_together(broker, requests, title, console, log, end)


def _follow(broker: Any, request: TrainRequest, events: SimpleQueue[Report | TrainingEnd | BaseException]) -> None:
    """Put one student's reports and its end into the queue."""
    state: TrialState = "failed"

    def reported(report: Report) -> None:
        nonlocal state
        if report.last:
            state = outcome_of_report(report)
        events.put(report)

    try:
        train_to_end(broker, request, reported)
    except StorageError as error:
        events.put(error)  # the storage is away: no student is to blame, and none can be trained
    except RaykdError as error:
        events.put(TrainingEnd(request.student, state, str(error)))
    except BaseException as error:
        events.put(error)
    else:
        events.put(TrainingEnd(request.student, "finished"))
