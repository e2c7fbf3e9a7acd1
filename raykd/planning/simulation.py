"""A search in virtual time: the real register of seats and the real scheduler, with simulated classes and trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from raykd.cluster.broker import ASSEMBLY_SECONDS
from raykd.config import StudySettings
from raykd.places import PLAIN, trial_name
from raykd.planning.clock import Clock, Queue
from raykd.planning.costs import EpochCosts, Overheads
from raykd.planning.curves import Curves
from raykd.planning.simulated_classrooms import SimulatedClassrooms
from raykd.search.names import METRIC, TIME
from raykd.search.schedulers import make_scheduler


@dataclass(frozen=True)
class Search:
    """What is searched where.

    - study: trials, scheduler and seed
    - epochs: of a whole trial
    - classrooms, workers, seats: see `raykd.cluster.resources.Plan`
    - cpus: of the driver's node, where the trials' processes start
    - stride: epochs that are simulated as one, between which nobody enters, leaves or is stopped
    """

    study: StudySettings
    epochs: int
    classrooms: int
    workers: int = 1
    seats: int = 8
    cpus: float = 64.0
    stride: int = 1

    @property
    def at_once(self) -> int:
        """Trials that run at once, if so many are left."""
        return min(self.classrooms * self.seats, self.study.trials)


@dataclass
class Outcome:
    """What came of a simulated search.

    - trials_over: seconds until the last trial ended
    - seconds: until the plain student was finished, too
    - epochs: of each trial, by number
    - known: of the trials handed out before it, the share that had ended when a trial was drawn; the mean
    - spent: classroom seconds, by what they went into; in sum classrooms * seconds
    """

    trials_over: float
    seconds: float
    epochs: list[int]
    known: float
    spent: dict[str, float] = field(default_factory=dict)


def simulate(
    search: Search,
    costs: EpochCosts,
    overheads: Overheads | None = None,
    accuracy: Callable[[int, int], float] | None = None,
) -> Outcome:
    """Run a search in virtual time, with the plain student beside it.

    Args:
        search: What is searched where.
        costs: Seconds of an epoch on one worker.
        overheads: Seconds around the epochs. None: the defaults.
        accuracy: Of a trial (from 0) after an epoch (from 1). None: as `Curves` draws it.
    """
    return _Tune(search, costs, overheads or Overheads(), accuracy).run()


class _Tune:
    """Tune's controller: it hands trials out, hears their results and stops them, one thing at a time."""

    def __init__(
        self,
        search: Search,
        costs: EpochCosts,
        overheads: Overheads,
        accuracy: Callable[[int, int], float] | None,
    ) -> None:
        self._search = search
        self._overheads = overheads
        self._accuracy = accuracy or Curves(search.study.seed, search.epochs).accuracy
        self._scheduler = make_scheduler(search.study, search.epochs)
        self._clock = Clock()
        self._controller = Queue(self._clock)
        self._steps = math.ceil(search.epochs / search.stride)
        self._classrooms = SimulatedClassrooms(
            self._clock, search.classrooms, search.seats, self._steps, self._seconds_of_class(costs), self._hear
        )
        self._trials: dict[str, tuple[int, Trial]] = {}
        self._epochs = [0] * search.study.trials
        self._handed_out = search.at_once
        self._drawn = self._ended = 0
        self._known: list[float] = []
        self._trials_over = self._plain_over = self._first_enrolled = self._last_enrolled = 0.0

    def run(self) -> Outcome:
        self._classrooms.open()
        self._classrooms.submit(PLAIN)
        self._clock.at(self._overheads.tune, self._start_processes)
        self._clock.run()
        seconds = max(self._trials_over, self._plain_over)
        return Outcome(
            trials_over=self._trials_over,
            seconds=seconds,
            epochs=self._epochs,
            known=sum(self._known) / len(self._known) if self._known else 1.0,
            spent=self._classrooms.spent(self._first_enrolled, self._last_enrolled, seconds),
        )

    def _seconds_of_class(self, costs: EpochCosts) -> Callable[[set[str], int], tuple[float, float, float]]:
        search, overheads = self._search, self._overheads
        speed = overheads.speed(search.workers)

        def seconds(learning: set[str], step: int) -> tuple[float, float, float]:
            shared, own = costs.of_class(len(learning), plain=PLAIN in learning)
            epochs = self._epochs_of(step)
            return epochs * overheads.epoch, epochs * shared / speed, epochs * own / speed

        return seconds

    def _epochs_of(self, step: int) -> int:
        """Epochs of a step (from 1); the last one may be shorter."""
        return min(self._search.stride, self._search.epochs - (step - 1) * self._search.stride)

    def _start_processes(self) -> None:
        """The first trials' processes start at once, share the driver's node, and wait for each other."""
        size = self._search.at_once
        start = self._overheads.process_cpu * max(1.0, size / self._search.cpus)
        created = [self._clock.now + (number + 1) * self._overheads.trial for number in range(size)]
        assembled = created[-1] + start
        for hour in created:
            self._controller.do(self._overheads.trial, self._draw)
            ready = min(assembled, hour + start + ASSEMBLY_SECONDS)
            self._clock.at(ready, lambda: self._controller.do(self._overheads.result, self._begin))

    def _draw(self) -> None:
        if self._drawn:
            self._known.append(self._ended / self._drawn)
        self._drawn += 1

    def _begin(self) -> None:
        """A trial takes its seat."""
        number = len(self._trials)
        stub = Trial("simulated", trial_id=trial_name(number), stub=True)
        self._scheduler.on_trial_add(None, stub)  # type: ignore[arg-type]
        self._trials[trial_name(number)] = number, stub
        self._first_enrolled = self._first_enrolled or self._clock.now
        self._last_enrolled = self._clock.now
        self._classrooms.submit(trial_name(number))

    def _hear(self, student: str, step: int) -> None:
        """A student has learnt for a step."""
        if student != PLAIN:
            self._controller.do(self._overheads.result, lambda: self._judge(student, step))
        elif step < self._steps:
            self._classrooms.go_on(PLAIN, step + 1)
        else:
            self._plain_over = self._clock.now
            self._classrooms.withdraw(PLAIN)

    def _judge(self, student: str, step: int) -> None:
        number, stub = self._trials[student]
        epoch = min(step * self._search.stride, self._search.epochs)
        self._epochs[number] = epoch
        result = {TIME: epoch, METRIC: self._accuracy(number, epoch)}
        if step == self._steps:
            self._scheduler.on_trial_complete(None, stub, result)  # type: ignore[arg-type]
            stopped = True
        else:
            decision = self._scheduler.on_trial_result(None, stub, result)  # type: ignore[arg-type]
            stopped = decision == TrialScheduler.STOP
        if not stopped:
            self._classrooms.go_on(student, step + 1)
            return
        self._ended += 1
        self._trials_over = self._clock.now
        self._classrooms.withdraw(student)
        if self._handed_out < self._search.study.trials:
            self._handed_out += 1
            self._controller.do(self._overheads.trial, self._draw)
            self._controller.do(0.0, self._begin)


def stride_for(study: StudySettings, epochs: int) -> int:
    """Epochs to simulate as one, so that a whole table of sizes takes seconds."""
    # Each judgement of the median rule looks at all trials, and each attendance at all students.
    effort = study.trials * epochs * max(study.trials / 64, 1) * (4 if study.early_stopping == "median" else 1)
    return min(math.ceil(effort / 40_000), max(epochs // 10, 1))
