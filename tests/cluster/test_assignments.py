"""The broker's state: seats are leases, nothing is lost or counted twice, and nobody is blamed for another's fault."""

from __future__ import annotations

import pytest

from raykd.cluster.assignments import MAX_FAILURES, Assignments, Awaits
from raykd.training.messages import Report, TrainRequest, WorkerCommands
from tests.helpers.messages import report, request, worker_poll

ADA, BOB, CYD, DAN, EVE = (request(name) for name in ("ada", "bob", "cyd", "dan", "eve"))


def assignments(*students: TrainRequest, wanted: int = 1) -> Assignments:
    """With these students enrolled and asked for so many epochs."""
    state = Assignments(lease_seconds=10.0)
    for one in students:
        state.submit(one)
        if wanted:
            state.request_epoch(one.student, wanted)
    return state


def visit(
    state: Assignments,
    classroom: str,
    *seated: TrainRequest,
    seats: int = 2,
    reports: list[Report] | None = None,
    now: float = 0,
) -> WorkerCommands:
    """A classroom attends and hears what to do."""
    words = worker_poll(classroom, *seated, seats=seats, reports=reports or [])
    state.poll(words, now)
    return state.commands(words)


def test_students_enter_in_the_order_in_which_they_came_as_far_as_there_are_seats() -> None:
    state = assignments(ADA, BOB, CYD)
    assert visit(state, "room") == WorkerCommands(enter=(ADA, BOB), learn=(ADA.ticket, BOB.ticket))
    assert state.seated() == {"ada": "room", "bob": "room"}
    assert visit(state, "room", ADA, BOB) == WorkerCommands(learn=(ADA.ticket, BOB.ticket))


def test_a_seat_becomes_free_when_its_student_has_finished_or_failed() -> None:
    state = assignments(ADA, BOB, CYD, DAN, wanted=2)
    visit(state, "room")
    commands = visit(state, "room", BOB, reports=[report(ADA, 1, finished=True), report(BOB, 1)])
    assert commands == WorkerCommands(enter=(CYD,), learn=(BOB.ticket, CYD.ticket))
    commands = visit(state, "room", CYD, reports=[report(BOB, 2, failure="ill"), report(CYD, 1)])
    assert commands == WorkerCommands(enter=(DAN,), learn=(CYD.ticket, DAN.ticket))
    assert state.seated() == {"cyd": "room", "dan": "room"}


def test_a_student_learns_only_as_far_as_it_is_asked() -> None:
    state = assignments(ADA, wanted=0)
    assert visit(state, "room") == WorkerCommands(enter=(ADA,))
    assert not visit(state, "room", ADA)
    assert state.request_epoch("ada", 1) is None
    assert visit(state, "room", ADA).learn == (ADA.ticket,)
    assert not visit(state, "room", ADA, reports=[report(ADA, 1)])
    assert state.request_epoch("ada", 1) == report(ADA, 1)
    assert state.request_epoch("ada", 2) is None
    assert state.request_epoch("ada", 1) == report(ADA, 1)
    assert visit(state, "room", ADA).learn == (ADA.ticket,)


def test_a_classroom_waits_for_seated_students_that_nobody_has_asked_yet() -> None:
    state = assignments(ADA)
    visit(state, "room")
    words = worker_poll("room", ADA)
    assert not state.awaits_requests(words)
    state.poll(worker_poll("room", ADA, reports=[report(ADA, 1)]), 0)
    assert state.awaits_requests(words)
    assert not state.awaits_requests(worker_poll("room"))
    state.request_epoch("ada", 2)
    assert not state.awaits_requests(words)
    state.poll(worker_poll("room", reports=[report(ADA, 2, finished=True)]), 0)
    assert not state.awaits_requests(words)


def test_classrooms_share_the_students_fairly() -> None:
    state = assignments(ADA, BOB, CYD, DAN, EVE)
    state.poll(worker_poll("one", seats=8), 0)
    state.poll(worker_poll("two", seats=8), 0)
    assert visit(state, "one", seats=8).enter == (ADA, BOB, CYD)
    assert visit(state, "two", seats=8).enter == (DAN, EVE)


