"""All classrooms in virtual time: they attend, learn and attend again as those of a real broker do.

Who sits where is the real `Assignments`'s business; here is the broker's waiting, and how long a class takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from raykd.cluster.assignments import Assignments
from raykd.cluster.broker import LOCKSTEP_SECONDS
from raykd.config import TrainingSpec
from raykd.planning.clock import Clock
from raykd.training.messages import Report, TrainRequest, WorkerCommands, WorkerPoll

SecondsOfClass = Callable[[set[str], int], tuple[float, float, float]]
"""From who learns which step to the seconds that are lost, shared by the class, and the students' own."""


ANY_SPEC = TrainingSpec()
"""Of all students: assignments do not depend on what is learnt."""


@dataclass
class _Room:
    name: str
    seated: dict[str, int] = field(default_factory=dict)
    """Student to steps learnt here or before."""
    worker_poll: WorkerPoll | None = None
    """While it waits for an agenda."""
    patient_until: float = 0.0
    idle_since: float = 0.0


class SimulatedClassrooms:
    """The classrooms of a simulated search.

    Args:
        clock: Virtual time.
        classrooms: How many.
        seats: Of each.
        steps: Of a whole training.
        seconds: How long a class takes.
        hear: Told of each student's steps, from 1.
    """

    def __init__(
        self,
        clock: Clock,
        classrooms: int,
        seats: int,
        steps: int,
        seconds: SecondsOfClass,
        hear: Callable[[str, int], None],
    ) -> None:
        self._clock = clock
        self._seats = seats
        self._steps = steps
        self._seconds = seconds
        self._hear = hear
        self._assignments = Assignments(lease_seconds=math.inf)
        self._rooms = [_Room(f"classroom-{number}") for number in range(classrooms)]
        self._waiting: dict[str, _Room] = {}
        self._place: dict[str, _Room] = {}
        self._unseated: set[str] = set()
        self._idle: list[tuple[float, float, bool]] = []
        self._lost = self._shared = self._own = 0.0

    def open(self) -> None:
        """All classrooms attend for the first time."""
        for room in self._rooms:
            self._attend(room, [])

    def submit(self, student: str) -> None:
        """A student asks for a seat and its first step."""
        self._assignments.submit(TrainRequest(student, ANY_SPEC, None, "", ticket=student))
        self._unseated.add(student)
        self._assignments.request_epoch(student, 1)
        self._seat_someone()

    def go_on(self, student: str, step: int) -> None:
        """A student may learn its next step."""
        self._assignments.request_epoch(student, step)
        self._look(self._place[student])

    def withdraw(self, student: str) -> None:
        """A student leaves."""
        self._assignments.withdraw(student)
        self._look(self._place.pop(student))
        self._seat_someone()

    def spent(self, first: float, last: float, end: float) -> dict[str, float]:
        """Classroom seconds from the beginning to an end, by what they went into.

        - own, shared: learning: the students' steps, and what their class shares
        - start: nobody sat there, before the first trial did
        - tune: waiting for Tune or the broker, with students or before the last trial was handed out
        - tail: nobody sat there, and no trial was left

        Args:
            first: When the first trial enrolled.
            last: When the last one did.
            end: Of the search.
        """
        idle = [*self._idle, *((room.idle_since, end, bool(room.seated)) for room in self._rooms)]
        spent = {"own": self._own, "shared": self._shared, "start": 0.0, "tune": self._lost, "tail": 0.0}
        for since, until, seated in idle:
            if seated:
                spent["tune"] += until - since
                continue
            for name, begin, close in (("start", 0.0, first), ("tune", first, last), ("tail", last, end)):
                spent[name] += max(min(until, close) - max(since, begin), 0.0)
        return spent

    def _attend(self, room: _Room, reports: list[Report]) -> None:
        room.worker_poll = WorkerPoll(room.name, self._seats, tuple(room.seated), tuple(reports))
        self._assignments.poll(room.worker_poll, self._clock.now)
        room.patient_until = self._clock.now + LOCKSTEP_SECONDS
        self._waiting[room.name] = room
        for report in reports:
            self._hear(report.student, report.epoch)
        self._look(room)
        self._clock.at(room.patient_until, partial(self._look, room))

    def _seat_someone(self) -> None:
        for room in list(self._waiting.values()):
            if not self._unseated:
                return
            self._look(room)

    def _look(self, room: _Room) -> None:
        """Whether there is something to do for a classroom that waits."""
        if room.worker_poll is None:
            return
        if self._clock.now < room.patient_until and self._assignments.awaits_requests(room.worker_poll):
            return
        if commands := self._assignments.commands(room.worker_poll):
            room.worker_poll = None
            del self._waiting[room.name]
            self._follow(room, commands)

    def _follow(self, room: _Room, commands: WorkerCommands) -> None:
        self._idle.append((room.idle_since, self._clock.now, bool(room.seated)))
        room.idle_since = self._clock.now
        for student in commands.leave:
            del room.seated[student]
        for request in commands.enter:
            room.seated[request.student] = 0
            self._place[request.student] = room
            self._unseated.discard(request.student)
        if not commands.learn:
            self._attend(room, [])
            return
        steps = {student: room.seated[student] + 1 for student in commands.learn}
        # Those that are in their last, shorter step do not shorten that of the others.
        lost, shared, own = self._seconds(set(steps), min(steps.values()))
        self._lost += lost
        self._shared += shared
        self._own += own
        room.idle_since += lost + shared + own
        self._clock.at(room.idle_since, partial(self._report, room, steps))

    def _report(self, room: _Room, steps: dict[str, int]) -> None:
        reports = [Report(name, name, step, finished=step == self._steps) for name, step in steps.items()]
        room.seated.update(steps)
        for report in reports:
            if report.last:
                del room.seated[report.student]
        self._attend(room, reports)
