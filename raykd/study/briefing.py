"""What is known before a run starts: data, networks and their sizes. Wrong settings end here, before any cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from raykd.config import Experiment, ModelSettings
from raykd.data import DataInfo, load_data
from raykd.models import build_model, parameter_count


@dataclass(frozen=True)
class Briefing:
    """The facts of a run.

    - data: what is learnt from
    - parameters: of each network by its role, ``teacher`` and ``student``
    """

    data: DataInfo
    parameters: dict[str, int]


def brief(experiment: Experiment, *roles: str) -> Briefing:
    """Load the data's description and build the networks without memory, so that nothing wrong starts.

    Args:
        experiment: The experiment.
        roles: ``teacher``, ``student``: the networks that this run needs.

    Raises:
        RaykdError: data or networks cannot be had as the settings ask.
    """
    info = load_data(experiment.data).info
    settings = {"teacher": experiment.teacher.model, "student": experiment.student}
    return Briefing(info, {role: _parameters(settings[role], info) for role in roles})


def _parameters(settings: ModelSettings, info: DataInfo) -> int:
    with torch.device("meta"):
        return parameter_count(build_model(settings, num_classes=info.num_classes, in_channels=info.channels))


def show_briefing(console: Console, experiment: Experiment, briefing: Briefing, extra: dict[str, str]) -> None:
    """Print what is about to run.

    Args:
        console: Where to.
        experiment: The experiment.
        briefing: Its facts.
        extra: Further lines, by name.
    """
    info = briefing.data
    sizes = ", ".join(f"{size:,} {split}" for split, size in info.split_sizes.items())
    shape = f"{info.channels} x {info.height} x {info.width}"
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]data", f"{info.name}: {sizes} images of {shape}, {info.num_classes} classes")
    names = {"teacher": experiment.teacher.model, "student": experiment.student}
    for role, count in briefing.parameters.items():
        smaller = ""
        if role == "student" and "teacher" in briefing.parameters:
            smaller = f", {briefing.parameters['teacher'] / count:.1f} times smaller"
        kind = f"{experiment.teacher.kind} " if role == "teacher" else ""
        table.add_row(f"[bold]{role}", f"{kind}{names[role]}: {count:,} parameters{smaller}")
    for name, text in extra.items():
        table.add_row(f"[bold]{name}", text)
    console.print(table, highlight=False)
