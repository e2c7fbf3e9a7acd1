"""Whole studies on clusters of several sizes: how long each takes, what its GPUs do, and which size to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from raykd.cluster.resources import SEATS, Plan, Resources, plan_for
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.planning.costs import BankedViews, EpochCosts, Overheads
from raykd.planning.simulation import Outcome, Search, simulate, stride_for

TEACHING = "teaching"
"""The part that is no loss: students' and teachers' own training, and what a full class shares."""

NO_TRIAL_LEFT = {"asha": "ASHA's rungs", "median": "the stopping rule", "none": "the last wave"}
"""Why no trial is left for a classroom while others still train, by scheduler."""

HARDLY_FASTER = 0.95
"""A larger cluster that still takes this share of the time is hardly faster."""


@dataclass(frozen=True)
class Nodes:
    """The nodes that a cluster is made of.

    - gpus: of each; 0 plans with CPU workers
    - cpus: of each
    """

    gpus: int = 8
    cpus: int = 64

    def resources(self, workers: int) -> Resources:
        """A cluster of so many GPUs, or so many CPU workers; its last node may be smaller."""
        full, rest = divmod(workers, self.gpus or self.cpus)
        sizes = [self.gpus or self.cpus] * full + ([rest] if rest else [])
        nodes = tuple(
            {"CPU": float(self.cpus), "GPU": float(size)} if self.gpus else {"CPU": float(size)} for size in sizes
        )
        return Resources.of(nodes)

    def __str__(self) -> str:
        return f"nodes of {self.gpus} GPUs and {self.cpus} CPUs" if self.gpus else f"nodes of {self.cpus} CPU workers"


@dataclass(frozen=True)
class Task:
    """A study to forecast.

    - experiment: its settings
    - costs: seconds of an epoch on one worker
    - standard_epochs, generous_epochs: of the teachers that must be trained first; 0 if there is none to train
    - nodes: what the cluster is made of
    - overheads: seconds around the epochs
    - bank: of the teacher. None: it answers every batch anew
    - start: how many start points the study has
    """

    experiment: Experiment
    costs: EpochCosts
    standard_epochs: float
    generous_epochs: float
    nodes: Nodes = Nodes()
    overheads: Overheads = field(default_factory=Overheads)
    bank: BankedViews | None = None
    start: int = 0

    @property
    def finalists(self) -> int:
        """Students that are trained after the search: the best trials, a start point and the plain one, by seed."""
        study = self.experiment.study
        if study.finalists == 0 or len(study.objectives) > 1:
            return 0
        return (min(study.finalists, study.trials) + 2) * study.finalist_seeds

    @property
    def unit(self) -> str:
        """Of a cluster's size: "GPU" or "worker"."""
        return "GPU" if self.nodes.gpus else "worker"

    @property
    def stride(self) -> int:
        """Epochs that are simulated as one."""
        return stride_for(self.experiment.study, self.experiment.training.epochs)


@dataclass(frozen=True)
class Forecast:
    """How long a study would take on a cluster of one size, and why.

    - workers: GPUs, or CPU workers
    - sizes: classrooms x workers x seats
    - seconds: from the start of the command to its end
    - phases: seconds of `start-up`, `teacher`, `search`, `finalists`, `ending`
    - spent: seconds of all workers together, by what they went into; `TEACHING` is no loss
    - epochs: of all trials together
    - whole_trials: trials that had all their epochs
    - trials_at_once: trials that run at once
    - known: see `raykd.planning.simulation.Outcome`
    """

    workers: int
    sizes: Plan
    seconds: float
    phases: dict[str, float]
    spent: dict[str, float]
    epochs: int
    whole_trials: int
    trials_at_once: int
    known: float

    @property
    def hours(self) -> float:
        """GPU hours, or worker hours: all workers are paid for from the beginning to the end."""
        return self.workers * self.seconds / 3600

    @property
    def limit(self) -> tuple[str, float]:
        """The reason for the largest loss of time, and its share of the time of all workers."""
        losses = {name: seconds for name, seconds in self.spent.items() if name != TEACHING}
        name = max(losses, key=losses.__getitem__)
        return name, losses[name] / sum(self.spent.values())


