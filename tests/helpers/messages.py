"""Messages for tests of the register and the broker."""

from __future__ import annotations

from raykd.config import TrainingSettings, TrainingSpec
from raykd.training.messages import Report, TrainRequest, WorkerPoll


def request(student: str, rate: float = 0.1, ticket: str | None = None) -> TrainRequest:
    spec = TrainingSpec(training=TrainingSettings(learning_rate=rate))
    return TrainRequest(student, spec, None, f"/folders/{student}", ticket or f"{student}-ticket")


def report(of: TrainRequest, epoch: int, *, finished: bool = False, failure: str | None = None) -> Report:
    return Report(of.student, of.ticket, epoch, {"epoch": float(epoch)}, finished=finished, failure=failure)


def worker_poll(
    classroom: str, *seated: TrainRequest, seats: int = 2, reports: tuple[Report, ...] | list[Report] = ()
) -> WorkerPoll:
    return WorkerPoll(classroom, seats, tuple(one.ticket for one in seated), tuple(reports))
