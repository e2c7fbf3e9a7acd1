"""A search in virtual time: the real assignment of seats and the real scheduler, with simulated classes and trials."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from raykd.cluster.broker import ASSEMBLY_SECONDS
from raykd.config import StudySettings
from raykd.places import PLAIN, trial_name
from raykd.planning.costs import BankedViews, EpochCosts, Overheads
from raykd.planning.simulated_classrooms import ClassSeconds, EventQueue, SimulatedClassrooms
from raykd.search.names import METRIC, TIME, TRIAL
from raykd.search.schedulers import make_scheduler

FINAL_MEAN, FINAL_SPREAD = 0.7, 0.04
"""Of a drawn learning curve: accuracy at the end, normal over the trials."""
PACE_MEDIAN, PACE_SPREAD = 0.2, 0.3
"""Share of the training in which a trial comes nearer to its end by a factor e: log-normal over the trials."""
NOISE = 0.005
"""Standard deviation of each epoch's accuracy: half a point."""


@dataclass(frozen=True)
class Search:
    """What is searched where.

    - study: trials, scheduler and seed
    - epochs: of a whole trial
    - classrooms, workers, seats: see `raykd.cluster.resources.Plan`
    - cpus: of the driver's node, where the trials' processes start
    - stride: epochs that are simulated as one step, within which no student enters, leaves or is stopped
    - bank: of the teacher. None: it answers every batch anew
    - start: start points, which are the first trials and never stopped
    """

    study: StudySettings
    epochs: int
    classrooms: int
    workers: int = 1
    seats: int = 8
    cpus: float = 64.0
    stride: int = 1
    bank: BankedViews | None = None
    start: int = 0

    @property
    def at_once(self) -> int:
        """Trials that run at once, if so many are left."""
        return min(self.classrooms * self.seats, self.study.trials)

    @property
    def steps(self) -> int:
        """Steps of a whole trial."""
        return math.ceil(self.epochs / self.stride)

    def epochs_after(self, step: int) -> int:
        """Epochs that a trial has had after a step (from 1)."""
        return min(step * self.stride, self.epochs)


@dataclass
class Outcome:
    """The result of a simulated search.

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


@dataclass(frozen=True)
class LearningCurves:
    """Validation accuracies drawn at random, by which a simulated scheduler judges trials; nothing else uses them.

    A trial rises as ``final * (1 - exp(-progress / pace))``, with noise on each epoch. The same seed draws the same.
    """

    seed: int
    epochs: int

    def accuracy(self, trial: int, epoch: int) -> float:
        """Of a trial (from 0) after an epoch (from 1)."""
        traits = random.Random(f"{self.seed}/{trial}")
        final = traits.gauss(FINAL_MEAN, FINAL_SPREAD)
        pace = PACE_MEDIAN * math.exp(traits.gauss(0.0, PACE_SPREAD))
        noise = random.Random(f"{self.seed}/{trial}/{epoch}").gauss(0.0, NOISE)
        return min(max(final * (1 - math.exp(-epoch / self.epochs / pace)) + noise, 0.0), 1.0)


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
        accuracy: Of a trial (from 0) after an epoch (from 1). None: as `LearningCurves` draws it.
    """
    return _SimulatedTune(search, costs, overheads or Overheads(), accuracy).run()


