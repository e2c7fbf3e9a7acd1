"""Forecasts as a table with a recommendation in words, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from raykd.config import Experiment
from raykd.planning.costs import EpochCosts
from raykd.planning.forecast import TEACHING, Forecast, Task, best_trade_off, efficiency, no_faster_beyond
from raykd.progress import duration
from raykd.study.networks import given_teacher

NEGLIGIBLE = 0.05
"""Losses below this share of a cluster's time are not named."""


def show(
    console: Console, task: Task, forecasts: Sequence[Forecast], origin: str, bank: str, notes: Sequence[str]
) -> None:
    """Print the table.

    Args:
        console: Where it is printed.
        task: What was planned.
        forecasts: From the smallest size up.
        origin: Where the costs come from.
        bank: What is stored of the teacher's answers.
        notes: What else the reader should know.
    """
    experiment = task.experiment
    study = experiment.study
    teacher = task.standard_epochs + task.generous_epochs
    head = Table.grid(padding=(0, 2))
    head.add_row(
        "[bold]study",
        f"{study.name}: {study.trials} trials of {experiment.training.epochs} epochs, "
        f"scheduler {study.early_stopping}; "
        + (f"first a {experiment.teacher.kind} teacher, {teacher:g} epochs" if teacher else "the teacher is there"),
    )
    head.add_row("[bold]networks", _networks(experiment))
    head.add_row("[bold]an epoch", f"{_cost_line(task.costs)} ({origin})")
    head.add_row("[bold]bank", bank)
    console.print(head, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in (f"{task.unit}s", "classrooms", "time", "hours", "efficient", "known"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("most is lost by")
    recommended = best_trade_off(forecasts)
    for forecast in forecasts:
        plan = forecast.sizes
        table.add_row(
            f"{forecast.workers:,}",
            f"{plan.classrooms} x {plan.workers} x {plan.seats}",
            duration(forecast.seconds),
            f"{forecast.hours:,.1f}" if forecast.hours >= 0.1 else f"{forecast.hours:.3f}",
            f"{efficiency(forecast, forecasts[0]):.0%}",
            f"{forecast.known:.0%}",
            _largest_loss(forecast),
            style="bold" if forecast is recommended else None,
        )
    console.print(table)
    for line in [*advice(forecasts, task.unit), *notes]:
        console.print(line, highlight=False, soft_wrap=True)


def advice(forecasts: Sequence[Forecast], unit: str) -> list[str]:
    """The recommended size, and the size beyond which a study is no faster, with the reason.

    Args:
        forecasts: From the smallest size up.
        unit: Of the sizes: "GPU" or "worker".
    """
    recommended, enough = best_trade_off(forecasts), no_faster_beyond(forecasts)
    lines = [
        f"recommended: {_count(recommended.workers, unit)}: {duration(recommended.seconds)}, "
        f"{recommended.hours:,.2f} {unit} hours ({efficiency(recommended, forecasts[0]):.0%} efficient)"
    ]
    longest = max(enough.phases, key=enough.phases.__getitem__)
    phases = ", ".join(f"{name} {duration(seconds)}" for name, seconds in enough.phases.items() if seconds)
    if enough is not forecasts[-1]:
        lines.append(
            f"no faster beyond {_count(enough.workers, unit)}: {phases}; most of it is the {longest}, "
            f"and most is lost by {_largest_loss(enough)}"
        )
    return lines


def as_data(task: Task, forecasts: Sequence[Forecast], origin: str, notes: Sequence[str]) -> dict[str, Any]:
    """All of it, ready for JSON."""
    rows = [
        asdict(forecast)
        | {"hours": forecast.hours, "efficiency": efficiency(forecast, forecasts[0])}
        | {"most_lost_by": forecast.limit[0]}
        | {"teaching_share": forecast.spent[TEACHING] / sum(forecast.spent.values())}
        for forecast in forecasts
    ]
    return {
        "unit": f"{task.unit}s",
        "costs": asdict(task.costs) | {"origin": origin},
        "bank": None if task.bank is None else asdict(task.bank),
        "overheads": asdict(task.overheads),
        "nodes": asdict(task.nodes),
        "stride": task.stride,
        "recommended": best_trade_off(forecasts).workers,
        "no_faster_beyond": no_faster_beyond(forecasts).workers,
        "notes": list(notes),
        "rows": rows,
    }


def _networks(experiment: Experiment) -> str:
    """Who teaches whom."""
    student, teacher = str(experiment.student), experiment.teacher
    if not experiment.training_spec().needs_teacher:
        return student
    taught_by = f"{given_teacher(teacher)[0]} from {teacher.source}" if teacher.source else str(teacher.model)
    return f"{taught_by} teaches {student}"


def _cost_line(costs: EpochCosts) -> str:
    return (
        f"plain student {duration(costs.data + costs.student)}, of which data {duration(costs.data)}; "
        f"the teacher's answers {duration(costs.teacher)}; a teacher in training "
        f"{duration(costs.data + costs.teacher_step)}"
    )


def _largest_loss(forecast: Forecast) -> str:
    reason, share = forecast.limit
    return f"{reason} ({share:.0%})" if share >= NEGLIGIBLE else "nothing much"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
