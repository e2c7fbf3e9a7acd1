"""The watchdog: a worker that hangs is found, a slow one is not, and the place and the suspects are named."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from raykd.cluster.watchdog import LOOK_SECONDS, Watchdog
from raykd.training.messages import Fault
from raykd.training.watch import BATCHES, FIRST, MEASURED, Watch

SECONDS = 60.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A watch and its dog in made-up time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.watch = Watch(self.clock)
        self.faults: list[Fault] = []
        self.dog = Watchdog(self.watch, SECONDS, self.faults.append, threading.get_ident())

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.dog.look(LOOK_SECONDS)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_waiting_for_commands_may_take_for_ever(scene: Scene) -> None:
    scene.passes(1e5)
    scene.watch.begin()
    scene.watch.end()
    scene.passes(1e5)
    assert scene.faults == []


def test_what_has_no_measure_may_take_longer_than_a_batch(scene: Scene) -> None:
    scene.watch.begin()
    scene.passes(FIRST * SECONDS)
    assert scene.faults == []
    scene.passes(2 * LOOK_SECONDS)
    assert [fault.suspects for fault in scene.faults] == [()]


def test_a_first_batch_may_compile(scene: Scene) -> None:
    scene.watch.begin()
    for _ in scene.watch.each(range(3)):
        scene.watch.at("ada")
        scene.passes(FIRST * SECONDS - LOOK_SECONDS)
    assert scene.faults == []


@pytest.mark.parametrize(("batch", "limit"), [(0.01, SECONDS), (10.0, BATCHES * 10.0)])
def test_a_batch_that_takes_far_longer_than_those_before_it_hangs(scene: Scene, batch: float, limit: float) -> None:
    scene.watch.begin()
    for number in scene.watch.each(range(4)):
        scene.watch.at("ada")
        if number < 3:
            scene.passes(batch)
            continue
        scene.passes(limit)
        assert scene.faults == []
        scene.passes(2 * LOOK_SECONDS)
    (fault,) = scene.faults
    assert fault.suspects == ("ada",)
    assert "in passes, test_watchdog.py:" not in fault.reason  # the place is that of the working thread, now in `look`
    assert "cluster.stall_seconds" in fault.reason


def test_students_that_are_slow_one_by_one_do_not_hang(scene: Scene) -> None:
    scene.watch.begin()
    for _ in scene.watch.each(range(4)):
        for ticket in ("ada", "bob", "cyd"):
            scene.watch.at(ticket)
            scene.passes(SECONDS - LOOK_SECONDS)
    assert scene.faults == []


def test_an_epochs_time_follows_from_its_first_batches_without_the_very_first(scene: Scene) -> None:
    watch, known = scene.watch, []
    watch.begin()
    for number in watch.each(range(100), 100):
        known.append(watch.epoch_seconds)
        scene.clock.now += 50.0 if number == 0 else 2.0 if number < 4 else 4.0
    assert known[: MEASURED + 1] == [None] * (MEASURED + 1)
    assert known[MEASURED + 1] == 200.0
    assert known[-1] == pytest.approx(100 * (3 * 2.0 + 95 * 4.0) / 98)
    for _ in watch.each(range(10)):
        assert watch.epoch_seconds == pytest.approx(400.0, rel=0.05)  # evaluation does not count
    watch.end()
    assert watch.epoch_seconds is None
    watch.begin()
    assert watch.epoch_seconds is None


def test_a_stopped_process_does_not_count_the_time_for_which_it_was_stopped(scene: Scene) -> None:
    scene.watch.begin()
    scene.clock.now += 1e6
    scene.dog.look(LOOK_SECONDS)
    scene.dog.look(LOOK_SECONDS)
    assert scene.faults == []


HANGS = """
import time
from raykd.cluster.watchdog import start_watchdog
from raykd.training.watch import Watch

def stuck():
    time.sleep(3600)

watch = Watch()
start_watchdog(watch, 0.2, lambda fault: print(fault.suspects, fault.reason, flush=True))
watch.begin()
watch.at("ada")
stuck()
"""


def test_a_process_that_hangs_ends_and_says_where() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stdout.startswith("('ada',) nothing has moved for ")
    assert "in stuck, <string>:7" in done.stdout
    assert "in stuck" in done.stderr