def stride_for(study: StudySettings, epochs: int) -> int:
    """Epochs to simulate as one, so that a whole table of sizes takes seconds."""
    # Each decision of the median rule looks at all trials, and each poll of a classroom at all students.
    effort = study.trials * epochs * max(study.trials / 64, 1) * (4 if study.early_stopping == "median" else 1)
    return min(math.ceil(effort / 40_000), max(epochs // 10, 1))


class _SimulatedTune:
    """Tune's controller: it hands trials out, receives their results and stops them, one thing at a time."""

    def __init__(
        self,
        search: Search,
        costs: EpochCosts,
        overheads: Overheads,
        accuracy: Callable[[int, int], float] | None,
    ) -> None:
        self._search = search
        self._overheads = overheads
        self._accuracy = accuracy or LearningCurves(search.study.seed, search.epochs).accuracy
        self._scheduler = make_scheduler(search.study, search.epochs, is_spared=lambda number: number < search.start)
        self._events = EventQueue()
        self._busy_until = 0.0
        self._classrooms = SimulatedClassrooms(
            self._events,
            search.classrooms,
            search.seats,
            search.steps,
            _class_seconds(search, costs, overheads),
            self._on_step,
        )
        self._trials: dict[str, tuple[int, Trial]] = {}
        self._epochs = [0] * search.study.trials
        self._handed_out = search.at_once
        self._drawn = self._ended = 0
        self._known: list[float] = []
        self._trials_over = self._plain_over = self._first_submitted = self._last_submitted = 0.0

    def run(self) -> Outcome:
        self._classrooms.open()
        self._classrooms.submit(PLAIN)
        self._events.schedule(self._overheads.tune, self._start_processes)
        self._events.run()
        seconds = max(self._trials_over, self._plain_over)
        return Outcome(
            trials_over=self._trials_over,
            seconds=seconds,
            epochs=self._epochs,
            known=sum(self._known) / len(self._known) if self._known else 1.0,
            spent=self._classrooms.spent(self._first_submitted, self._last_submitted, seconds),
        )

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something that takes so long, after everything that was asked of the controller before."""
        self._busy_until = max(self._busy_until, self._events.now) + seconds
        self._events.schedule(self._busy_until, action)

    def _start_processes(self) -> None:
        """The first trials' processes start at once, share the driver's node, and wait for each other."""
        size = self._search.at_once
        start = self._overheads.process_cpu * max(1.0, size / self._search.cpus)
        created = [self._events.now + (number + 1) * self._overheads.trial for number in range(size)]
        assembled = created[-1] + start
        for time in created:
            self._after(self._overheads.trial, self._draw_trial)
            ready = min(assembled, time + start + ASSEMBLY_SECONDS)
            self._events.schedule(ready, lambda: self._after(self._overheads.result, self._submit_trial))

    def _draw_trial(self) -> None:
        """Optuna draws a trial's settings."""
        if self._drawn:
            self._known.append(self._ended / self._drawn)
        self._drawn += 1

    def _submit_trial(self) -> None:
        """The next trial asks for its seat."""
        number = len(self._trials)
        name = trial_name(number)
        stub = Trial("simulated", config={TRIAL: number}, trial_id=name, stub=True)
        self._scheduler.on_trial_add(None, stub)  # type: ignore[arg-type]
        self._trials[name] = number, stub
        self._first_submitted = self._first_submitted or self._events.now
        self._last_submitted = self._events.now
        self._classrooms.submit(name)

    def _on_step(self, student: str, step: int) -> None:
        """A student has finished a step."""
        if student != PLAIN:
            self._after(self._overheads.result, lambda: self._process_result(student, step))
        elif step < self._search.steps:
            self._classrooms.allow_step(PLAIN, step + 1)
        else:
            self._plain_over = self._events.now
            self._classrooms.withdraw(PLAIN)

    def _process_result(self, student: str, step: int) -> None:
        """The scheduler decides whether a trial goes on. If not, the next trial follows."""
        number, stub = self._trials[student]
        self._epochs[number] = epoch = self._search.epochs_after(step)
        result = {TIME: epoch, METRIC: self._accuracy(number, epoch)}
        if step == self._search.steps:
            self._scheduler.on_trial_complete(None, stub, result)  # type: ignore[arg-type]
            over = True
        else:
            decision = self._scheduler.on_trial_result(None, stub, result)  # type: ignore[arg-type]
            over = decision == TrialScheduler.STOP
        if not over:
            self._classrooms.allow_step(student, step + 1)
            return
        self._ended += 1
        self._trials_over = self._events.now
        self._classrooms.withdraw(student)
        if self._handed_out < self._search.study.trials:
            self._handed_out += 1
            self._after(self._overheads.trial, self._draw_trial)
            self._after(0.0, self._submit_trial)


def _class_seconds(search: Search, costs: EpochCosts, overheads: Overheads) -> ClassSeconds:
    speed = overheads.speed(search.workers)
    taught = 0

    def seconds(students: set[str], step: int) -> tuple[float, float, float]:
        nonlocal taught
        # The last step may be shorter.
        epochs = search.epochs_after(step) - search.epochs_after(step - 1)
        plain, answers = int(PLAIN in students), float(epochs)
        if search.bank is not None and len(students) > plain:
            answers = search.bank.answers(epochs, before=taught)
            taught += epochs
        shared, own = costs.of_class(len(students), plain, answers / epochs)
        return epochs * overheads.epoch, epochs * shared / speed, epochs * own / speed

    return seconds
