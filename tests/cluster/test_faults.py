"""Faults of the machine are not booked on students, and want of memory costs seats, not trials."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from raykd.cluster.assignments import MAX_FAILURES, Assignments
from raykd.cluster.broker import Broker
from raykd.training.messages import Fault, Report, TrainRequest, WorkerCommands
from tests.helpers.messages import report, request, worker_poll
from tests.helpers.virtual_time import run_in_virtual_time

ADA, BOB, CYD = request("ada"), request("bob"), request("cyd")
FULL = Fault("/disk cannot be written: No space left on device")
SICK = Fault("cuda:0 of node n: CUDA error: unspecified launch failure", None, device=True)


def crowded(one: TrainRequest) -> Report:
    return replace(report(one, 1, failure="CUDA out of memory"), crowded=True)


def assignments(*students: TrainRequest, wanted: int = 100) -> Assignments:
    state = Assignments(lease_seconds=10.0)
    for one in students:
        state.submit(one)
        state.request_epoch(one.student, wanted)
    return state


def visit(
    state: Assignments, classroom: str, *seated: TrainRequest, seats: int = 8, reports: tuple[Report, ...] = ()
) -> WorkerCommands:
    words = worker_poll(classroom, *seated, seats=seats, reports=reports)
    state.poll(words, 0.0)
    return state.commands(words)


def failure(state: Assignments, one: TrainRequest) -> str | None:
    found = state.request_epoch(one.student, 100)
    return None if found is None else found.failure


def test_a_fault_of_the_machine_is_nobodys_however_often_it_comes() -> None:
    state = assignments(ADA, BOB)
    for _ in range(3 * MAX_FAILURES):
        assert visit(state, "room").learn == (ADA.ticket, BOB.ticket)
        state.record_fault("room", FULL)
        assert state.seated() == {}
    assert failure(state, ADA) is failure(state, BOB) is None


def test_another_classroom_takes_the_students_at_once() -> None:
    state = assignments(ADA, BOB)
    visit(state, "sick")
    state.record_fault("sick", SICK)
    assert visit(state, "sound").enter == (ADA, BOB)
    assert visit(state, "sound", ADA, BOB, reports=(report(ADA, 1), report(BOB, 1))).learn == (ADA.ticket, BOB.ticket)


def test_a_broken_device_ends_no_trial() -> None:
    """Not a single epoch succeeds there: nothing shows that a student is the cause."""
    state = assignments(ADA, BOB)
    for _ in range(4 * MAX_FAILURES):
        assert visit(state, "room").learn
        state.record_fault("room", SICK)
    assert failure(state, ADA) is failure(state, BOB) is None
    # Elsewhere both are trained to the end.
    assert visit(state, "other").enter
    visit(state, "other", ADA, reports=(report(ADA, 1),))
    assert state.seated() == {"ada": "other", "bob": "other"}


@pytest.mark.parametrize("bad", [ADA, BOB, CYD])
def test_a_student_that_breaks_devices_which_serve_others_is_given_up_alone(bad: TrainRequest) -> None:
    state = assignments(ADA, BOB, CYD)
    done = {one.student: 0 for one in (ADA, BOB, CYD)}
    here: list[TrainRequest] = []
    told: list[Report] = []
    faults = 0
    for _ in range(60):
        commands = visit(state, "room", *here, reports=tuple(told))
        here = [one for one in (*here, *commands.enter) if one.ticket not in commands.leave]
        told = [report(one, epoch) for one in commands.enter for epoch in range(1, done[one.student] + 1)]
        taught = [one for one in here if one.ticket in commands.learn]
        if bad in taught:
            state.record_fault("room", SICK)
            here, told, faults = [], [], faults + 1
            continue
        for one in taught:
            done[one.student] += 1
            told.append(report(one, done[one.student]))
    assert faults == MAX_FAILURES
    assert "unspecified launch failure" in (failure(state, bad) or "")
    assert min(count for name, count in done.items() if name != bad.student) > 10


def test_of_students_that_hang_only_those_are_suspects_whom_all_workers_suspect() -> None:
    state = assignments(ADA, BOB)
    for _ in range(3 * MAX_FAILURES):
        assert visit(state, "room").learn == (ADA.ticket, BOB.ticket)
        state.record_fault("room", Fault("hangs", (ADA.ticket,)))
        state.record_fault("room", Fault("hangs", ()))  # the second worker waits for its images
    assert failure(state, ADA) is None


def test_a_student_that_hangs_is_isolated_and_given_up_with_the_reason() -> None:
    state = assignments(ADA, BOB)
    stuck = Fault("nothing has moved for 300 s in forward, networks.py:7", (BOB.ticket,))
    for _ in range(2):
        assert visit(state, "room").learn == (ADA.ticket, BOB.ticket)
        state.record_fault("room", stuck)
    for _ in range(3):
        assert visit(state, "room").learn == (BOB.ticket,)
        state.record_fault("room", stuck)
    assert "networks.py:7" in (failure(state, BOB) or "")
    assert visit(state, "room").learn == (ADA.ticket,)


def test_whoever_finds_no_memory_beside_others_is_seated_again_among_fewer() -> None:
    state = assignments(ADA, BOB, CYD)
    visit(state, "room")
    # Cyd's seat stays empty until another has left.
    assert visit(state, "room", ADA, BOB, reports=(report(ADA, 1), report(BOB, 1), crowded(CYD))).enter == ()
    assert visit(state, "room", ADA, BOB, reports=(report(ADA, 2), report(BOB, 2))).enter == ()
    last = (report(ADA, 3, finished=True), report(BOB, 3))
    assert visit(state, "room", BOB, reports=last).enter == (CYD,)
    # Beside Bob there is no room either; alone there is.
    assert visit(state, "room", BOB, reports=(report(BOB, 4), crowded(CYD))).enter == ()
    assert visit(state, "room", reports=(report(BOB, 5, finished=True),)).enter == (CYD,)
    assert failure(state, CYD) is None
    assert visit(state, "room", reports=(report(CYD, 1, failure="CUDA out of memory"),)) == WorkerCommands()
    assert failure(state, CYD) == "CUDA out of memory"


def test_the_seats_come_back_when_the_one_that_needed_room_has_ended() -> None:
    state = assignments(ADA, BOB)
    visit(state, "room", seats=2)
    assert visit(state, "room", ADA, seats=2, reports=(report(ADA, 1), crowded(BOB))).enter == ()
    state.withdraw("bob")
    state.submit(CYD)
    assert visit(state, "room", ADA, seats=2, reports=(report(ADA, 2),)).enter == (CYD,)


def test_whoever_finds_no_memory_in_one_classroom_may_enter_another_at_once() -> None:
    state = assignments(ADA, BOB, CYD)
    visit(state, "small", seats=3)
    visit(state, "small", ADA, BOB, seats=3, reports=(crowded(CYD),))
    assert visit(state, "large", seats=3).enter == (CYD,)


def test_several_workers_that_find_no_memory_start_again_with_fewer_students_and_blame_nobody() -> None:
    state = assignments(ADA, BOB)
    visit(state, "room")
    state.record_fault("room", Fault("OutOfMemoryError", reports=(crowded(BOB),)))
    assert visit(state, "room").enter == (ADA,)
    for epoch in range(1, 3 * MAX_FAILURES):
        assert visit(state, "room", ADA, reports=(report(ADA, epoch),)).learn == (ADA.ticket,)
    assert visit(state, "room", reports=(report(ADA, 50, failure="it left"),)).enter == (BOB,)
    state.record_fault("room", Fault("OutOfMemoryError", reports=(report(BOB, 1, failure="CUDA out of memory"),)))
    assert failure(state, BOB) == "CUDA out of memory"


def test_the_user_is_told_why_a_classroom_starts_again() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.submit(ADA)
        await broker.poll(worker_poll("room"))
        await broker.record_fault("room", FULL)
        assert await broker.notices() == ["room starts again: /disk cannot be written: No space left on device"]
        assert await broker.seated() == {}

    run_in_virtual_time(asyncio.wait_for(story(), 20))
