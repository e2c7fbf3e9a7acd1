"""Who wants to be taught, who sits where, and what came of it: the broker's book, without any waiting or Ray.

A seat is a lease: a student stays in the book until it is withdrawn, with all its reports, and a classroom that starts
afresh or falls silent gives its students back. They are seated again from their last checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from raykd.training.messages import Report, TrainRequest, WorkerCommands, WorkerPoll

LOST_SEATS_ALLOWED = 5
"""A student whose classroom died so often without finishing an epoch is given up: it is likely the cause."""

SUSPICIOUS_LOSSES = 2
"""Students whose classroom died so often are taught one at a time, so that the harmless ones prove it by an epoch."""


@dataclass
class _Student:
    request: TrainRequest
    reports: list[Report] = field(default_factory=list)
    wanted_epoch: int = 0
    classroom: str | None = None
    called: bool = False
    """By its classroom's last agenda it was to enter or to learn: if the classroom dies now, it may be the cause."""
    lost_seats: int = 0

    @property
    def over(self) -> bool:
        return bool(self.reports) and self.reports[-1].last

    @property
    def may_learn(self) -> bool:
        return not self.over and self.wanted_epoch > len(self.reports)

    @property
    def suspicious(self) -> bool:
        return self.lost_seats >= SUSPICIOUS_LOSSES


@dataclass
class _Classroom:
    seats: int
    heard_of: float


class Assignments:
    """The book itself. Every method is quick; `now` is a monotonic time in seconds.

    Args:
        lease_seconds: A classroom not heard of for so long loses its students to the others.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._students: dict[str, _Student] = {}
        self._classrooms: dict[str, _Classroom] = {}

    def submit(self, request: TrainRequest) -> None:
        """Take a student in. Enrolling again with the same lesson, as after a fault, changes nothing."""
        known = self._students.get(request.student)
        if known is None or known.request.spec != request.spec:
            self._students[request.student] = _Student(request)

    def withdraw(self, student: str) -> None:
        """Forget a student; its classroom hears of it at its next attendance."""
        self._students.pop(student, None)

    def knows(self, student: str) -> bool:
        """Whether the student is enrolled."""
        return student in self._students

    def want(self, student: str, epoch: int) -> Report | None:
        """Ask for the report of an epoch (1-based), and let the student learn that far. None: not there yet."""
        entry = self._students[student]
        entry.wanted_epoch = max(entry.wanted_epoch, epoch)
        if len(entry.reports) >= epoch:
            return entry.reports[epoch - 1]
        return entry.reports[-1] if entry.over else None

    def poll(self, worker_poll: WorkerPoll, now: float) -> None:
        """Write down what a classroom says: its reports, and who really sits there."""
        name = worker_poll.classroom
        self._classrooms[name] = _Classroom(worker_poll.seats, now)
        for report in worker_poll.reports:
            self._note(report)
        for entry in self._students.values():
            if entry.classroom != name or entry.over:
                continue
            if entry.request.ticket in worker_poll.seated:
                entry.called = False
            else:
                self._lose_seat(entry)

    def heartbeat(self, classroom: str, now: float) -> None:
        """A sign of life between two attendances."""
        if classroom in self._classrooms:
            self._classrooms[classroom].heard_of = now

    def dismiss(self, classroom: str, *, blameless: bool = False) -> int:
        """A classroom is gone for good; its students wait for another.

        Args:
            classroom: Its name.
            blameless: None of its students can be the cause: its node has left, or it was sent home.

        Returns:
            How many students wait for another.
        """
        self._classrooms.pop(classroom, None)
        leaving = [entry for entry in self._students.values() if entry.classroom == classroom and not entry.over]
        for entry in leaving:
            entry.called &= not blameless
            self._lose_seat(entry)
        return len(leaving)

    def expire(self, now: float) -> None:
        """Dismiss the classrooms that have been silent for longer than their lease."""
        for name in [n for n, room in self._classrooms.items() if now - room.heard_of > self._lease_seconds]:
            self.dismiss(name)

    def commands(self, worker_poll: WorkerPoll) -> WorkerCommands:
        """What a classroom that attends should do next; students that enter may learn at once."""
        name = worker_poll.classroom
        here = [entry for entry in self._students.values() if entry.classroom == name and not entry.over]
        staying = {entry.request.ticket for entry in here}
        enter = _one_suspect_or_all(self._waiting()[: self._free_places(name, len(here))])
        learn = _one_suspect_or_all([entry for entry in [*here, *enter] if entry.may_learn])
        for entry in enter:
            entry.classroom = name
        for entry in [*enter, *learn]:
            entry.called = True
        return WorkerCommands(
            leave=tuple(ticket for ticket in worker_poll.seated if ticket not in staying),
            enter=tuple(entry.request for entry in enter),
            learn=tuple(entry.request.ticket for entry in learn),
        )

    def undecided(self, worker_poll: WorkerPoll) -> bool:
        """Whether some student that sits there has not been asked for its next epoch yet, but may be any moment."""
        return any(
            entry.request.ticket in worker_poll.seated and not entry.over and not entry.may_learn
            for entry in self._students.values()
        )

    def seated(self) -> dict[str, str]:
        """Student to classroom, of all that sit somewhere."""
        return {name: entry.classroom for name, entry in self._students.items() if entry.classroom and not entry.over}

    def _waiting(self) -> list[_Student]:
        return [entry for entry in self._students.values() if entry.classroom is None and not entry.over]

    def _free_places(self, classroom: str, seated: int) -> int:
        """Free seats there, but no more than its fair part of all students, so that no classroom stands idle."""
        present = sum(not entry.over for entry in self._students.values())
        fair = math.ceil(present / max(len(self._classrooms), 1))
        return max(min(self._classrooms[classroom].seats, fair) - seated, 0)

    def _note(self, report: Report) -> None:
        entry = self._students.get(report.student)
        if entry is None or entry.request.ticket != report.ticket:
            return  # withdrawn, or enrolled anew since
        # After a fault the same epochs may be told again; the first telling counts.
        if not entry.over and (report.failure is not None or report.epoch == len(entry.reports) + 1):
            entry.reports.append(report)
            entry.lost_seats = 0

    def _lose_seat(self, entry: _Student) -> None:
        entry.classroom = None
        entry.lost_seats += entry.called
        entry.called = False
        if entry.lost_seats >= LOST_SEATS_ALLOWED:
            entry.reports.append(_given_up(entry))


def _one_suspect_or_all(entries: list[_Student]) -> list[_Student]:
    return [entry for entry in entries if entry.suspicious][:1] or entries


def _given_up(entry: _Student) -> Report:
    return Report(
        student=entry.request.student,
        ticket=entry.request.ticket,
        epoch=len(entry.reports) + 1,
        failure=f"its classroom died {entry.lost_seats} times while it was being taught",
    )
