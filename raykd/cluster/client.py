"""The broker's client: submits a student and asks for its reports, for a trial or for the driver of a single run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray

from raykd.cluster.assignments import Awaits
from raykd.errors import RaykdError
from raykd.progress import Start
from raykd.training.folder import description
from raykd.training.messages import Report, TrainRequest

STORAGE_SECONDS = 60.0
"""How long a finished model may take to be seen on this machine: shared file systems cache that a file is missing."""


class RunEnded(Exception):
    """The run ends before a student does, as no classroom is left: nobody's fault, and it can be resumed."""


WAITING: Mapping[str, str] = {
    "workers": "waiting for worker processes",
    "students": "waiting for trial processes",
    "epoch": "waiting for the first epoch",
}
"""How `Missing` is told."""


def awaited(broker: Any, prefix: str = "") -> Callable[[], Start]:
    """Returns a function that says what students wait for before their first epoch.

    Args:
        broker: The broker's actor handle.
        prefix: With what their names begin.
    """

    def start() -> Start:
        found: Awaits = ray.get(broker.awaits.remote(prefix))
        return Start(WAITING[found.missing], found.epoch_seconds, found.epochs_per_second)

    return start


class StudentClient:
    """Submits a student and asks for its epochs one by one.

    Args:
        broker: The broker's actor handle.
        request: What is to be trained.
    """

    def __init__(self, broker: Any, request: TrainRequest) -> None:
        self._broker = broker
        self._request = request
        ray.get(broker.submit.remote(request))

    def report(self, epoch: int) -> Report:
        """Allow the student to train up to an epoch (1-based) and wait for its report."""
        while True:
            report: Report | None = ray.get(self._broker.report.remote(self._request.student, epoch))
            if report is not None:
                return report
            # The broker was restarted and knows no students.
            ray.get(self._broker.submit.remote(self._request))

    def leave(self) -> None:
        """Give the seat up."""
        ray.get(self._broker.withdraw.remote(self._request.student))


def train_to_end(
    broker: Any, request: TrainRequest, on_report: Callable[[Report], None] | None = None
) -> dict[str, Any]:
    """Have a student trained to the end, unless its finished model is there, and return the model's description.

    Two callers may train the same student at once; both get all of its reports.

    Raises:
        RaykdError: it diverged, could not be trained, or its folder is not seen from here.
        RunEnded: no classroom is left.
    """
    if (model := description(request.folder)) is not None:
        return model
    client = StudentClient(broker, request)
    epoch = 1
    while True:
        report = client.report(epoch)
        if on_report is not None and report.failure is None:
            on_report(report)
        if report.last:
            break
        epoch += 1
    client.leave()
    check_trained(report)
    if report.diverged:
        raise RaykdError(
            f"{request.student} diverged in epoch {report.epoch}: its loss is not finite. Lower its learning_rate"
        )
    return wait_for_model(request)


def check_trained(report: Report) -> None:
    """Refuse the report of a student that was not trained.

    Raises:
        RaykdError: it could not be trained.
        RunEnded: no classroom is left.
    """
    if report.interrupted:
        raise RunEnded(report.failure)
    if report.failure is not None:
        raise RaykdError(f"{report.student} could not be trained: {report.failure}")


def wait_for_model(
    request: TrainRequest,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The description of a student's finished model, once it is seen on this machine.

    Args:
        request: The student's.
        clock: A monotonic time in seconds.
        sleep: Waits for so many seconds.

    Raises:
        RaykdError: it is not seen within `STORAGE_SECONDS`.
    """
    end = clock() + STORAGE_SECONDS
    while (model := description(request.folder)) is None:
        if clock() > end:
            raise RaykdError(
                f"{request.student} has been trained, but its model is not in {request.folder} on this machine:\n"
                "every node must see this folder; set cluster.storage to a shared folder or an object store's URL"
            )
        sleep(0.5)
    return model