def test_the_first_classroom_leaves_those_their_part_that_are_still_starting() -> None:
    state = assignments(ADA, BOB, CYD, DAN)
    state.expect(2, until=30.0)
    assert visit(state, "one", seats=8).enter == (ADA, BOB)
    state.expire_leases(now=9.0)
    assert visit(state, "one", ADA, BOB, seats=8, now=9.0).enter == ()
    assert visit(state, "two", seats=8, now=10.0).enter == (CYD, DAN)


def test_classrooms_that_never_start_are_not_expected_for_ever() -> None:
    state = assignments(ADA, BOB, CYD, DAN)
    state.expect(2, until=5.0)
    assert visit(state, "one", seats=8).enter == (ADA, BOB)
    state.expire_leases(now=6.0)
    assert visit(state, "one", ADA, BOB, seats=8, now=6.0).enter == (CYD, DAN)


def test_a_classroom_that_is_alone_takes_all_it_has_seats_for() -> None:
    state = assignments(ADA, BOB, CYD, DAN, EVE)
    assert len(visit(state, "one", seats=4).enter) == 4
    assert visit(state, "two", seats=4).enter == (EVE,)


def test_students_that_wait_for_others_give_their_seats_to_these() -> None:
    # A trial on two folds asks both students for the next epoch when both have ended this one; a room of one seat is
    # all that is left.
    state = assignments(ADA, BOB)
    told: dict[str, int] = {"ada": 0, "bob": 0}
    seated: tuple[TrainRequest, ...] = ()
    reports: list[Report] = []
    for _ in range(12):
        commands = visit(state, "room", *seated, seats=1, reports=reports)
        if not commands:
            state.make_room("room")
            commands = visit(state, "room", *seated, seats=1)
        seated = tuple(one for one in (*seated, *commands.enter) if one.ticket not in commands.leave)
        assert len(seated) == 1
        reports = []
        for one in seated:
            if one.ticket in commands.learn:
                told[one.student] += 1
                reports.append(report(one, told[one.student]))
        for epoch in (1, 2, 3):
            if all(state.request_epoch(name, epoch) is not None for name in told):
                for name in told:
                    state.request_epoch(name, epoch + 1)
    assert min(told.values()) >= 3


def test_nobody_gives_a_seat_away_that_nobody_needs_or_that_is_used() -> None:
    state = assignments(ADA, BOB, CYD)
    visit(state, "room")
    state.make_room("room")
    assert state.seated() == {"ada": "room", "bob": "room"}, "they are being trained"
    visit(state, "room", ADA, BOB, reports=[report(ADA, 1), report(BOB, 1)])
    state.withdraw("cyd")
    state.make_room("room")
    assert state.seated() == {"ada": "room", "bob": "room"}, "nobody waits"
    state.submit(DAN)
    state.make_room("room")
    assert state.seated() == {"ada": "room", "bob": "room"}, "nobody has asked for one that waits"
    state.request_epoch("dan", 1)
    state.make_room("room")
    assert visit(state, "room", ADA, BOB) == WorkerCommands(leave=(ADA.ticket,), enter=(DAN,), learn=(DAN.ticket,))


def test_a_report_told_twice_counts_once() -> None:
    state = assignments(ADA, wanted=3)
    visit(state, "room")
    first, again = report(ADA, 1), Report("ada", ADA.ticket, 1, {"epoch": 99.0})
    visit(state, "room", ADA, reports=[first, again])
    visit(state, "room", ADA, reports=[again, report(ADA, 2), first, report(ADA, 2)])
    assert [state.request_epoch("ada", epoch) for epoch in (1, 2, 3)] == [first, report(ADA, 2), None]


def test_a_report_that_comes_too_early_waits_for_its_history() -> None:
    state = assignments(ADA, wanted=3)
    visit(state, "room", ADA, reports=[report(ADA, 3), report(ADA, 2)])
    assert state.request_epoch("ada", 1) is None
    visit(state, "room", ADA, reports=[report(ADA, 1), report(ADA, 2), report(ADA, 3)])
    assert [state.request_epoch("ada", epoch) for epoch in (1, 2, 3)] == [report(ADA, epoch) for epoch in (1, 2, 3)]


