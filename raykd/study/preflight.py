"""What is known before a run starts: data, networks and their sizes. Wrong settings end here, before any cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from raykd.config import Experiment, ModelSettings
from raykd.data import DataInfo, load_data
from raykd.errors import RaykdError
from raykd.models import build_model, parameter_count
from raykd.models.weights import shortened
from raykd.places import teachers_folder
from raykd.storage import below, name_of
from raykd.training.external_teacher import fetch_external_teacher
from raykd.training.folder import description
from raykd.training.saved import load_model

ADOPTED = "teacher.txt"
"""File of a study's folder that names its adopted teacher's folder in the cache."""


@dataclass(frozen=True)
class Briefing:
    """The facts of a run.

    - experiment: with a `teacher.source` replaced by that teacher's folder in the cache
    - data: what is learnt from
    - parameters: of each network by its role, ``teacher`` and ``student``
    """

    experiment: Experiment
    data: DataInfo
    parameters: dict[str, int]


def check_held_out(experiment: Experiment, held_out: str) -> None:
    """Refuse an experiment that is measured on another split than its job is for."""
    if experiment.data.held_out != held_out:
        raise RaykdError(
            f"data.held_out {experiment.data.held_out}: settings are found on the validation split; "
            "for the test split there is `raykd confirm STUDY`"
        )


def brief(experiment: Experiment, *roles: str, held_out: Literal["validation", "test"] = "validation") -> Briefing:
    """Load the data's description, fetch a teacher from elsewhere, and build the networks without memory.

    Args:
        experiment: The experiment.
        roles: ``teacher``, ``student``: the networks that this run needs.
        held_out: The split that this kind of run is measured on.

    Raises:
        RaykdError: Data or networks cannot be had as the settings ask, or they ask for another split.
    """
    check_held_out(experiment, held_out)
    info = load_data(experiment.data).info
    if experiment.teacher.source is not None and "teacher" in roles:
        experiment = _with_adopted_teacher(experiment, experiment.teacher.source, info)
    networks = {"teacher": teacher_network, "student": student_network}
    return Briefing(experiment, info, {role: parameter_count(networks[role](experiment, info)) for role in roles})


def student_network(experiment: Experiment, info: DataInfo) -> nn.Module:
    """The student's network, without memory."""
    return _network(experiment.student, info)


def teacher_network(experiment: Experiment, info: DataInfo) -> nn.Module:
    """The teacher's network: the adopted one, or one without memory that is still to be trained."""
    if experiment.teacher.source is not None and experiment.teacher.kind == "standard":
        return load_model(experiment.teacher.source).network
    return _network(experiment.teacher.model, info)


def remember_teacher(briefed: Experiment) -> None:
    """Write down in the study's folder which teacher was adopted, so that a resumed study goes on with the same."""
    if briefed.teacher.source is not None:
        (briefed.folder / ADOPTED).write_text(f"{name_of(briefed.teacher.source)}\n")


def _with_adopted_teacher(experiment: Experiment, source: str, info: DataInfo) -> Experiment:
    """The experiment with the teacher's folder as its source.

    What a file or an alias in MLflow holds may change; a resumed study needs it no more, unless the cache was emptied.
    """
    teacher, record = experiment.teacher, experiment.folder / ADOPTED
    begun = record.read_text().strip() if experiment.study.resume and record.exists() else None
    teachers = teachers_folder(experiment)
    folder = below(teachers, begun or "")
    if begun is None or (description(folder) or {}).get("data", {}).get("fingerprint") != info.fingerprint:
        folder = fetch_external_teacher(source, teacher.model, info, teachers, experiment.tracking)
    if begun not in (None, name_of(folder)):
        raise RaykdError(
            f"teacher.source {source}: teacher or data are others than those that {experiment.folder} was begun with:\n"
            "give those back, or name another study with --study.name"
        )
    return experiment.model_copy(update={"teacher": teacher.model_copy(update={"source": folder})})


def _network(settings: ModelSettings, info: DataInfo) -> nn.Module:
    try:
        with torch.device("meta"):
            return build_model(settings, num_classes=info.num_classes, in_channels=info.channels)
    except RaykdError:
        raise
    except Exception as error:
        # A builder of the user's raises anything.
        raise RaykdError(f"model {settings} cannot be built: {shortened(error)}") from error


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
    teacher = experiment.teacher
    source = f"from {teacher.source}"
    names = {
        "teacher": source if teacher.source and teacher.kind == "standard" else f"{teacher.kind} {teacher.model}",
        "student": str(experiment.student),
    }
    if teacher.source and teacher.kind == "generous":
        names["teacher"] += f", taught by the one {source}"
    for role, count in briefing.parameters.items():
        smaller = ""
        if role == "student" and "teacher" in briefing.parameters:
            smaller = f", {briefing.parameters['teacher'] / count:.1f} times smaller"
        table.add_row(f"[bold]{role}", f"{names[role]}: {count:,} parameters{smaller}")
    for name, text in extra.items():
        table.add_row(f"[bold]{name}", text)
    console.print(table, highlight=False)