def forecasts(task: Task, workers: tuple[int, ...]) -> list[Forecast]:
    """Forecasts of a study on clusters of several sizes; those that are too small for its settings are left out.

    Args:
        task: The study.
        workers: GPUs, or CPU workers, of each cluster.

    Raises:
        RaykdError: All clusters are too small.
    """
    simulated: dict[Search, Outcome] = {}
    results: list[Forecast] = []
    refused: RaykdError | None = None
    # Smaller classes are compared with what a full class saves by sharing.
    full_class = min(task.experiment.cluster.seats or SEATS, task.experiment.study.trials)
    for count in workers:
        try:
            plan = plan_for(task.experiment.cluster, task.nodes.resources(count), task.experiment.study.trials)
        except RaykdError as error:
            refused = error
            continue
        search = _search(task, plan, count)
        if search not in simulated:
            simulated[search] = simulate(search, task.costs, task.overheads)
        results.append(_forecast(task, plan, count, simulated[search], full_class))
    if not results:
        raise refused or RaykdError("no sizes to plan for")
    return results


def efficiency(forecast: Forecast, smallest: Forecast) -> float:
    """The worker hours of the smallest size for the same study, as a share of those of a size."""
    return smallest.hours / forecast.hours


def best_trade_off(forecasts: Sequence[Forecast]) -> Forecast:
    """The size with the smallest product of seconds and worker hours: fast and cheap at the same time."""
    return min(forecasts, key=lambda forecast: forecast.seconds * forecast.hours)


def no_faster_beyond(forecasts: Sequence[Forecast]) -> Forecast:
    """The smallest size that is hardly slower than all larger ones."""
    shortest = min(forecast.seconds for forecast in forecasts)
    return next(forecast for forecast in forecasts if forecast.seconds * HARDLY_FASTER <= shortest)


def _search(task: Task, plan: Plan, count: int) -> Search:
    experiment = task.experiment
    head = task.nodes.cpus if task.nodes.gpus else min(task.nodes.cpus, count)
    return Search(
        study=experiment.study,
        epochs=experiment.training.epochs,
        classrooms=plan.classrooms,
        workers=plan.workers,
        seats=plan.seats,
        cpus=float(head),
        stride=task.stride,
        bank=task.bank,
        start=task.start,
    )


def _finalist_seconds(task: Task, plan: Plan) -> float:
    """Seconds of the finalists: full classes one after the other, and a smaller one at the end, in each classroom."""
    epochs, speed = task.experiment.training.epochs, task.overheads.speed(plan.workers)
    whole, rest = divmod(math.ceil(task.finalists / plan.classrooms), plan.seats)
    classes = [plan.seats] * whole + ([rest] if rest else [])
    return epochs * math.fsum(sum(task.costs.of_class(size)) / speed + task.overheads.epoch for size in classes)


def _forecast(task: Task, plan: Plan, count: int, outcome: Outcome, full_class: int) -> Forecast:
    overheads, cpus = task.overheads, _search(task, plan, count).cpus
    speed = overheads.speed(plan.workers)
    phases = {
        "start-up": overheads.cluster + overheads.classroom + overheads.classroom_cpu * plan.classrooms / cpus,
        "teacher": task.costs.of_teachers(task.standard_epochs, task.generous_epochs) / speed,
        "search": outcome.seconds,
        "finalists": _finalist_seconds(task, plan),
        "ending": overheads.ending,
    }
    used = plan.classrooms * plan.workers
    spent = {name: seconds * plan.workers for name, seconds in outcome.spent.items()}
    # In a small class each student pays more for what the class shares.
    plain, trials = task.experiment.training.epochs, sum(outcome.epochs)
    ideal = min((plain + trials) * task.costs.of_class(1)[0] / full_class * plan.workers / speed, spent["shared"])
    again = task.finalists * plain * task.costs.student * plan.workers / speed
    learning = phases["teacher"] * plan.workers + spent["own"] + ideal + again
    unused = "cluster.classrooms" if task.experiment.cluster.classrooms else "too few trials"
    ledger = {
        TEACHING: learning * speed / plan.workers,
        "workers in step": learning * (1 - speed / plan.workers),
        "small classes": spent["shared"] - ideal,
        "few finalists": phases["finalists"] * count - again,
        "start-up": (phases["start-up"] + phases["ending"]) * count + spent["start"],
        "teacher first": phases["teacher"] * (count - plan.workers),
        unused: outcome.seconds * (count - used),
        NO_TRIAL_LEFT[task.experiment.study.early_stopping]: spent["tail"],
        "Tune": spent["tune"],
    }
    return Forecast(
        workers=count,
        sizes=plan,
        seconds=math.fsum(phases.values()),
        phases=phases,
        spent=ledger,
        epochs=trials,
        whole_trials=sum(epochs == task.experiment.training.epochs for epochs in outcome.epochs),
        trials_at_once=min(plan.classrooms * plan.seats, task.experiment.study.trials),
        known=outcome.known,
    )