def test_a_history_may_hold_more_epochs_than_were_asked_for() -> None:
    state = assignments(ADA)
    visit(state, "room")
    assert not visit(state, "room", ADA, reports=[report(ADA, 1), report(ADA, 2)])
    assert [state.request_epoch("ada", epoch) for epoch in (1, 2, 3)] == [report(ADA, 1), report(ADA, 2), None]


def test_nothing_comes_after_a_last_report() -> None:
    state = assignments(ADA, wanted=5)
    visit(state, "room", ADA, reports=[report(ADA, 1, finished=True), report(ADA, 2), report(ADA, 1, failure="ill")])
    assert [state.request_epoch("ada", epoch) for epoch in (1, 2, 9)] == [report(ADA, 1, finished=True)] * 3
    assert visit(state, "room", ADA) == WorkerCommands(leave=(ADA.ticket,))


def test_a_failure_is_heard_whatever_epoch_it_names() -> None:
    state = assignments(ADA, wanted=3)
    visit(state, "room", ADA, reports=[report(ADA, 1), report(ADA, 2)])
    ill = report(ADA, 1, failure="its folder is gone")
    visit(state, "room", reports=[ill])
    assert state.request_epoch("ada", 3) == ill
    assert not visit(state, "room")


def test_reports_of_strangers_and_of_earlier_enrolments_are_not_written_down() -> None:
    state = assignments(ADA, wanted=2)
    earlier = request("ada", ticket="an earlier one")
    commands = visit(state, "room", earlier, reports=[report(BOB, 1), report(earlier, 1)])
    assert commands == WorkerCommands(leave=(earlier.ticket,), enter=(ADA,), learn=(ADA.ticket,))
    assert state.request_epoch("ada", 1) is None
    assert not state.knows("bob")


def test_a_withdrawn_student_leaves_and_frees_its_seat() -> None:
    state = assignments(ADA, BOB, CYD)
    visit(state, "room")
    state.withdraw("ada")
    state.withdraw("nobody")
    assert not state.knows("ada")
    commands = visit(state, "room", ADA, BOB, reports=[report(ADA, 1), report(BOB, 1)])
    assert commands == WorkerCommands(leave=(ADA.ticket,), enter=(CYD,), learn=(CYD.ticket,))
    assert state.seated() == {"bob": "room", "cyd": "room"}


def test_to_enrol_again_changes_nothing_but_another_lesson_begins_anew() -> None:
    state = assignments(ADA, wanted=2)
    visit(state, "room")
    visit(state, "room", ADA, reports=[report(ADA, 1)])
    state.submit(request("ada", ticket="another ticket"))
    assert state.request_epoch("ada", 1) == report(ADA, 1)
    assert visit(state, "room", ADA) == WorkerCommands(learn=(ADA.ticket,))
    other = request("ada", rate=0.2, ticket="another lesson")
    state.submit(other)
    assert state.request_epoch("ada", 1) is None
    assert visit(state, "room", ADA) == WorkerCommands(leave=(ADA.ticket,), enter=(other,), learn=(other.ticket,))


def test_whoever_was_withdrawn_and_comes_back_tells_its_history_again() -> None:
    state = assignments(ADA, wanted=2)
    visit(state, "room")
    visit(state, "room", ADA, reports=[report(ADA, 1)])
    state.withdraw("ada")
    back = request("ada", ticket="back")
    state.submit(back)
    assert state.request_epoch("ada", 2) is None
    assert visit(state, "room", ADA).enter == (back,)
    visit(state, "room", back, reports=[report(back, 1), report(back, 2)])
    assert state.request_epoch("ada", 2) == report(back, 2)


def test_a_classroom_that_starts_afresh_gets_its_students_again() -> None:
    state = assignments(ADA, BOB, CYD)
    assert visit(state, "room").enter == (ADA, BOB)
    assert visit(state, "room").enter == (ADA, BOB)
    assert state.seated() == {"ada": "room", "bob": "room"}


