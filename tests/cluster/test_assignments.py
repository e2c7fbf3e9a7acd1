"""The broker's book: seats are leases, nothing is lost or counted twice, and nobody is blamed for another's fault."""

from __future__ import annotations

import pytest

from raykd.cluster.assignments import LOST_SEATS_ALLOWED, Assignments
from raykd.training.messages import Report, TrainRequest, WorkerCommands
from tests.helpers.messages import report, request, worker_poll

ADA, BOB, CYD, DAN, EVE = (request(name) for name in ("ada", "bob", "cyd", "dan", "eve"))


def assignments(*students: TrainRequest, wanted: int = 1) -> Assignments:
    """With these students enrolled and asked for so many epochs."""
    book = Assignments(lease_seconds=10.0)
    for one in students:
        book.submit(one)
        if wanted:
            book.want(one.student, wanted)
    return book


def visit(
    book: Assignments,
    classroom: str,
    *seated: TrainRequest,
    seats: int = 2,
    reports: list[Report] | None = None,
    now: float = 0,
) -> WorkerCommands:
    """A classroom attends and hears what to do."""
    words = worker_poll(classroom, *seated, seats=seats, reports=reports or [])
    book.poll(words, now)
    return book.commands(words)


def test_students_enter_in_the_order_in_which_they_came_as_far_as_there_are_seats() -> None:
    book = assignments(ADA, BOB, CYD)
    assert visit(book, "room") == WorkerCommands(enter=(ADA, BOB), learn=(ADA.ticket, BOB.ticket))
    assert book.seated() == {"ada": "room", "bob": "room"}
    assert visit(book, "room", ADA, BOB) == WorkerCommands(learn=(ADA.ticket, BOB.ticket))


def test_a_seat_becomes_free_when_its_student_has_finished_or_failed() -> None:
    book = assignments(ADA, BOB, CYD, DAN, wanted=2)
    visit(book, "room")
    commands = visit(book, "room", BOB, reports=[report(ADA, 1, finished=True), report(BOB, 1)])
    assert commands == WorkerCommands(enter=(CYD,), learn=(BOB.ticket, CYD.ticket))
    commands = visit(book, "room", CYD, reports=[report(BOB, 2, failure="ill"), report(CYD, 1)])
    assert commands == WorkerCommands(enter=(DAN,), learn=(CYD.ticket, DAN.ticket))
    assert book.seated() == {"cyd": "room", "dan": "room"}


def test_a_student_learns_only_as_far_as_it_is_asked() -> None:
    book = assignments(ADA, wanted=0)
    assert visit(book, "room") == WorkerCommands(enter=(ADA,))
    assert not visit(book, "room", ADA)
    assert book.want("ada", 1) is None
    assert visit(book, "room", ADA).learn == (ADA.ticket,)
    assert not visit(book, "room", ADA, reports=[report(ADA, 1)])
    assert book.want("ada", 1) == report(ADA, 1)
    assert book.want("ada", 2) is None
    assert book.want("ada", 1) == report(ADA, 1)
    assert visit(book, "room", ADA).learn == (ADA.ticket,)


def test_a_classroom_waits_for_seated_students_that_nobody_has_asked_yet() -> None:
    book = assignments(ADA)
    visit(book, "room")
    words = worker_poll("room", ADA)
    assert not book.undecided(words)
    book.poll(worker_poll("room", ADA, reports=[report(ADA, 1)]), 0)
    assert book.undecided(words)
    assert not book.undecided(worker_poll("room"))
    book.want("ada", 2)
    assert not book.undecided(words)
    book.poll(worker_poll("room", reports=[report(ADA, 2, finished=True)]), 0)
    assert not book.undecided(words)


def test_classrooms_share_the_students_fairly() -> None:
    book = assignments(ADA, BOB, CYD, DAN, EVE)
    book.poll(worker_poll("one", seats=8), 0)
    book.poll(worker_poll("two", seats=8), 0)
    assert visit(book, "one", seats=8).enter == (ADA, BOB, CYD)
    assert visit(book, "two", seats=8).enter == (DAN, EVE)


def test_a_classroom_that_is_alone_takes_all_it_has_seats_for() -> None:
    book = assignments(ADA, BOB, CYD, DAN, EVE)
    assert len(visit(book, "one", seats=4).enter) == 4
    assert visit(book, "two", seats=4).enter == (EVE,)


def test_a_report_told_twice_counts_once() -> None:
    book = assignments(ADA, wanted=3)
    visit(book, "room")
    first, again = report(ADA, 1), Report("ada", ADA.ticket, 1, {"epoch": 99.0})
    visit(book, "room", ADA, reports=[first, again])
    visit(book, "room", ADA, reports=[again, report(ADA, 2), first, report(ADA, 2)])
    assert [book.want("ada", epoch) for epoch in (1, 2, 3)] == [first, report(ADA, 2), None]


