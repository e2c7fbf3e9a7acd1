"""The register through any life: classrooms that die, fall silent and come back, students that come, go and return."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raykd.cluster.assignments import MAX_FAILURES, Assignments
from raykd.training.messages import Fault, Report, TrainRequest
from tests.helpers.messages import report, request, worker_poll

LEASE = 10.0
EPOCHS = 3
STUDENTS = st.sampled_from(["ada", "bob", "cyd"])
ROOMS = st.sampled_from(["one", "two"])
SEATS = {"one": 1, "two": 2}


@dataclass
class Room:
    """A classroom's process: what dies with it."""

    seated: dict[str, TrainRequest] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    told: list[Report] = field(default_factory=list)


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.assignments = Assignments(LEASE)
        self.now = 0.0
        self.tickets = count()
        self.rooms = {name: Room() for name in SEATS}
        self.checkpoints: dict[str, int] = {}  # epochs in each student's folder
        self.request_for: dict[str, TrainRequest] = {}
        self.heard: dict[str, list[Report]] = {}  # by its trial, in order
        self.deaths = 0
        self.strangers_leave: set[str] = set()

    # Trials

    @rule(student=STUDENTS)
    def submit(self, student: str) -> None:
        if student not in self.request_for:
            self.request_for[student] = request(student, ticket=f"ticket-{next(self.tickets)}")
            self.heard[student] = []
        self.assignments.submit(self.request_for[student])

    @rule(student=STUDENTS)
    def withdraw(self, student: str) -> None:
        self.assignments.withdraw(student)
        self.request_for.pop(student, None)
        self.heard.pop(student, None)

    @rule(student=STUDENTS)
    def ask(self, student: str) -> None:
        """A trial asks for the epoch after the last one it has heard of."""
        if student in self.request_for and not (self.heard[student] and self.heard[student][-1].last):
            found = self.assignments.request_epoch(student, len(self.heard[student]) + 1)
            if found is not None:
                self.heard[student].append(found)

    # Classrooms

    @rule(name=ROOMS, dies=st.booleans())
    def poll(self, name: str, dies: bool) -> None:
        """A classroom tells, hears, and does as it is told, unless it dies over it."""
        room = self.rooms[name]
        words = worker_poll(name, *room.seated.values(), seats=SEATS[name], reports=room.reports)
        self.assignments.poll(words, self.now)
        elsewhere = self.assignments.seated()
        commands = self.assignments.commands(words)
        room.told, room.reports = room.reports, []
        assert all(one.student not in elsewhere for one in commands.enter)
        assert set(commands.learn) <= {one.ticket for one in commands.enter} | (set(room.seated) - set(commands.leave))
        for ticket in room.seated:
            one = room.seated[ticket]
            if self.request_for.get(one.student) is not one:
                assert ticket in commands.leave
        if dies:
            self.die(name)
            return
        for ticket in commands.leave:
            room.seated.pop(ticket)
        for one in commands.enter:
            done = self.checkpoints.get(one.student, 0)
            room.reports += [report(one, epoch, finished=epoch == EPOCHS) for epoch in range(1, done + 1)]
            if done < EPOCHS:
                room.seated[one.ticket], room.epochs[one.ticket] = one, done
        for ticket in commands.learn:
            if one := room.seated.get(ticket):
                room.epochs[ticket] += 1
                done = self.checkpoints[one.student] = room.epochs[ticket]
                room.reports.append(report(one, done, finished=done == EPOCHS))
                if done == EPOCHS:
                    del room.seated[ticket]
        assert len(room.seated) <= SEATS[name]

    @rule(name=ROOMS)
    def idle(self, name: str) -> None:
        """It has had nothing to do for long."""
        self.assignments.make_room(name)

    @rule(name=ROOMS)
    def teach(self, name: str) -> None:
        """An epoch as it should be."""
        for student in self.request_for:
            self.ask(student)
        self.poll(name, dies=False)

    @rule(name=ROOMS)
    def die(self, name: str) -> None:
        self.rooms[name] = Room()
        self.deaths += 1

    @rule(name=ROOMS, device=st.booleans())
    def break_down(self, name: str, device: bool) -> None:
        """The machine fails, and the classroom says so before it dies."""
        self.rooms[name] = Room()
        self.deaths += device
        self.assignments.record_fault(name, Fault("it broke", None if device else (), device=device))

    @rule(name=ROOMS)
    def run_out_of_memory(self, name: str) -> None:
        """One of several students has no room."""
        room = self.rooms[name]
        if len(room.seated) > 1:
            one = room.seated.popitem()[1]
            room.reports.append(replace(report(one, 1, failure="out of memory"), crowded=True))

    @rule(name=ROOMS)
    def tell_twice(self, name: str) -> None:
        """The answer to an attendance got lost on the way, and it is sent again with the older reports."""
        room = self.rooms[name]
        room.reports = room.told + room.reports
        self.poll(name, dies=False)

    @rule(name=ROOMS)
    def dismiss(self, name: str) -> None:
        self.die(name)
        self.assignments.remove_classroom(name)

    # The world

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]), beating=st.sets(ROOMS))
    def time_passes(self, seconds: float, beating: set[str]) -> None:
        self.now += seconds
        for name in beating:
            self.assignments.heartbeat(name, self.now)
        before = self.assignments.seated()
        self.assignments.expire_leases(self.now)
        self.deaths += len(set(before.values()) - set(self.assignments.seated().values()))

    @rule()
    def the_broker_dies(self) -> None:
        """It comes back with an empty book, and all trials enrol as before."""
        self.assignments = Assignments(LEASE)
        for one in self.request_for.values():
            self.assignments.submit(one)

    # What always holds

    @invariant()
    def nobody_hears_an_epoch_twice_or_misses_one(self) -> None:
        for student, reports in self.heard.items():
            taught = [one for one in reports if one.failure is None]
            assert [one.epoch for one in taught] == list(range(1, len(taught) + 1))
            assert {one.ticket for one in reports} <= {self.request_for[student].ticket}

    @invariant()
    def nobody_is_given_up_for_nothing(self) -> None:
        if any(one.failure for reports in self.heard.values() for one in reports):
            assert self.deaths >= MAX_FAILURES

    @invariant()
    def seats_are_never_exceeded(self) -> None:
        places = list(self.assignments.seated().values())
        assert all(places.count(name) <= SEATS[name] for name in SEATS)

    @invariant()
    def only_enrolled_students_sit_anywhere(self) -> None:
        assert self.assignments.seated().keys() <= self.request_for.keys()
        assert all(self.assignments.knows(student) for student in self.request_for)

    @precondition(lambda self: self.request_for)
    @rule(last=ROOMS)
    def whoever_is_left_teaches_all(self, last: str) -> None:
        """One classroom lives on, the others fall silent: every student gets to its end."""
        deaths = self.deaths
        for _ in range(int(LEASE) + 2 * (EPOCHS + 3) * len(self.request_for)):
            self.now += 1
            self.assignments.heartbeat(last, self.now)
            self.assignments.expire_leases(self.now)
            self.poll(last, dies=False)
            for student in self.request_for:
                self.ask(student)
        self.deaths = deaths + len(SEATS)  # the silent classrooms
        for reports in self.heard.values():
            assert reports[-1].last
            assert len(reports) == EPOCHS or reports[-1].failure


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