def test_a_silent_classroom_loses_its_students_when_its_lease_runs_out() -> None:
    state = assignments(ADA, BOB)
    assert visit(state, "one", now=0).enter == (ADA, BOB)
    state.expire_leases(10.0)
    assert visit(state, "two", now=10.0) == WorkerCommands()
    state.heartbeat("one", 9.0)
    state.expire_leases(19.0)
    assert state.seated() == {"ada": "one", "bob": "one"}
    state.expire_leases(19.1)
    assert state.seated() == {}
    assert visit(state, "two", now=19.2).enter == (ADA, BOB)


def test_how_long_the_first_epoch_takes_is_known_from_the_classrooms_that_are_at_it() -> None:
    state = assignments()
    assert state.awaits("") == Awaits("workers")
    visit(state, "one")
    assert state.awaits("") == Awaits("students")
    for one in (ADA, BOB, CYD):
        state.submit(one)
        state.request_epoch(one.student, 1)
    visit(state, "one")
    visit(state, "two")
    assert state.awaits("") == Awaits("epoch")
    assert state.awaits("plain") == Awaits("students")
    state.heartbeat("one", 1.0, 20.0)
    assert state.awaits("") == Awaits("epoch", 20.0, 0.1)
    state.heartbeat("two", 1.0, 50.0)
    assert state.awaits("") == Awaits("epoch", 50.0, 2 / 20.0 + 1 / 50.0)
    assert state.awaits("b") == Awaits("epoch", 20.0, 1 / 20.0)
    # Another classroom's beat that knows nothing, and the end of an epoch, take it back.
    state.heartbeat("two", 2.0)
    visit(state, "one", ADA, BOB)
    assert state.awaits("") == Awaits("epoch")


def test_the_heartbeat_of_a_classroom_that_lost_its_lease_changes_nothing() -> None:
    state = assignments(ADA)
    visit(state, "one", now=0)
    state.expire_leases(11)
    state.heartbeat("one", 11)
    assert visit(state, "two", seats=8, now=12) == WorkerCommands(enter=(ADA,), learn=(ADA.ticket,))


def test_a_dismissed_classroom_gives_its_students_to_the_others() -> None:
    state = assignments(ADA, BOB)
    visit(state, "one")
    visit(state, "two")
    state.remove_classroom("one")
    state.remove_classroom("a stranger")
    assert visit(state, "two").enter == (ADA, BOB)


def test_a_classroom_that_lost_its_node_gives_its_students_back_and_nobody_is_to_blame() -> None:
    state = assignments(ADA, BOB)
    for _ in range(3 * MAX_FAILURES):
        assert visit(state, "room").learn == (ADA.ticket, BOB.ticket)
        assert state.remove_classroom("room", count_failure=False) == 2
        assert state.seated() == {}
    assert state.remove_classroom("room", count_failure=False) == 0
    assert state.request_epoch("ada", 1) is None


def test_a_classroom_that_was_only_slow_is_told_that_its_students_sit_elsewhere_now() -> None:
    state = assignments(ADA, BOB, wanted=3)
    visit(state, "slow", now=0)
    state.expire_leases(11)
    assert visit(state, "quick", now=11).enter == (ADA, BOB)
    # What it taught meanwhile counts all the same, and what the other one tells of the same epoch does not.
    assert visit(state, "slow", ADA, BOB, reports=[report(ADA, 1)], now=12).leave == (ADA.ticket, BOB.ticket)
    assert state.seated() == {"ada": "quick", "bob": "quick"}
    visit(state, "quick", ADA, BOB, reports=[report(ADA, 1), report(ADA, 2)], now=13)
    assert [state.request_epoch("ada", epoch) for epoch in (1, 2, 3)] == [report(ADA, 1), report(ADA, 2), None]


def test_a_slow_classroom_whose_students_nobody_took_seats_them_anew() -> None:
    state = assignments(ADA)
    visit(state, "slow", now=0)
    state.expire_leases(11)
    commands = visit(state, "slow", ADA, now=12)
    assert commands == WorkerCommands(leave=(ADA.ticket,), enter=(ADA,), learn=(ADA.ticket,))