def test_a_report_that_comes_too_early_waits_for_its_history() -> None:
    book = assignments(ADA, wanted=3)
    visit(book, "room", ADA, reports=[report(ADA, 3), report(ADA, 2)])
    assert book.want("ada", 1) is None
    visit(book, "room", ADA, reports=[report(ADA, 1), report(ADA, 2), report(ADA, 3)])
    assert [book.want("ada", epoch) for epoch in (1, 2, 3)] == [report(ADA, epoch) for epoch in (1, 2, 3)]


def test_a_history_may_hold_more_epochs_than_were_asked_for() -> None:
    book = assignments(ADA)
    visit(book, "room")
    assert not visit(book, "room", ADA, reports=[report(ADA, 1), report(ADA, 2)])
    assert [book.want("ada", epoch) for epoch in (1, 2, 3)] == [report(ADA, 1), report(ADA, 2), None]


def test_nothing_comes_after_a_last_report() -> None:
    book = assignments(ADA, wanted=5)
    visit(book, "room", ADA, reports=[report(ADA, 1, finished=True), report(ADA, 2), report(ADA, 1, failure="ill")])
    assert [book.want("ada", epoch) for epoch in (1, 2, 9)] == [report(ADA, 1, finished=True)] * 3
    assert visit(book, "room", ADA) == WorkerCommands(leave=(ADA.ticket,))


def test_a_failure_is_heard_whatever_epoch_it_names() -> None:
    book = assignments(ADA, wanted=3)
    visit(book, "room", ADA, reports=[report(ADA, 1), report(ADA, 2)])
    ill = report(ADA, 1, failure="its folder is gone")
    visit(book, "room", reports=[ill])
    assert book.want("ada", 3) == ill
    assert not visit(book, "room")


def test_reports_of_strangers_and_of_earlier_enrolments_are_not_written_down() -> None:
    book = assignments(ADA, wanted=2)
    earlier = request("ada", ticket="an earlier one")
    commands = visit(book, "room", earlier, reports=[report(BOB, 1), report(earlier, 1)])
    assert commands == WorkerCommands(leave=(earlier.ticket,), enter=(ADA,), learn=(ADA.ticket,))
    assert book.want("ada", 1) is None
    assert not book.knows("bob")


def test_a_withdrawn_student_leaves_and_frees_its_seat() -> None:
    book = assignments(ADA, BOB, CYD)
    visit(book, "room")
    book.withdraw("ada")
    book.withdraw("nobody")
    assert not book.knows("ada")
    commands = visit(book, "room", ADA, BOB, reports=[report(ADA, 1), report(BOB, 1)])
    assert commands == WorkerCommands(leave=(ADA.ticket,), enter=(CYD,), learn=(CYD.ticket,))
    assert book.seated() == {"bob": "room", "cyd": "room"}


def test_to_enrol_again_changes_nothing_but_another_lesson_begins_anew() -> None:
    book = assignments(ADA, wanted=2)
    visit(book, "room")
    visit(book, "room", ADA, reports=[report(ADA, 1)])
    book.submit(request("ada", ticket="another ticket"))
    assert book.want("ada", 1) == report(ADA, 1)
    assert visit(book, "room", ADA) == WorkerCommands(learn=(ADA.ticket,))
    other = request("ada", rate=0.2, ticket="another lesson")
    book.submit(other)
    assert book.want("ada", 1) is None
    assert visit(book, "room", ADA) == WorkerCommands(leave=(ADA.ticket,), enter=(other,), learn=(other.ticket,))


def test_whoever_was_withdrawn_and_comes_back_tells_its_history_again() -> None:
    book = assignments(ADA, wanted=2)
    visit(book, "room")
    visit(book, "room", ADA, reports=[report(ADA, 1)])
    book.withdraw("ada")
    back = request("ada", ticket="back")
    book.submit(back)
    assert book.want("ada", 2) is None
    assert visit(book, "room", ADA).enter == (back,)
    visit(book, "room", back, reports=[report(back, 1), report(back, 2)])
    assert book.want("ada", 2) == report(back, 2)


def test_a_classroom_that_starts_afresh_gets_its_students_again() -> None:
    book = assignments(ADA, BOB, CYD)
    assert visit(book, "room").enter == (ADA, BOB)
    assert visit(book, "room").enter == (ADA, BOB)
    assert book.seated() == {"ada": "room", "bob": "room"}


def test_a_silent_classroom_loses_its_students_when_its_lease_runs_out() -> None:
    book = assignments(ADA, BOB)
    assert visit(book, "one", now=0).enter == (ADA, BOB)
    book.expire(10.0)
    assert visit(book, "two", now=10.0) == WorkerCommands()
    book.heartbeat("one", 9.0)
    book.expire(19.0)
    assert book.seated() == {"ada": "one", "bob": "one"}
    book.expire(19.1)
    assert book.seated() == {}
    assert visit(book, "two", now=19.2).enter == (ADA, BOB)


