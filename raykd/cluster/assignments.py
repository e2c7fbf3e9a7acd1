"""Which student is trained in which classroom, and what it reported: the broker's state, without any waiting or Ray.

A seat is a lease: a student stays known until it is withdrawn, with all its reports, and a classroom that restarts or
falls silent gives its students back. They are seated again and continue from their last checkpoints.

A student is given up only for what is its own doing. After a fault those that were active are suspects, and trained one
at a time, until an epoch clears them. A device that fails proves nothing against a student unless it serves others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from raykd.training.messages import Fault, Report, TrainRequest, WorkerCommands, WorkerPoll

Missing: TypeAlias = Literal["workers", "students", "epoch"]
"""What a run waits for: processes of the classrooms' workers, its students' requests, or their first epoch."""

MAX_FAILURES = 5
"""A student whose classroom failed so often without an epoch between is given up: it is likely the cause."""

FAILURES_BEFORE_ISOLATION = 2
"""Students whose classroom failed so often are trained one at a time: an epoch then clears those that are harmless."""


@dataclass(frozen=True)
class Awaits:
    """What some students wait for before their first epoch.

    - missing: what is not there yet
    - epoch_seconds: what an epoch takes that they are at, by its batches so far; in several classrooms, the longest.
      None while that is unknown
    - epochs_per_second: of all of them together, at this pace
    """

    missing: Missing
    epoch_seconds: float | None = None
    epochs_per_second: float = 0.0


@dataclass
class _Student:
    request: TrainRequest
    reports: list[Report] = field(default_factory=list)
    requested_epoch: int = 0
    classroom: str | None = None
    active: bool = False
    """Its classroom's last commands were to seat or to train it: if the classroom fails now, it may be the cause."""
    failures: int = 0
    """How often its classroom failed while it was active, since its last epoch."""
    reason: str | None = None
    """Of the last of these failures, where it is known."""
    sound: dict[str, bool] = field(default_factory=dict)
    """Classrooms whose device failed while it was active: whether another student has been trained there since."""
    limits: dict[str, int] = field(default_factory=dict)
    """Classrooms whose memory was too small for it beside the others: how many may sit there with it, itself
    included."""

    @property
    def ended(self) -> bool:
        return bool(self.reports) and self.reports[-1].last

    @property
    def may_train(self) -> bool:
        return not self.ended and self.requested_epoch > len(self.reports)

    @property
    def isolated(self) -> bool:
        return self.failures >= FAILURES_BEFORE_ISOLATION


@dataclass
class _Classroom:
    seats: int
    last_seen: float
    epoch_seconds: float | None = None


