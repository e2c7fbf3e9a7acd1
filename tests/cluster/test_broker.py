"""The broker's waiting, without Ray: when each call is answered, and with what."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from raykd.cluster.broker import IDLE_SECONDS, LOCKSTEP_SECONDS, Broker
from raykd.config import TrainingSettings, TrainingSpec
from raykd.training.messages import Fault, TrainRequest, WorkerCommands
from tests.helpers.messages import report, request, worker_poll
from tests.helpers.virtual_time import run_in_virtual_time

ADA, BOB, CYD = request("ada"), request("bob"), request("cyd")
SOON = 0.5
"""Seconds, in virtual time, within which an answer comes that need not wait."""


def run(story: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(asyncio.wait_for(story, 20))


def now() -> float:
    return asyncio.get_running_loop().time()


async def waits(task: asyncio.Task[Any]) -> bool:
    await asyncio.sleep(0.1)
    return not task.done()


async def soon(task: asyncio.Future[Any] | Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.wait_for(task, SOON)


async def first_epochs_of(broker: Broker, *requests: TrainRequest) -> list[asyncio.Task[Any]]:
    """Submit students and ask for their first epochs."""
    for one in requests:
        await broker.submit(one)
    asked = [asyncio.create_task(broker.report(one.student, 1)) for one in requests]
    await asyncio.sleep(0)
    return asked


def test_a_classroom_waits_until_there_is_something_to_do() -> None:
    async def story() -> None:
        broker = Broker(30)
        called = asyncio.create_task(broker.poll(worker_poll("room")))
        assert await waits(called)
        await broker.submit(ADA)
        assert await soon(called) == WorkerCommands(enter=(ADA,))
        called = asyncio.create_task(broker.poll(worker_poll("room", ADA)))
        assert await waits(called)
        asked = asyncio.create_task(broker.report("ada", 1))
        assert await soon(called) == WorkerCommands(learn=(ADA.ticket,))
        assert await waits(asked)
        called = asyncio.create_task(broker.poll(worker_poll("room", ADA, reports=[report(ADA, 1)])))
        assert await soon(asked) == report(ADA, 1)
        assert await soon(broker.report("ada", 1)) == report(ADA, 1)
        assert await waits(called)
        await broker.withdraw("ada")
        assert await soon(called) == WorkerCommands(leave=(ADA.ticket,))

    run(story())


def test_whoever_asks_for_an_unknown_student_hears_so_at_once() -> None:
    async def story() -> None:
        broker = Broker(30)
        assert await soon(broker.report("ada", 1)) is None
        await broker.submit(ADA)
        asked = asyncio.create_task(broker.report("ada", 1))
        assert await waits(asked)
        await broker.withdraw("ada")
        assert await soon(asked) is None

    run(story())


def test_two_may_ask_for_the_same_student() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.submit(ADA)
        askers = [asyncio.create_task(broker.report("ada", 1)) for _ in range(2)]
        await broker.poll(worker_poll("room"))
        await asyncio.sleep(0)
        called = asyncio.create_task(broker.poll(worker_poll("room", reports=[report(ADA, 1, finished=True)])))
        assert [await soon(asker) for asker in askers] == [report(ADA, 1, finished=True)] * 2
        assert await soon(broker.report("ada", 7)) == report(ADA, 1, finished=True)
        called.cancel()

    run(story())


def test_a_class_keeps_in_step_but_does_not_wait_for_ever() -> None:
    async def story() -> None:
        broker = Broker(30)
        asked = await first_epochs_of(broker, ADA, BOB)
        assert (await broker.poll(worker_poll("room"))).learn == (ADA.ticket, BOB.ticket)

        reports = [report(ADA, 1), report(BOB, 1)]
        called = asyncio.create_task(broker.poll(worker_poll("room", ADA, BOB, reports=reports)))
        await asyncio.gather(*asked)
        first = asyncio.create_task(broker.report("ada", 2))
        assert await waits(called)  # Bob's trial may ask any moment
        second = asyncio.create_task(broker.report("bob", 2))
        assert await soon(called) == WorkerCommands(learn=(ADA.ticket, BOB.ticket))

        reports = [report(ADA, 2), report(BOB, 2)]
        started = now()
        called = asyncio.create_task(broker.poll(worker_poll("room", ADA, BOB, reports=reports)))
        await asyncio.gather(first, second)
        third = asyncio.create_task(broker.report("ada", 3))
        assert await asyncio.wait_for(called, LOCKSTEP_SECONDS + 2) == WorkerCommands(learn=(ADA.ticket,))
        assert now() - started == pytest.approx(LOCKSTEP_SECONDS)
        third.cancel()

    run(story())


def test_seats_that_nobody_uses_go_to_those_who_wait_for_one() -> None:
    async def story() -> None:
        broker = Broker(30)
        asked = await first_epochs_of(broker, ADA, BOB)
        assert (await broker.poll(worker_poll("room", seats=1))).enter == (ADA,)
        started = now()
        # Ada's next epoch is requested when Bob has ended this one, too.
        told = await broker.poll(worker_poll("room", ADA, seats=1, reports=[report(ADA, 1)]))
        assert told == WorkerCommands(leave=(ADA.ticket,), enter=(BOB,), learn=(BOB.ticket,))
        assert now() - started == pytest.approx(IDLE_SECONDS, abs=1.1)
        called = asyncio.create_task(broker.poll(worker_poll("room", BOB, seats=1, reports=[report(BOB, 1)])))
        assert await asyncio.gather(*asked) == [report(ADA, 1), report(BOB, 1)]
        called.cancel()

    run(story())


def test_a_classroom_with_all_asked_is_answered_at_once() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.submit(ADA)
        asked = asyncio.create_task(broker.report("ada", 2))
        await asyncio.sleep(0)
        assert await soon(broker.poll(worker_poll("room"))) == WorkerCommands(enter=(ADA,), learn=(ADA.ticket,))
        again = await soon(broker.poll(worker_poll("room", ADA, reports=[report(ADA, 1)])))
        assert again == WorkerCommands(learn=(ADA.ticket,))
        asked.cancel()

    run(story())


def test_those_enrolled_for_all_epochs_go_from_first_to_last_in_step() -> None:
    async def story() -> None:
        broker = Broker(30)
        students = [
            TrainRequest(name, TrainingSpec(training=TrainingSettings(epochs=2)), None, name, f"{name}-ticket")
            for name in ("eve", "fay")
        ]
        called = asyncio.create_task(broker.poll(worker_poll("room")))
        assert await waits(called)
        await broker.submit_for_all_epochs(students)
        tickets = tuple(student.ticket for student in students)
        assert await soon(called) == WorkerCommands(enter=tuple(students), learn=tickets)
        await broker.submit(students[0])  # whoever waits for its reports submits it again, which changes nothing
        reports = [report(student, 1) for student in students]
        # Nobody has asked for a report yet, and the class goes on.
        assert await soon(broker.poll(worker_poll("room", *students, reports=reports))) == WorkerCommands(learn=tickets)
        reports = [report(student, 2, finished=True) for student in students]
        called = asyncio.create_task(broker.poll(worker_poll("room", reports=reports)))
        assert await waits(called)
        assert await soon(broker.report("fay", 1)) == report(students[1], 1)
        assert await soon(broker.report("fay", 2)) == report(students[1], 2, finished=True)
        called.cancel()

    run(story())


def test_the_call_of_a_dead_predecessor_ends_and_takes_no_student() -> None:
    async def story() -> None:
        broker = Broker(30)
        dead = asyncio.create_task(broker.poll(worker_poll("room")))
        assert await waits(dead)
        living = asyncio.create_task(broker.poll(worker_poll("room")))
        assert await soon(dead) == WorkerCommands(close=True)
        await broker.submit(ADA)
        assert await soon(living) == WorkerCommands(enter=(ADA,))
        assert await broker.seated() == {"ada": "room"}

    run(story())


def test_a_restarted_classroom_gets_back_what_its_predecessor_had_taken() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.submit(ADA)
        assert await soon(broker.poll(worker_poll("room"))) == WorkerCommands(enter=(ADA,))
        assert await soon(broker.poll(worker_poll("room"))) == WorkerCommands(enter=(ADA,))

    run(story())


def test_a_dismissed_classroom_takes_nobody_any_more() -> None:
    async def story() -> None:
        broker = Broker(30)
        dead = asyncio.create_task(broker.poll(worker_poll("dead")))
        living = asyncio.create_task(broker.poll(worker_poll("living")))
        assert await waits(dead)
        await broker.remove_classroom("dead")
        assert await soon(dead) == WorkerCommands(close=True)
        await broker.submit(ADA)
        await broker.submit(BOB)
        assert (await soon(living)).enter == (ADA, BOB)

    run(story())


def test_a_dismissed_classrooms_students_are_given_to_one_that_waits() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.submit(ADA)
        assert (await broker.poll(worker_poll("dead"))).enter == (ADA,)
        living = asyncio.create_task(broker.poll(worker_poll("living")))
        assert await waits(living)
        await broker.remove_classroom("dead")
        assert (await soon(living)).enter == (ADA,)

    run(story())


def test_a_recalled_classroom_tells_of_its_epoch_before_its_students_go_to_another() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.submit(ADA)
        asked = asyncio.create_task(broker.report("ada", 1))
        await asyncio.sleep(0)
        assert (await broker.poll(worker_poll("small"))).learn == (ADA.ticket,)
        await broker.close_classroom("small")
        large = asyncio.create_task(broker.poll(worker_poll("large")))
        assert await waits(large)
        assert await soon(broker.poll(worker_poll("small", ADA, reports=[report(ADA, 1)]))) == WorkerCommands(
            close=True
        )
        assert await soon(asked) == report(ADA, 1)
        assert await soon(large) == WorkerCommands(enter=(ADA,))

    run(story())


def test_a_recalled_classroom_that_waits_is_sent_home_at_once() -> None:
    async def story() -> None:
        broker = Broker(30)
        called = asyncio.create_task(broker.poll(worker_poll("small")))
        assert await waits(called)
        await broker.close_classroom("small")
        assert await soon(called) == WorkerCommands(close=True)

    run(story())


def test_the_students_of_a_lost_node_go_to_another_classroom_at_once() -> None:
    async def story() -> None:
        broker = Broker(30)
        for one in (ADA, BOB):
            await broker.submit(one)
        assert (await broker.poll(worker_poll("lost"))).enter == (ADA, BOB)
        other = asyncio.create_task(broker.poll(worker_poll("other")))
        assert await waits(other)
        assert await broker.remove_lost_classroom("lost") == 2
        assert (await soon(other)).enter == (ADA, BOB)
        # One of its workers, on another node, is still there, and takes nobody.
        await broker.submit(CYD)
        assert await soon(broker.poll(worker_poll("lost", ADA, BOB))) == WorkerCommands(close=True)
        assert await broker.seated() == {"ada": "other", "bob": "other"}

    run(story())


def test_a_silent_classrooms_students_are_given_to_one_that_waits() -> None:
    async def story() -> None:
        broker = Broker(lease_seconds=0.5)
        await broker.submit(ADA)
        assert (await broker.poll(worker_poll("silent"))).enter == (ADA,)
        started = now()
        assert (await asyncio.wait_for(broker.poll(worker_poll("living")), 5)).enter == (ADA,)
        assert now() - started > 0.4

    run(story())


def test_a_silent_classrooms_students_are_given_to_one_that_is_busy() -> None:
    async def story() -> None:
        broker = Broker(lease_seconds=0.3)
        await broker.submit(ADA)
        assert (await broker.poll(worker_poll("silent"))).enter == (ADA,)
        await broker.submit(BOB)
        asked = asyncio.create_task(broker.report("bob", 100))
        await asyncio.sleep(0)
        assert (await broker.poll(worker_poll("busy"))).enter == (BOB,)
        epoch, entered = 0, ()
        while not entered and epoch < 90:
            await asyncio.sleep(0.02)
            epoch += 1
            entered = (await soon(broker.poll(worker_poll("busy", BOB, reports=[report(BOB, epoch)])))).enter
        assert entered == (ADA,)
        asked.cancel()

    run(story())


def test_a_heartbeat_keeps_the_lease_of_a_classroom_that_teaches() -> None:
    async def story() -> None:
        broker = Broker(lease_seconds=0.5)
        await broker.submit(ADA)
        assert (await broker.poll(worker_poll("teaches"))).enter == (ADA,)
        idle = asyncio.create_task(broker.poll(worker_poll("idle")))
        for _ in range(12):
            await asyncio.sleep(0.1)
            await broker.heartbeat("teaches")
        assert not idle.done()
        assert await broker.seated() == {"ada": "teaches"}
        idle.cancel()

    run(story())


def test_closing_sends_classrooms_home_and_tells_the_reason_to_whoever_waits() -> None:
    async def story() -> None:
        broker = Broker(30)
        for one in (ADA, BOB):
            await broker.submit(one)
        asked = asyncio.create_task(broker.report("ada", 1))
        await asyncio.sleep(0)
        await broker.poll(worker_poll("one"))
        idle = asyncio.create_task(broker.poll(worker_poll("two")))
        assert await waits(idle)
        await broker.close("no classroom is left")
        assert await soon(idle) == WorkerCommands(close=True)
        failed = await soon(asked)
        assert failed.interrupted
        assert (failed.student, failed.epoch, failed.failure, failed.last) == ("ada", 1, "no classroom is left", True)
        # What was taught before is heard all the same, also when it is reports after closing time.
        assert await soon(broker.poll(worker_poll("one", reports=[report(BOB, 1)]))) == WorkerCommands(close=True)
        assert await soon(broker.report("bob", 1)) == report(BOB, 1)
        assert (await soon(broker.report("bob", 2))).failure == "no classroom is left"
        await broker.submit(CYD)
        assert (await soon(broker.report("cyd", 1))).failure == "no classroom is left"

    run(story())


@pytest.mark.parametrize("students", [300])
def test_hundreds_may_wait_at_once(students: int) -> None:
    async def story() -> None:
        broker = Broker(30)
        everyone = [request(f"student-{number}") for number in range(students)]
        for one in everyone:
            await broker.submit(one)
        asked = [asyncio.create_task(broker.report(one.student, 1)) for one in everyone]
        await asyncio.sleep(0)
        commands = await broker.poll(worker_poll("room", seats=students))
        assert len(commands.learn) == students
        reports = [report(one, 1, finished=True) for one in everyone]
        called = asyncio.create_task(broker.poll(worker_poll("room", seats=students, reports=reports)))
        assert await asyncio.wait_for(asyncio.gather(*asked), 10) == reports
        called.cancel()

    run(story())


@pytest.mark.parametrize("moved_between", [False, True], ids=["nothing moves", "an epoch between"])
def test_a_classroom_that_its_storage_refuses_again_is_closed(moved_between: bool) -> None:
    async def story() -> None:
        broker = Broker(30)
        await first_epochs_of(broker, ADA)
        full = Fault("/disk cannot be written: No space left on device", storage=True)
        commands = await soon(broker.poll(worker_poll("room")))
        assert commands == WorkerCommands(enter=(ADA,), learn=(ADA.ticket,))
        for _ in range(2):  # both workers tell of it
            await broker.record_fault("room", full)
        assert await broker.refused("room") is None
        assert await soon(broker.poll(worker_poll("room"))) == commands
        if moved_between:
            later = asyncio.create_task(broker.poll(worker_poll("room", ADA, reports=[report(ADA, 1)])))
            assert await waits(later)
        await broker.record_fault("room", full)
        if moved_between:
            assert await broker.refused("room") is None
        else:
            assert await broker.refused("room") == full.reason
            told = await broker.notices()
            assert told == [f"room starts again: {full.reason}", f"room is given up: {full.reason}"]
            assert await soon(broker.poll(worker_poll("room"))) == WorkerCommands(close=True)
            # Nothing is held against the student: it goes to another classroom.
            assert await soon(broker.poll(worker_poll("other"))) == commands

    run(story())


def test_how_busy_nodes_are_is_told_once() -> None:
    async def story() -> None:
        broker = Broker(30)
        await broker.record_usage("one", {"cpu": 10.0, "gpu_0": 1.0})
        await broker.record_usage("one", {"cpu": 20.0, "gpu_1": 2.0})
        await broker.record_usage("two", {"cpu": 5.0})
        assert await broker.usage() == {"one": {"cpu": 20.0, "gpu_0": 1.0, "gpu_1": 2.0}, "two": {"cpu": 5.0}}
        assert await broker.usage() == {}

    run(story())


def test_a_notice_is_told_once_however_many_classrooms_send_it() -> None:
    async def story() -> None:
        broker = Broker(30)
        for line in ("not stacked", "bank is full", "not stacked"):
            await broker.record_notice(line)
        assert await broker.notices() == ["not stacked", "bank is full"]
        await broker.record_notice("bank is full")
        await broker.record_notice("damaged")
        assert await broker.notices() == ["damaged"]

    run(story())
