"""The command `raykd doctor`: whether this machine, its folders and services can carry a study. Nothing is begun."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raykd.cluster.session import find_head
from raykd.command_line import parse
from raykd.config import Experiment
from raykd.data import load_data
from raykd.errors import RaykdError, SaidError
from raykd.places import check_storage
from raykd.progress import standard_output
from raykd.search.storage import check_optuna_storage
from raykd.storage import check_creatable, check_temporary_folder
from raykd.study.folder import with_lasting_paths
from raykd.tracking import check_tracking
from raykd.tracking.code import installed

PACKAGES = ("raykd", "torch", "torchvision", "ray", "optuna", "mlflow")
HELP = """Check versions, devices, cluster, folders, storage and MLflow: a line each, with what to do if it fails.

Takes the settings of the study to come, such as --cluster.address or --data.name. The exit code is 1 if something does
not work."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and whether it works."""

    subject: str
    found: str
    works: bool = True


def examine(experiment: Experiment) -> Iterator[Finding]:
    """Look at everything that a study needs, one after the other; nothing is written, and no Ray is started.

    Args:
        experiment: The study to come.
    """
    experiment = with_lasting_paths(experiment)
    yield Finding("versions", ", ".join(f"{name} {installed(name)}" for name in PACKAGES))
    yield Finding("python", f"{platform.python_version()}, {platform.platform()}")
    yield Finding("devices", _devices())
    yield _tried("temporary files", check_temporary_folder, "can be written")
    yield _tried("cluster", lambda: _cluster(experiment))
    yield _tried("data", lambda: load_data(experiment.data).info.summary)
    folder, cache = str(experiment.folder), str(experiment.teacher.cache)
    yield _tried("study.output", lambda: check_creatable(folder, "study.output"), folder)
    yield _tried("teacher.cache", lambda: check_creatable(cache, "teacher.cache"), cache)
    if experiment.cluster.storage is not None:
        yield _tried("cluster.storage", lambda: check_storage(experiment), experiment.cluster.storage)
    if experiment.study.storage is not None:
        yield _tried("study.storage", lambda: check_optuna_storage(experiment), "answers")
    place = experiment.tracking.uri or "SQLite in the study's folder"
    yield _tried("MLflow", lambda: check_tracking(experiment.tracking), place)


def main(arguments: Sequence[str]) -> None:
    """Examine the study that the command line describes, and print a line for each finding.

    Raises:
        SaidError: something does not work.
    """
    experiment = parse(Experiment(), HELP, arguments, program="raykd doctor")
    findings = show(examine(experiment), standard_output())
    if not all(finding.works for finding in findings):
        raise SaidError("something does not work")


def show(findings: Iterator[Finding], console: Console) -> list[Finding]:
    """Print findings as they come, and return them."""
    shown = []
    for finding in findings:
        shown.append(finding)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=4)
        grid.add_column(width=15)
        grid.add_column()
        mark = "[green]ok[/]" if finding.works else "[bold red]no[/]"
        grid.add_row(mark, finding.subject, escape(finding.found))
        console.print(grid)
    return shown


def _tried(subject: str, check: Callable[[], object], found: str = "") -> Finding:
    """A finding from a check that raises where something does not work, or returns what it has found."""
    try:
        result = check()
    except RaykdError as error:
        return Finding(subject, str(error), works=False)
    return Finding(subject, found or str(result))


def _devices() -> str:
    memory = psutil.virtual_memory().total / 2**30
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    gpus = f"{len(names)} GPUs ({', '.join(sorted(set(names)))})" if names else "no GPU"
    return f"{os.cpu_count()} CPUs, {memory:.0f} GiB, {gpus}"


def _cluster(experiment: Experiment) -> str:
    lines: list[str] = []
    head = find_head(experiment.cluster.address, lines.append)
    return f"{head} answers" if head else " ".join([*lines, "a local Ray will be started for each run"])
