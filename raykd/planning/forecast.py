"""A whole study on a cluster of one size: how long it takes, and where the time of its GPUs goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from raykd.cluster.resources import SEATS, Plan, Resources, plan_for
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.planning.costs import EpochCosts, Overheads
from raykd.planning.simulation import Outcome, Search, simulate, stride_for

TEACHING = "teaching"
"""What is no loss: students' and teachers' own training, and what a full class shares."""

STOPPED = {"asha": "ASHA's rungs", "median": "the stopping rule", "none": "the last wave"}
"""Why no trial is left for a classroom while others still learn."""


@dataclass(frozen=True)
class Nodes:
    """The nodes that a cluster is made of.

    - gpus: of each; 0 plans with CPU workers
    - cpus: of each
    """

    gpus: int = 8
    cpus: int = 64

    def resources(self, workers: int) -> Resources:
        """A cluster of so many GPUs, or CPUs to be workers; its last node may be smaller."""
        full, rest = divmod(workers, self.gpus or self.cpus)
        sizes = [self.gpus or self.cpus] * full + ([rest] if rest else [])
        nodes = tuple(
            {"CPU": float(self.cpus), "GPU": float(size)} if self.gpus else {"CPU": float(size)} for size in sizes
        )
        return Resources(sum(node["CPU"] for node in nodes), sum(node.get("GPU", 0.0) for node in nodes), nodes)


@dataclass(frozen=True)
class Task:
    """A study to forecast.

    - experiment: its settings
    - costs: seconds of an epoch on one worker
    - standard_epochs, generous_epochs: of the teachers that must be trained first; 0 if none, or it is there
    - nodes: what its cluster is made of
    - overheads: seconds around the epochs
    """

    experiment: Experiment
    costs: EpochCosts
    standard_epochs: int
    generous_epochs: int
    nodes: Nodes = Nodes()
    overheads: Overheads = field(default_factory=Overheads)

    @property
    def stride(self) -> int:
        """Epochs that are simulated as one."""
        return stride_for(self.experiment.study, self.experiment.training.epochs)


@dataclass(frozen=True)
class Forecast:
    """What a study would take on a cluster of one size.

    - workers: GPUs, or CPU workers
    - sizes: classrooms x workers x seats
    - seconds: from the command to its end
    - phases: seconds of `start-up`, `teacher`, `search`, `ending`
    - spent: seconds of all workers together, by what they went into; `TEACHING` is no loss
    - epochs: of all trials together
    - whole_trials: that had all their epochs
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
        """GPU hours, or worker hours: all are paid for from the beginning to the end."""
        return self.workers * self.seconds / 3600

    @property
    def limit(self) -> tuple[str, float]:
        """What most time is lost by, and its share of all."""
        losses = {name: seconds for name, seconds in self.spent.items() if name != TEACHING}
        name = max(losses, key=losses.__getitem__)
        return name, losses[name] / sum(self.spent.values())


def forecasts(task: Task, workers: tuple[int, ...]) -> list[Forecast]:
    """A study on clusters of several sizes; those that are too small for its settings are left out.

    Raises:
        RaykdError: All are too small.
    """
    simulated: dict[Search, Outcome] = {}
    found: list[Forecast] = []
    refused: RaykdError | None = None
    # What sharing brings in a full class is what smaller ones are held against.
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
        found.append(_forecast(task, plan, count, simulated[search], full_class))
    if not found:
        raise refused or RaykdError("no sizes to plan for")
    return found


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
    )


def _forecast(task: Task, plan: Plan, count: int, outcome: Outcome, full_class: int) -> Forecast:
    overheads, cpus = task.overheads, _search(task, plan, count).cpus
    speed = overheads.speed(plan.workers)
    phases = {
        "start-up": overheads.cluster + overheads.classroom + overheads.classroom_cpu * plan.classrooms / cpus,
        "teacher": task.costs.of_teachers(task.standard_epochs, task.generous_epochs) / speed,
        "search": outcome.seconds,
        "ending": overheads.ending,
    }
    used = plan.classrooms * plan.workers
    spent = {name: seconds * plan.workers for name, seconds in outcome.spent.items()}
    # Whoever learns in a class of few pays more for what it shares with them.
    plain, trials = task.experiment.training.epochs, sum(outcome.epochs)
    ideal = min((plain + trials) * task.costs.of_class(1)[0] / full_class * plan.workers / speed, spent["shared"])
    learning = phases["teacher"] * plan.workers + spent["own"] + ideal
    unused = "cluster.classrooms" if task.experiment.cluster.classrooms else "too few trials"
    ledger = {
        TEACHING: learning * speed / plan.workers,
        "workers in step": learning * (1 - speed / plan.workers),
        "small classes": spent["shared"] - ideal,
        "start-up": (phases["start-up"] + phases["ending"]) * count + spent["start"],
        "teacher first": phases["teacher"] * (count - plan.workers),
        unused: outcome.seconds * (count - used),
        STOPPED[task.experiment.study.early_stopping]: spent["tail"],
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
