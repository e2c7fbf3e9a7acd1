"""All classrooms in virtual time: they poll for commands, train and poll again, as those of a real broker do.

The real `Assignments` decide which student sits in which classroom. Simulated is how long the broker lets a poll wait,
and how long a class takes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from raykd.cluster.assignments import Assignments
from raykd.cluster.broker import LOCKSTEP_SECONDS
from raykd.config import TrainingSpec
from raykd.training.messages import Report, TrainRequest, WorkerCommands, WorkerPoll

ClassSeconds = Callable[[set[str], int], tuple[float, float, float]]
"""From the students of a class and their step to the seconds that are lost, that the class shares, and that are the
students' own."""

ANY_SPEC = TrainingSpec()
"""Of all students: assignments do not depend on the settings of a training."""


class EventQueue:
    """Virtual time: actions run in the order of their times, and those of the same time as they were scheduled."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def schedule(self, time: float, action: Callable[[], None]) -> None:
        """Run an action at a time (seconds). If the time has passed, it runs now."""
        heapq.heappush(self._events, (max(time, self.now), next(self._numbers), action))

    def run(self) -> None:
        """Run all actions, also those that are scheduled meanwhile."""
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


@dataclass
class _SimulatedClassroom:
    name: str
    seated: dict[str, int] = field(default_factory=dict)
    """Student to the steps that it has been trained for."""
    poll: WorkerPoll | None = None
    """While it waits for commands."""
    waits_until: float = 0.0
    """Until then it waits for students whose next step is undecided."""
    idle_since: float = 0.0


class SimulatedClassrooms:
    """The classrooms of a simulated search.

    Args:
        events: Virtual time.
        classrooms: How many there are.
        seats: Of each classroom.
        steps: Of a whole training.
        class_seconds: How long a class takes.
        on_step: Called with a student and the number of the step that it has finished, from 1.
    """

    def __init__(
        self,
        events: EventQueue,
        classrooms: int,
        seats: int,
        steps: int,
        class_seconds: ClassSeconds,
        on_step: Callable[[str, int], None],
    ) -> None:
        self._events = events
        self._seats = seats
        self._steps = steps
        self._class_seconds = class_seconds
        self._on_step = on_step
        self._assignments = Assignments(lease_seconds=math.inf)
        self._classrooms = [_SimulatedClassroom(f"classroom-{number}") for number in range(classrooms)]
        self._waiting: dict[str, _SimulatedClassroom] = {}
        self._classroom_of: dict[str, _SimulatedClassroom] = {}
        self._without_seat: set[str] = set()
        self._idle: list[tuple[float, float, bool]] = []
        self._lost = self._shared = self._own = 0.0

    def open(self) -> None:
        """All classrooms poll for the first time."""
        for classroom in self._classrooms:
            self._poll(classroom, [])

    def submit(self, student: str) -> None:
        """Ask for a seat and the first step of a student."""
        self._assignments.submit(TrainRequest(student, ANY_SPEC, None, "", ticket=student))
        self._without_seat.add(student)
        self._assignments.request_epoch(student, 1)
        self._fill_seats()

    def allow_step(self, student: str, step: int) -> None:
        """Let a student be trained for its next step."""
        self._assignments.request_epoch(student, step)
        self._answer(self._classroom_of[student])

    def withdraw(self, student: str) -> None:
        """Take a student out of its classroom."""
        self._assignments.withdraw(student)
        self._answer(self._classroom_of.pop(student))
        self._fill_seats()

    def spent(self, first: float, last: float, end: float) -> dict[str, float]:
        """Classroom seconds from the beginning to an end, by what they went into.

        - own, shared: training: the students' steps, and what their class shares
        - start: the classroom was empty before the first trial was submitted
        - tune: it waited for Tune or the broker, with students or before the last trial was submitted
        - tail: it was empty, and no trial was left

        Args:
            first: When the first trial was submitted.
            last: When the last one was.
            end: Of the search.
        """
        still_idle = ((room.idle_since, end, bool(room.seated)) for room in self._classrooms)
        spent = {"own": self._own, "shared": self._shared, "start": 0.0, "tune": self._lost, "tail": 0.0}
        for since, until, seated in (*self._idle, *still_idle):
            if seated:
                spent["tune"] += until - since
                continue
            for name, begin, close in (("start", 0.0, first), ("tune", first, last), ("tail", last, end)):
                spent[name] += max(min(until, close) - max(since, begin), 0.0)
        return spent

    def _poll(self, classroom: _SimulatedClassroom, reports: list[Report]) -> None:
        classroom.poll = WorkerPoll(classroom.name, self._seats, tuple(classroom.seated), tuple(reports))
        self._assignments.poll(classroom.poll, self._events.now)
        classroom.waits_until = self._events.now + LOCKSTEP_SECONDS
        self._waiting[classroom.name] = classroom
        for report in reports:
            self._on_step(report.student, report.epoch)
        self._answer(classroom)
        self._events.schedule(classroom.waits_until, partial(self._answer, classroom))

    def _fill_seats(self) -> None:
        for classroom in list(self._waiting.values()):
            if not self._without_seat:
                return
            self._answer(classroom)

    def _answer(self, classroom: _SimulatedClassroom) -> None:
        """Answer a classroom's poll, if it waits and there is something to do for it."""
        if classroom.poll is None:
            return
        if self._events.now < classroom.waits_until and self._assignments.awaits_requests(classroom.poll):
            return
        if commands := self._assignments.commands(classroom.poll):
            classroom.poll = None
            del self._waiting[classroom.name]
            self._execute(classroom, commands)

    def _execute(self, classroom: _SimulatedClassroom, commands: WorkerCommands) -> None:
        self._idle.append((classroom.idle_since, self._events.now, bool(classroom.seated)))
        classroom.idle_since = self._events.now
        for student in commands.leave:
            del classroom.seated[student]
        for request in commands.enter:
            classroom.seated[request.student] = 0
            self._classroom_of[request.student] = classroom
            self._without_seat.discard(request.student)
        if not commands.learn:
            self._poll(classroom, [])
            return
        steps = {student: classroom.seated[student] + 1 for student in commands.learn}
        # Students in their last, shorter step do not shorten that of the others.
        lost, shared, own = self._class_seconds(set(steps), min(steps.values()))
        self._lost += lost
        self._shared += shared
        self._own += own
        classroom.idle_since += lost + shared + own
        self._events.schedule(classroom.idle_since, partial(self._report, classroom, steps))

    def _report(self, classroom: _SimulatedClassroom, steps: dict[str, int]) -> None:
        reports = [Report(name, name, step, finished=step == self._steps) for name, step in steps.items()]
        classroom.seated.update(steps)
        for report in reports:
            if report.last:
                del classroom.seated[report.student]
        self._poll(classroom, reports)