def test_a_student_is_given_up_when_its_classroom_keeps_dying() -> None:
    state = assignments(ADA)
    for _ in range(MAX_FAILURES):
        assert visit(state, "room").learn == (ADA.ticket,)
    assert not visit(state, "room")
    found = state.request_epoch("ada", 1)
    assert found is not None
    assert (found.epoch, found.failure) == (1, "its classroom died 5 times while it was being trained")
    assert found.last


def test_every_epoch_that_it_finishes_clears_a_student_of_suspicion() -> None:
    state = assignments(ADA, wanted=100)
    for epoch in range(1, 5):
        for _ in range(MAX_FAILURES - 1):
            assert visit(state, "room").learn == (ADA.ticket,)
        assert visit(state, "room", ADA, reports=[report(ADA, epoch)]).learn == (ADA.ticket,)
    assert state.request_epoch("ada", 5) is None


def test_a_student_that_only_sat_there_is_not_to_blame() -> None:
    state = assignments(ADA)
    visit(state, "room")
    for _ in range(3 * MAX_FAILURES):
        visit(state, "room", ADA, reports=[report(ADA, 1)])  # it waits for its trial to ask for epoch 2
        visit(state, "room")
    assert state.request_epoch("ada", 2) is None
    assert visit(state, "room", ADA).learn == (ADA.ticket,)


@pytest.mark.parametrize("bad", ["ada", "cyd", "eve"])
def test_a_student_that_kills_its_classroom_takes_nobody_with_it(bad: str) -> None:
    everyone = [ADA, BOB, CYD, DAN, EVE]
    state = assignments(*everyone, wanted=3)
    here: list[TrainRequest] = []
    done: dict[str, int] = {one.student: 0 for one in everyone}
    reports: list[Report] = []
    deaths = 0
    for _ in range(100):
        commands = visit(state, "room", *here, seats=8, reports=reports)
        here += commands.enter
        reports = [report(one, epoch) for one in commands.enter for epoch in range(1, done[one.student] + 1)]
        taught = [one for one in here if one.ticket in commands.learn]
        if any(one.student == bad for one in taught):
            here, reports, deaths = [], [], deaths + 1
            continue
        for one in taught:
            done[one.student] += 1
            reports.append(report(one, done[one.student], finished=done[one.student] == 3))
        here = [one for one in here if done[one.student] < 3]
    assert deaths == MAX_FAILURES
    for one in everyone:
        found = state.request_epoch(one.student, 3)
        assert found is not None
        assert (found.failure is not None) == (one.student == bad)


def test_a_student_that_kills_its_classroom_when_it_is_seated_takes_nobody_with_it() -> None:
    state = assignments(ADA, BOB, CYD, wanted=0)
    here: list[TrainRequest] = []
    deaths = 0
    for _ in range(50):
        commands = visit(state, "room", *here, seats=8)
        here += commands.enter
        if BOB in commands.enter:
            here, deaths = [], deaths + 1
    assert deaths == MAX_FAILURES
    assert state.request_epoch("ada", 1) is None
    assert state.request_epoch("bob", 1) is not None
    assert state.request_epoch("cyd", 1) is None


def test_a_classroom_has_progressed_once_it_reports_or_shows_whom_it_dies_of() -> None:
    assignments = Assignments(30)
    assert not assignments.progressed("one")
    assignments.submit(request("ada"))
    assignments.request_epoch("ada", 2)
    for death in range(MAX_FAILURES):
        assignments.poll(worker_poll("one"), now=float(death))
        assert assignments.commands(worker_poll("one")).enter
        assert not assignments.progressed("one")
        assignments.remove_classroom("one")
    assert assignments.progressed("one")
    assert not assignments.progressed("two")
    bob = request("bob")
    assignments.submit(bob)
    assignments.poll(worker_poll("two", reports=[report(bob, 1)]), now=10.0)
    assert assignments.progressed("two")