def test_the_heartbeat_of_a_classroom_that_lost_its_lease_changes_nothing() -> None:
    book = assignments(ADA)
    visit(book, "one", now=0)
    book.expire(11)
    book.heartbeat("one", 11)
    assert visit(book, "two", seats=8, now=12) == WorkerCommands(enter=(ADA,), learn=(ADA.ticket,))


def test_a_dismissed_classroom_gives_its_students_to_the_others() -> None:
    book = assignments(ADA, BOB)
    visit(book, "one")
    visit(book, "two")
    book.dismiss("one")
    book.dismiss("a stranger")
    assert visit(book, "two").enter == (ADA, BOB)


def test_a_classroom_that_lost_its_node_gives_its_students_back_and_nobody_is_to_blame() -> None:
    book = assignments(ADA, BOB)
    for _ in range(3 * LOST_SEATS_ALLOWED):
        assert visit(book, "room").learn == (ADA.ticket, BOB.ticket)
        assert book.dismiss("room", blameless=True) == 2
        assert book.seated() == {}
    assert book.dismiss("room", blameless=True) == 0
    assert book.want("ada", 1) is None


def test_a_classroom_that_was_only_slow_is_told_that_its_students_sit_elsewhere_now() -> None:
    book = assignments(ADA, BOB, wanted=3)
    visit(book, "slow", now=0)
    book.expire(11)
    assert visit(book, "quick", now=11).enter == (ADA, BOB)
    # What it taught meanwhile counts all the same, and what the other one tells of the same epoch does not.
    assert visit(book, "slow", ADA, BOB, reports=[report(ADA, 1)], now=12).leave == (ADA.ticket, BOB.ticket)
    assert book.seated() == {"ada": "quick", "bob": "quick"}
    visit(book, "quick", ADA, BOB, reports=[report(ADA, 1), report(ADA, 2)], now=13)
    assert [book.want("ada", epoch) for epoch in (1, 2, 3)] == [report(ADA, 1), report(ADA, 2), None]


def test_a_slow_classroom_whose_students_nobody_took_seats_them_anew() -> None:
    book = assignments(ADA)
    visit(book, "slow", now=0)
    book.expire(11)
    commands = visit(book, "slow", ADA, now=12)
    assert commands == WorkerCommands(leave=(ADA.ticket,), enter=(ADA,), learn=(ADA.ticket,))


def test_a_student_is_given_up_when_its_classroom_keeps_dying() -> None:
    book = assignments(ADA)
    for _ in range(LOST_SEATS_ALLOWED):
        assert visit(book, "room").learn == (ADA.ticket,)
    assert not visit(book, "room")
    found = book.want("ada", 1)
    assert found is not None
    assert (found.epoch, found.failure) == (1, "its classroom died 5 times while it was being taught")
    assert found.last


def test_every_epoch_that_it_finishes_clears_a_student_of_suspicion() -> None:
    book = assignments(ADA, wanted=100)
    for epoch in range(1, 5):
        for _ in range(LOST_SEATS_ALLOWED - 1):
            assert visit(book, "room").learn == (ADA.ticket,)
        assert visit(book, "room", ADA, reports=[report(ADA, epoch)]).learn == (ADA.ticket,)
    assert book.want("ada", 5) is None


def test_a_student_that_only_sat_there_is_not_to_blame() -> None:
    book = assignments(ADA)
    visit(book, "room")
    for _ in range(3 * LOST_SEATS_ALLOWED):
        visit(book, "room", ADA, reports=[report(ADA, 1)])  # it waits for its trial to ask for epoch 2
        visit(book, "room")
    assert book.want("ada", 2) is None
    assert visit(book, "room", ADA).learn == (ADA.ticket,)


@pytest.mark.parametrize("bad", ["ada", "cyd", "eve"])
def test_a_student_that_kills_its_classroom_takes_nobody_with_it(bad: str) -> None:
    everyone = [ADA, BOB, CYD, DAN, EVE]
    book = assignments(*everyone, wanted=3)
    here: list[TrainRequest] = []
    done: dict[str, int] = {one.student: 0 for one in everyone}
    reports: list[Report] = []
    deaths = 0
    for _ in range(100):
        commands = visit(book, "room", *here, seats=8, reports=reports)
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
    assert deaths == LOST_SEATS_ALLOWED
    for one in everyone:
        found = book.want(one.student, 3)
        assert found is not None
        assert (found.failure is not None) == (one.student == bad)


def test_a_student_that_kills_its_classroom_when_it_is_seated_takes_nobody_with_it() -> None:
    book = assignments(ADA, BOB, CYD, wanted=0)
    here: list[TrainRequest] = []
    deaths = 0
    for _ in range(50):
        commands = visit(book, "room", *here, seats=8)
        here += commands.enter
        if BOB in commands.enter:
            here, deaths = [], deaths + 1
    assert deaths == LOST_SEATS_ALLOWED
    assert book.want("ada", 1) is None
    assert book.want("bob", 1) is not None
    assert book.want("cyd", 1) is None