class Assignments:
    """Students, classrooms, and who sits where. Every method is quick; `now` is a monotonic time in seconds.

    Args:
        lease_seconds: A classroom that was silent for so long loses its students to the others.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._students: dict[str, _Student] = {}
        self._classrooms: dict[str, _Classroom] = {}
        self._progressed: set[str] = set()
        self._blamed: dict[str, set[str]] = {}
        self._expected = 0
        self._expected_until = 0.0

    def expect(self, classrooms: int, until: float) -> None:
        """So many classrooms are starting: until then, those that come first leave the others their part."""
        self._expected, self._expected_until = classrooms, until

    def submit(self, request: TrainRequest) -> None:
        """Add a student. The same request again, as after a fault, changes nothing; another spec begins anew."""
        known = self._students.get(request.student)
        if known is None or known.request.spec != request.spec:
            self._students[request.student] = _Student(request)

    def withdraw(self, student: str) -> None:
        """Forget a student; its classroom is asked to remove it at its next poll."""
        self._students.pop(student, None)

    def knows(self, student: str) -> bool:
        """Whether the student was submitted, and not withdrawn."""
        return student in self._students

    def request_epoch(self, student: str, epoch: int) -> Report | None:
        """Allow a student to train up to an epoch (1-based), and return that epoch's report. None: not there yet."""
        entry = self._students[student]
        entry.requested_epoch = max(entry.requested_epoch, epoch)
        if len(entry.reports) >= epoch:
            return entry.reports[epoch - 1]
        return entry.reports[-1] if entry.ended else None

    def poll(self, worker_poll: WorkerPoll, now: float) -> None:
        """Record what a classroom sent: its reports, and who really sits there."""
        name = worker_poll.classroom
        self._classrooms[name] = _Classroom(worker_poll.seats, now)
        self._blamed.pop(name, None)
        self._record_all(worker_poll.reports, name)
        for entry in self._seated_in(name):
            if entry.request.ticket in worker_poll.seated:
                entry.active = False
            else:
                self._unseat(entry)

    def record_fault(self, classroom: str, fault: Fault) -> None:
        """A worker of a classroom says why it ends; the classroom's students wait for another.

        Several workers may say so: only those are to blame whom all of them suspect.
        """
        self._record_all(fault.reports, classroom)
        here = self._seated_in(classroom)
        suspected = None if fault.suspects is None else set(fault.suspects)
        if classroom in self._blamed:
            self._clear(self._blamed[classroom] - suspected if suspected is not None else set())
            return
        blamed = self._blamed[classroom] = {
            entry.request.ticket
            for entry in here
            if entry.active and (suspected is None or entry.request.ticket in suspected)
        }
        self._classrooms.pop(classroom, None)
        for entry in here:
            entry.active = entry.request.ticket in blamed
            if entry.active:
                entry.reason = fault.reason
                if fault.device:
                    entry.sound.setdefault(classroom, False)
            self._unseat(entry)

    def heartbeat(self, classroom: str, now: float, epoch_seconds: float | None = None) -> None:
        """A sign of life between two polls.

        Args:
            classroom: Its name.
            now: In seconds.
            epoch_seconds: What the epoch takes that it is at, by its batches so far; None while that is unknown.
        """
        if classroom in self._classrooms:
            self._classrooms[classroom] = replace(
                self._classrooms[classroom], last_seen=now, epoch_seconds=epoch_seconds
            )

    def remove_classroom(self, classroom: str, *, count_failure: bool = True) -> int:
        """A classroom is gone for good; its students wait for another.

        Args:
            classroom: Its name.
            count_failure: Whether one of its students may be the cause; not if its node has left, or if it was closed
                on purpose.

        Returns:
            How many students wait for another.
        """
        self._classrooms.pop(classroom, None)
        leaving = self._seated_in(classroom)
        for entry in leaving:
            entry.active &= count_failure
            self._unseat(entry)
        return len(leaving)

    def progressed(self, classroom: str) -> bool:
        """Whether a classroom has ever reported an epoch, or shown which student it dies of."""
        return classroom in self._progressed

    def expire_leases(self, now: float) -> None:
        """Remove the classrooms that have been silent for longer than their lease, and expect no late ones any more."""
        if now > self._expected_until:
            self._expected = 0
        for name in [n for n, room in self._classrooms.items() if now - room.last_seen > self._lease_seconds]:
            self.remove_classroom(name)

    def commands(self, worker_poll: WorkerPoll) -> WorkerCommands:
        """What a classroom that polls should do next; students that enter may train at once."""
        name = worker_poll.classroom
        here = self._seated_in(name)
        staying = {entry.request.ticket for entry in here}
        enter = _one_isolated_or_all(self._waiting()[: self._free_seats(name, len(here))])
        learn = _one_isolated_or_all([entry for entry in [*here, *enter] if entry.may_train])
        for entry in enter:
            entry.classroom = name
        for entry in [*enter, *learn]:
            entry.active = True
        return WorkerCommands(
            leave=tuple(ticket for ticket in worker_poll.seated if ticket not in staying),
            enter=tuple(entry.request for entry in enter),
            learn=tuple(entry.request.ticket for entry in learn),
        )

    def make_room(self, classroom: str) -> None:
        """Take seats from students whose next epoch nobody requests, where others whose is requested have none.

        A trial with a student on each fold requests the next epoch when all folds have ended this one. When a classroom
        is lost, such students may hold all seats that are left and wait for others that have none.
        """
        here = self._seated_in(classroom)
        if here and not any(entry.may_train for entry in here):
            wanted = sum(entry.may_train for entry in self._waiting())
            for entry in here[: max(wanted - self._free_seats(classroom, len(here)), 0)]:
                entry.classroom = None

    def awaits_requests(self, worker_poll: WorkerPoll) -> bool:
        """Whether the next epoch of a student that sits there has not been requested, but may be at any moment."""
        return any(
            entry.request.ticket in worker_poll.seated and not entry.ended and not entry.may_train
            for entry in self._students.values()
        )

    def seated(self) -> dict[str, str]:
        """Student to classroom, of all that sit somewhere."""
        return {name: entry.classroom for name, entry in self._students.items() if entry.classroom and not entry.ended}

    def awaits(self, prefix: str) -> Awaits:
        """What is not there yet on the way to the first epoch of the students whose names begin so."""
        if not self._classrooms:
            return Awaits("workers")
        if not any(name.startswith(prefix) for name in self._students):
            return Awaits("students")
        longest, together = None, 0.0
        for name, classroom in self._classrooms.items():
            at_work = sum(each.active and each.request.student.startswith(prefix) for each in self._seated_in(name))
            if at_work and classroom.epoch_seconds:
                longest = max(longest or 0.0, classroom.epoch_seconds)
                together += at_work / classroom.epoch_seconds
        return Awaits("epoch", longest, together)

    def _seated_in(self, classroom: str) -> list[_Student]:
        return [entry for entry in self._students.values() if entry.classroom == classroom and not entry.ended]

    def _waiting(self) -> list[_Student]:
        """In the order in which they came; first those that may train at once."""
        waiting = [entry for entry in self._students.values() if entry.classroom is None and not entry.ended]
        return sorted(waiting, key=lambda entry: not entry.may_train)

    def _free_seats(self, classroom: str, seated: int) -> int:
        """Free seats there, but no more than its fair part of all students, so that no classroom is idle."""
        present = [entry for entry in self._students.values() if not entry.ended]
        fair = math.ceil(len(present) / max(len(self._classrooms), self._expected, 1))
        # Whoever it was too small for waits for room here, unless it has found another classroom.
        limits = [
            entry.limits[classroom]
            for entry in present
            if classroom in entry.limits and entry.classroom in (None, classroom)
        ]
        return max(min([self._classrooms[classroom].seats, fair, *limits]) - seated, 0)

    def _record_all(self, reports: Iterable[Report], classroom: str) -> None:
        """Record what a classroom reports."""
        here = self._seated_in(classroom)
        for report in reports:
            entry = self._students.get(report.student)
            self._progressed.add(classroom)
            if entry is None or entry.request.ticket != report.ticket or entry.ended:
                continue  # withdrawn, or submitted anew since
            if report.crowded:
                entry.limits[classroom] = max(len(here) - 1, 1)
                entry.active = False
            elif report.failure is not None or report.epoch == len(entry.reports) + 1:
                self._record(entry, report, classroom)

    def _record(self, entry: _Student, report: Report, classroom: str) -> None:
        """Record a new report; after a fault the same epochs may be reported again, and the first report counts."""
        entry.reports.append(report)
        entry.failures = 0
        entry.sound.clear()
        if report.failure is None:
            for other in self._students.values():
                if other is not entry and classroom in other.sound:
                    other.sound[classroom] = True

    def _clear(self, tickets: set[str]) -> None:
        """Take a failure back that other workers have shown to be none of these students' doing."""
        for entry in self._students.values():
            if entry.request.ticket in tickets and not entry.ended:
                entry.failures = max(entry.failures - 1, 0)

    def _unseat(self, entry: _Student) -> None:
        """Take a student's seat away; the failure counts only against students that were active."""
        classroom, entry.classroom = entry.classroom, None
        entry.failures += entry.active
        entry.active = False
        if entry.failures >= MAX_FAILURES and all(entry.sound.values()):
            entry.reports.append(_given_up(entry))
            if classroom is not None:
                self._progressed.add(classroom)


def _one_isolated_or_all(entries: list[_Student]) -> list[_Student]:
    """One isolated student alone, so that a failure is its own; all students if none is isolated."""
    isolated = [entry for entry in entries if entry.isolated]
    # Those that failed least first: their epochs show whether a device still serves others.
    return [min(isolated, key=lambda entry: entry.failures)] if isolated else entries


def _given_up(entry: _Student) -> Report:
    return Report(
        student=entry.request.student,
        ticket=entry.request.ticket,
        epoch=len(entry.reports) + 1,
        failure=f"its classroom died {entry.failures} times while it was being trained"
        + (f", at last: {entry.reason}" if entry.reason else ""),
    )
