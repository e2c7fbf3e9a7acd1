"""A student's seat as seen by whoever enrolled it: a trial, or the driver of a single run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray

from raykd.errors import RaykdError
from raykd.training.folder import description
from raykd.training.messages import Report, TrainRequest

STORAGE_SECONDS = 60.0
"""How long a finished model may take to show on this machine; shared file systems remember for a while what is not."""


class StudentClient:
    """Enrols a student and asks for its epochs one by one.

    Args:
        broker: The broker's actor handle.
        enrolment: Who wants to learn what.
    """

    def __init__(self, broker: Any, request: TrainRequest) -> None:
        self._broker = broker
        self._request = request
        ray.get(broker.submit.remote(request))

    def report(self, epoch: int) -> Report:
        """Let the student learn up to an epoch (1-based) and wait for its report."""
        while True:
            report: Report | None = ray.get(self._broker.report.remote(self._request.student, epoch))
            if report is not None:
                return report
            # The broker came back from the dead with an empty book.
            ray.get(self._broker.submit.remote(self._request))

    def leave(self) -> None:
        """Give the seat up."""
        ray.get(self._broker.withdraw.remote(self._request.student))


def train_to_end(
    broker: Any, request: TrainRequest, on_report: Callable[[Report], None] | None = None
) -> dict[str, Any]:
    """Have a student taught to the end, unless its finished model is there, and return the model's description.

    Two callers may teach the same student at once; both see it through.

    Raises:
        RaykdError: it diverged, could not be taught, or its folder is not seen from here.
    """
    if (found := description(request.folder)) is not None:
        return found
    seat = StudentClient(broker, request)
    epoch = 1
    while True:
        report = seat.report(epoch)
        if on_report is not None and report.failure is None:
            on_report(report)
        if report.last:
            break
        epoch += 1
    seat.leave()
    if report.failure is not None:
        raise RaykdError(f"{request.student} could not be taught: {report.failure}")
    if report.diverged:
        raise RaykdError(
            f"{request.student} diverged in epoch {report.epoch}: its loss is not finite. Lower its learning_rate"
        )
    return _finished_model(request)


def _finished_model(request: TrainRequest) -> dict[str, Any]:
    patience_ends = time.monotonic() + STORAGE_SECONDS
    while (found := description(request.folder)) is None:
        if time.monotonic() > patience_ends:
            raise RaykdError(
                f"{request.student} has been taught, but its model is not in {request.folder} on this machine:\n"
                "every node must see this folder; set cluster.storage to a shared folder or an object store's URL"
            )
        time.sleep(0.5)
    return found
