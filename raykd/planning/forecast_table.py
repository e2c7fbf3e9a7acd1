"""A table of forecasts, and what it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from raykd.planning.advice import efficiency, knee, no_faster_beyond
from raykd.planning.costs import EpochCosts
from raykd.planning.forecast import TEACHING, Forecast, Task

HARDLY = 0.05
"""Losses below this share of a cluster's time are not worth a word."""


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def lines_of_costs(costs: EpochCosts) -> str:
    """The costs of an epoch in a line."""
    return (
        f"plain student {duration(costs.data + costs.student)}, of which data {duration(costs.data)}; "
        f"the teacher's answers {duration(costs.teacher)}; a teacher in training "
        f"{duration(costs.data + costs.teacher_step)}"
    )


def limit(forecast: Forecast) -> str:
    """What most time is lost by."""
    name, share = forecast.limit
    return f"{name} ({share:.0%})" if share >= HARDLY else "nothing much"


def show(console: Console, task: Task, found: Sequence[Forecast], origin: str, notes: Sequence[str]) -> None:
    """Print the table.

    Args:
        console: Where to.
        task: What was planned.
        found: Its forecasts, from the smallest size up.
        origin: Where the costs come from.
        notes: What else the reader should know.
    """
    experiment, unit = task.experiment, _unit(task)
    study = experiment.study
    teacher = task.standard_epochs + task.generous_epochs
    head = Table.grid(padding=(0, 2))
    head.add_row(
        "[bold]study",
        f"{study.name}: {study.trials} trials of {experiment.training.epochs} epochs, "
        f"scheduler {study.early_stopping}; "
        + (f"first a {experiment.teacher.kind} teacher, {teacher} epochs" if teacher else "the teacher is there"),
    )
    head.add_row("[bold]an epoch", f"{lines_of_costs(task.costs)} ({origin})")
    console.print(head, highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    hours = f"{unit[:-1]} hours"
    for column in (unit, "classrooms", "trials", "wall time", hours, "efficient", "known"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("most is lost by", no_wrap=True)
    best = knee(found)
    for each in found:
        table.add_row(
            f"{each.workers:,}",
            f"{each.sizes.classrooms} x {each.sizes.workers} x {each.sizes.seats}",
            str(each.trials_at_once),
            duration(each.seconds),
            f"{each.hours:,.1f}" if each.hours >= 0.1 else f"{each.hours:.3f}",
            f"{efficiency(each, found[0]):.0%}",
            f"{each.known:.0%}",
            limit(each),
            style="bold" if each is best else None,
        )
    console.print(table)
    for line in [*advice(found, unit), *notes]:
        console.print(line, highlight=False, soft_wrap=True)


def advice(found: Sequence[Forecast], unit: str) -> list[str]:
    """The recommendation, and where more is no help and why."""
    best, enough = knee(found), no_faster_beyond(found)
    lines = [
        f"recommended: {_of(best.workers, unit)}: {duration(best.seconds)}, {best.hours:,.2f} {unit[:-1]} hours "
        f"({efficiency(best, found[0]):.0%} efficient)"
    ]
    longest = max(enough.phases, key=enough.phases.__getitem__)
    phases = ", ".join(f"{name} {duration(seconds)}" for name, seconds in enough.phases.items() if seconds)
    if enough is not found[-1]:
        lines.append(
            f"no faster beyond {_of(enough.workers, unit)}: {phases}; most of it is the {longest}, "
            f"and most is lost by {limit(enough)}"
        )
    return lines


def as_data(task: Task, found: Sequence[Forecast], origin: str, notes: Sequence[str]) -> dict[str, Any]:
    """All of it, fit for JSON."""
    rows = [
        asdict(each)
        | {"hours": each.hours, "efficiency": efficiency(each, found[0]), "most_lost_by": each.limit[0]}
        | {"teaching_share": each.spent[TEACHING] / sum(each.spent.values())}
        for each in found
    ]
    return {
        "unit": _unit(task),
        "costs": asdict(task.costs) | {"origin": origin},
        "overheads": asdict(task.overheads),
        "nodes": asdict(task.nodes),
        "stride": task.stride,
        "recommended": knee(found).workers,
        "no_faster_beyond": no_faster_beyond(found).workers,
        "notes": list(notes),
        "rows": rows,
    }


def _unit(task: Task) -> str:
    return "GPUs" if task.nodes.gpus else "workers"


def _of(count: int, unit: str) -> str:
    return f"{count:,} {unit if count != 1 else unit[:-1]}"
