"""The planner's simulation against schedules computed by hand, and what must hold for all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from raykd.cluster.broker import LOCKSTEP_SECONDS
from raykd.config import StudySettings
from raykd.planning.costs import BankedViews, EpochCosts, Overheads
from raykd.planning.simulation import LearningCurves, Search, simulate
from raykd.search.names import METRIC, TIME
from raykd.search.schedulers import make_scheduler

FREE = Overheads(
    cluster=0, classroom=0, classroom_cpu=0, tune=0, process_cpu=0, trial=0, result=0, epoch=0, ending=0, worker_loss=0
)
COSTS = EpochCosts(data=1.0, teacher=4.0, student=2.0, teacher_step=8.0)
ALONE = EpochCosts(data=0.0, teacher=0.0, student=2.0, teacher_step=8.0)

SEARCHES = st.builds(
    Search,
    study=st.builds(
        StudySettings,
        trials=st.integers(1, 14),
        scheduler=st.sampled_from(["asha", "median", "none"]),
        grace_share=st.sampled_from([0.1, 0.25, 0.5]),
        reduction_factor=st.integers(2, 4),
        seed=st.integers(0, 99),
    ),
    epochs=st.integers(1, 12),
    classrooms=st.integers(1, 6),
    seats=st.integers(1, 4),
    cpus=st.just(4.0),
)


def search(trials: int, epochs: int, classrooms: int = 1, seats: int = 1, scheduler: str = "none") -> Search:
    return Search(StudySettings(trials=trials, scheduler=scheduler), epochs, classrooms, seats=seats)


@pytest.mark.parametrize(("trials", "classrooms", "waves"), [(7, 1, 8), (7, 2, 4), (7, 3, 3), (7, 8, 1), (8, 4, 3)])
def test_equal_trials_and_the_plain_student_take_whole_waves(trials: int, classrooms: int, waves: int) -> None:
    outcome = simulate(search(trials, epochs=5, classrooms=classrooms), ALONE, FREE)
    assert outcome.seconds == pytest.approx(waves * 5 * 2.0)
    assert outcome.epochs == [5] * trials


def test_a_class_of_two_by_hand() -> None:
    # The plain student begins alone. Then both learn together; at the end the trial has one epoch left.
    outcome = simulate(search(1, epochs=3, seats=2), COSTS, FREE)
    together = 1.0 + 4.0 + 2 * 2.0
    assert outcome.seconds == outcome.trials_over == pytest.approx((1.0 + 2.0) + 2 * together + (1.0 + 4.0 + 2.0))
    assert outcome.spent["own"] == pytest.approx(6 * 2.0)
    assert outcome.spent["shared"] == pytest.approx(4 * 1.0 + 3 * 4.0)


def test_a_bank_asks_the_teacher_once_for_each_view_that_fits() -> None:
    # A class of the plain student and a trial, then the next trial: of its three views one has been answered before.
    alone = simulate(search(2, epochs=3), COSTS, FREE).spent["shared"]
    spent = [
        simulate(replace(search(2, epochs=3), bank=bank), COSTS, FREE).spent["shared"]
        for bank in (BankedViews(missing=3), BankedViews(missing=1, beyond=0.0), BankedViews(0), BankedViews(2, 1 / 3))
    ]
    assert alone == pytest.approx(9 * 1.0 + 6 * 4.0)
    assert spent == pytest.approx([9 + 3 * 4.0, 9 + 4.0, 9.0, 9 + (2 + 4 / 3) * 4.0])


def test_a_bank_answers_steps_of_several_epochs_alike() -> None:
    for missing in (0, 2, 5, 30):
        bank = BankedViews(missing, beyond=0.25)
        singly = math.fsum(bank.answers(1, before=epoch) for epoch in range(12))
        assert math.fsum(bank.answers(4, before=start) for start in (0, 4, 8)) == pytest.approx(singly)
        assert singly == pytest.approx(min(missing, 12) + 0.25 * max(12 - missing, 0))


def test_tune_serves_one_after_the_other() -> None:
    # Four seats, four trials: their processes assemble, then each result costs a second before the next epoch.
    overheads = replace(FREE, tune=3.0, trial=0.5, process_cpu=2.0)
    outcome = simulate(search(4, epochs=1, classrooms=5), ALONE, overheads)
    assert outcome.trials_over == pytest.approx(3.0 + 4 * 0.5 + 2.0 + 2.0)
    slow = simulate(search(4, epochs=1, classrooms=5), ALONE, replace(overheads, result=1.0))
    # Four starts and four results; the first result comes while the third trial starts.
    assert slow.trials_over == pytest.approx(3.0 + 4 * 0.5 + 2.0 + 8 * 1.0)


def test_a_class_waits_for_an_undecided_student_no_longer_than_a_broker_does() -> None:
    # Tune takes longer for each result than the broker waits, so the students of a class are no longer taught together.
    prompt = simulate(search(2, epochs=4, seats=3), COSTS, replace(FREE, result=LOCKSTEP_SECONDS / 4))
    late = simulate(search(2, epochs=4, seats=3), COSTS, replace(FREE, result=LOCKSTEP_SECONDS * 4))
    assert prompt.spent["shared"] < late.spent["shared"]


def epochs_one_by_one(settings_: StudySettings, epochs: int) -> list[int]:
    """The epochs of trials that run one after the other under the real scheduler."""
    scheduler, curves = make_scheduler(settings_, epochs), LearningCurves(settings_.seed, epochs)
    counts = []
    for number in range(settings_.trials):
        trial = Trial("alone", trial_id=f"{number}", stub=True)
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, epochs + 1):
            result = {TIME: epoch, METRIC: curves.accuracy(number, epoch)}
            if epoch == epochs:
                scheduler.on_trial_complete(None, trial, result)
            elif scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                break
        counts.append(epoch)
    return counts


@settings(max_examples=30, deadline=None)
@given(SEARCHES)
def test_one_seat_gives_every_trial_the_epochs_that_the_real_scheduler_gives_it(drawn: Search) -> None:
    alone = replace(drawn, classrooms=1, seats=1)
    assert simulate(alone, COSTS).epochs == epochs_one_by_one(drawn.study, drawn.epochs)


def test_asha_stops_ever_worse_trials_at_the_first_rung_and_ever_better_ones_never() -> None:
    asha = search(10, epochs=16, scheduler="asha")
    worse = simulate(asha, COSTS, FREE, accuracy=lambda trial, epoch: -trial)
    assert worse.epochs == [16] + [4] * 9
    better = simulate(asha, COSTS, FREE, accuracy=lambda trial, epoch: trial)
    assert better.epochs == [16] * 10


@settings(max_examples=60, deadline=None)
@given(SEARCHES, st.sampled_from([FREE, Overheads(), replace(Overheads(), result=1.7)]))
def test_no_second_and_no_epoch_gets_lost(drawn: Search, overheads: Overheads) -> None:
    outcome = simulate(drawn, COSTS, overheads)
    assert math.fsum(outcome.spent.values()) == pytest.approx(drawn.classrooms * outcome.seconds)
    assert min(outcome.spent.values()) >= 0
    assert outcome.spent["own"] == pytest.approx((sum(outcome.epochs) + drawn.epochs) * COSTS.student)
    assert all(1 <= count <= drawn.epochs for count in outcome.epochs)
    assert outcome.epochs[0] <= drawn.epochs
    assert 0 <= outcome.known <= 1
    if drawn.study.scheduler == "none":
        assert outcome.epochs == [drawn.epochs] * drawn.study.trials
    # If a trial had all its epochs, no cluster is faster than that trial alone.
    if max(outcome.epochs) == drawn.epochs:
        assert outcome.seconds >= drawn.epochs * sum(COSTS.of_class(1)) - 1e-6


@settings(max_examples=60, deadline=None)
@given(SEARCHES)
def test_one_more_classroom_costs_no_more_than_the_last_wave(drawn: Search) -> None:
    few = replace(drawn, study=drawn.study.model_copy(update={"scheduler": "none"}))
    more = replace(few, classrooms=few.classrooms + 1)
    wave = few.epochs * sum(COSTS.of_class(few.seats))
    assert simulate(more, COSTS, FREE).seconds <= simulate(few, COSTS, FREE).seconds + wave
    # With a seat each there are no classes that could be smaller.
    single, double = replace(few, seats=1), replace(more, seats=1)
    assert simulate(double, ALONE, FREE).seconds <= simulate(single, ALONE, FREE).seconds + 1e-6


@settings(max_examples=30, deadline=None)
@given(SEARCHES, st.sampled_from([0.25, 2.0, 8.0]))
def test_a_machine_that_is_slower_by_a_factor_takes_longer_by_that_factor(drawn: Search, factor: float) -> None:
    # Powers of two, so that simultaneous events stay simultaneous.
    slower = EpochCosts(COSTS.data * factor, COSTS.teacher * factor, COSTS.student * factor, COSTS.teacher_step)
    assert simulate(drawn, slower, FREE).seconds == pytest.approx(factor * simulate(drawn, COSTS, FREE).seconds)


@pytest.mark.parametrize(("epochs", "stride"), [(12, 2), (12, 5), (7, 7)])
def test_longer_steps_change_nothing_where_no_student_enters_or_leaves_within_them(epochs: int, stride: int) -> None:
    exact = search(9, epochs=epochs, classrooms=3)
    assert simulate(replace(exact, stride=stride), COSTS, FREE).seconds == pytest.approx(
        simulate(exact, COSTS, FREE).seconds
    )


def test_trials_one_by_one_know_all_earlier_trials_and_trials_at_once_know_none() -> None:
    assert simulate(search(6, epochs=2), COSTS).known == 1.0
    assert simulate(search(6, epochs=2, classrooms=6), COSTS).known == 0.0


def test_workers_share_a_class() -> None:
    alone = search(4, epochs=3)
    pair = replace(alone, workers=2)
    assert simulate(pair, COSTS, FREE).seconds == pytest.approx(simulate(alone, COSTS, FREE).seconds / 2)
    lossy = replace(FREE, worker_loss=0.2)
    assert simulate(pair, COSTS, lossy).seconds == pytest.approx(simulate(alone, COSTS, FREE).seconds / 1.6)


def test_curves_are_accuracies_that_rise_and_repeat() -> None:
    curves = LearningCurves(seed=3, epochs=40)
    for trial in range(20):
        accuracies = [curves.accuracy(trial, epoch) for epoch in range(1, 41)]
        assert accuracies == [LearningCurves(3, 40).accuracy(trial, epoch) for epoch in range(1, 41)]
        assert min(accuracies) >= 0
        assert max(accuracies) <= 1
        assert sum(accuracies[30:]) > sum(accuracies[:10])
    assert curves.accuracy(0, 40) != LearningCurves(4, 40).accuracy(0, 40)
