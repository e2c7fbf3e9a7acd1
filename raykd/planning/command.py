"""The command `raykd plan`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import torch
from rich.console import Console

from raykd.command_line import parse, read_words
from raykd.config import DataSettings, Experiment
from raykd.data import DataInfo, load_data
from raykd.errors import RaykdError
from raykd.knowledge.methods.base import FeatureMethod
from raykd.planning.costs import STREAMED, BankedViews, derived_costs
from raykd.planning.forecast import Nodes, Task, forecasts
from raykd.planning.measured import measured_costs
from raykd.planning.table import as_data, show
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space
from raykd.settings_io import override
from raykd.storage import check_temporary_folder, local_path
from raykd.study.bank import bank_line, stored_count
from raykd.study.external_teacher import with_searched_teacher
from raykd.study.folder import with_lasting_paths
from raykd.study.preflight import check_held_out
from raykd.study.start_points import start_points
from raykd.training.bank.bank import BankSize
from raykd.training.folder import description
from raykd.training.teacher_cache import kind_of, teachers

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
CPU_NODE = Nodes(gpus=0, cpus=4)
"""A node without GPUs carries four classrooms."""
MANY_PROCESSES = 256
"""So many trials at once are a load for the driver's node that a note mentions."""


@dataclass(frozen=True)
class Options:
    """Simulate a study on clusters of many sizes: wall time, GPU hours, and the size beyond which it is no faster.

    Takes all settings of a study as well (`--study.trials 64`; all of them: raykd tune --help-all), and
    --config FILE.yaml for many, such as outputs/<study>/experiment.yaml. Costs are measured here on a few batches of
    the study's data with its networks, unless --seconds-per-epoch gives them.
    """

    seconds_per_epoch: float | None = None
    """Seconds of one epoch of the plain student on one GPU (or CPU worker), data and validation included."""
    teacher_seconds_per_epoch: float | None = None
    """Given costs: the teacher's answers to all training images. None: from the networks' counted operations."""
    data_seconds_per_epoch: float = 0.0
    """Given costs: what part of --seconds-per-epoch is reading and augmenting images, which a class shares."""
    sizes: tuple[int, ...] = SIZES
    """GPUs, or workers, to plan for."""
    gpus_per_node: int = 8
    """GPUs of each node."""
    cpus_per_node: int = 64
    """CPUs of each node with GPUs. The trials' processes start on one of these nodes."""
    json: Path | None = None
    """Also write the forecasts to this file."""


def main(arguments: Sequence[str]) -> None:
    """Plan the study that the command line describes, and print the table.

    Raises:
        RaykdError: Something in the settings is wrong.
    """
    if {"-h", "--help"} & set(arguments):
        read_words(Options, ["--help"], "raykd plan")
    options, rest = read_words(Options, arguments, "raykd plan")
    experiment = with_lasting_paths(parse(Experiment(), "", rest, [each.name for each in fields(Options)]))
    _check(options)
    check_temporary_folder()
    check_held_out(experiment, "validation")
    experiment = with_searched_teacher(experiment, load_space(experiment.study.space, experiment))
    task, origin = plan_task(experiment, options)
    notes = _notes(task, options)
    rows = forecasts(task, tuple(sorted(set(options.sizes))))
    show(Console(), task, rows, origin, bank_line(experiment, _images_in_memory(experiment)), notes)
    if options.json is not None:
        options.json.write_text(json.dumps(as_data(task, rows, origin, notes), indent=2))


def plan_task(experiment: Experiment, options: Options) -> tuple[Task, str]:
    """The study to forecast, and where its costs come from."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = options.seconds_per_epoch
    on_gpus = (given is not None or device.type == "cuda") and experiment.cluster.gpus_per_worker != 0
    nodes = Nodes(options.gpus_per_node, options.cpus_per_node) if on_gpus else CPU_NODE
    if given is None:
        threads = experiment.cluster.threads_per_worker or (min(4, os.cpu_count() or 1) if on_gpus else 1)
        costs = measured_costs(experiment, device if on_gpus else torch.device("cpu"), threads)
        processor = "this GPU" if on_gpus else f"the CPU, threads: {threads}"
        origin = f"measured here on a few batches, on {processor}"
    else:
        costs = derived_costs(experiment, given, options.teacher_seconds_per_epoch, options.data_seconds_per_epoch)
        origin = "student given, " + (
            "teachers by counted operations" if options.teacher_seconds_per_epoch is None else "teacher given"
        )
    costs = costs.times(experiment.data.folds or 1)
    standard, generous = _teacher_epochs(experiment)
    space = load_space(experiment.study.space, experiment)
    start = len(start_points(experiment, space)[: experiment.study.trials])
    return Task(experiment, costs, standard, generous, nodes, bank=_bank(experiment), start=start), origin


def _check(options: Options) -> None:
    if not options.sizes or min(options.sizes) < 1:
        raise RaykdError("--sizes must be counts of GPUs, 1 or more")
    if min(options.gpus_per_node, options.cpus_per_node) < 1:
        raise RaykdError("--gpus-per-node and --cpus-per-node must be 1 or more")
    for name in ("seconds_per_epoch", "teacher_seconds_per_epoch", "data_seconds_per_epoch"):
        value = getattr(options, name)
        flag = f"--{name.replace('_', '-')}"
        if value is not None and not (0 <= value < math.inf and (value > 0 or name != "seconds_per_epoch")):
            raise RaykdError(f"{flag} must be a number above 0, not {value:g}")
        if value and options.seconds_per_epoch is None:
            raise RaykdError(f"{flag} needs --seconds-per-epoch; without it all costs are measured")
    if options.seconds_per_epoch is not None and options.data_seconds_per_epoch > options.seconds_per_epoch:
        raise RaykdError("--data-seconds-per-epoch is a part of --seconds-per-epoch and cannot be more")
    if options.json is not None and not local_path(options.json).parent.is_dir():
        raise RaykdError(f"--json {options.json}: there is no such folder: make it, or name another file")


def _teacher_epochs(experiment: Experiment) -> tuple[float, float]:
    """Epochs of the standard and the generous teacher that are still to be trained."""
    known = experiment.teacher.source is None and experiment.data.name not in STREAMED
    fingerprint = _description(experiment.data)[0].fingerprint if known else ""
    epochs = {"standard": 0.0, "generous": 0.0}
    for teacher in teachers(experiment, fingerprint):
        finished = bool(teacher.members) or (experiment.teacher.source is not None and kind_of(teacher) == "standard")
        if not finished and not (known and description(teacher.folder)):
            # Without its fold an epoch is as much shorter.
            whole = 1 - 1 / experiment.teacher.folds if experiment.teacher.folds else 1.0
            epochs[kind_of(teacher)] += whole * experiment.teacher.training.epochs
    return epochs["standard"], epochs["generous"]


def _teacher_notes(experiment: Experiment, space: SearchSpace) -> list[str]:
    """How many teachers the choices of a search stand for, and when they are made."""
    names = [name for name in space.names if name.startswith("teacher.")]
    if not names:
        return []
    chosen = [override(experiment, values) for values in space.combinations(names)]
    given = {own.teacher.source_key for own in chosen if own.teacher.source is not None}
    requests = [(own, request) for own in chosen for request in teachers(own, "")]
    trained = {request.student for own, request in requests if own.teacher.source is None or request.teacher}
    notes = []
    if len(given) > 1:
        notes.append(f"note: {len(given)} given teachers are fetched and judged before the search")
    if len(trained) > 1:
        notes.append(f"note: the choices stand for {len(trained)} teachers, each trained when a trial first needs it")
    return notes


def _bank(experiment: Experiment) -> BankedViews | None:
    """The teacher's bank; None where the teacher answers every batch anew."""
    if experiment.bank.mode == "off" or (data := _images_in_memory(experiment)) is None:
        return None
    if isinstance(experiment.method.chosen(), FeatureMethod):
        return None  # its hints come from the teacher itself
    size = BankSize.of(experiment.bank, data, experiment.training.epochs)
    missing = max(size.fitting - stored_count(experiment, data), 0)
    return BankedViews(missing, beyond=1 - size.fitting / size.views)


def _images_in_memory(experiment: Experiment) -> DataInfo | None:
    if experiment.data.name in STREAMED:
        return None
    info, streamed = _description(experiment.data)
    return None if streamed else info


@cache
def _description(settings: DataSettings) -> tuple[DataInfo, bool]:
    """The description of a data set, and whether it is streamed; its images are read once for all who ask."""
    data = load_data(settings)
    return data.info, data.streamed


def _notes(task: Task, options: Options) -> list[str]:
    """What the forecast assumes."""
    experiment, overheads = task.experiment, task.overheads
    notes = [
        f"assumed: {task.nodes}; start-up {overheads.cluster + overheads.classroom:.0f} s, ending "
        f"{overheads.ending:.0f} s, {overheads.trial:g} s of Tune and Optuna a trial and {overheads.result:g} s a "
        "result; no faults; all trials cost the same; classrooms do not slow each other down"
    ]
    if experiment.study.early_stopping != "none":
        notes.append(
            "assumed: learning curves drawn at random (study.seed); they decide only which trials the real scheduler "
            "stops"
        )
    if folds := experiment.data.folds:
        notes.append(f"assumed: a trial's students on {folds} folds cost as much as {folds} epochs for each of one")
    if experiment.cluster.workers > 1:
        notes.append(f"assumed: each doubling of a classroom's workers loses {overheads.worker_loss:.0%} of its speed")
    if options.seconds_per_epoch is not None and options.teacher_seconds_per_epoch is None:
        notes.append("assumed: time is proportional to operations, which overstates the teacher of small networks")
    if task.stride > 1:
        notes.append(f"simulated in steps of {task.stride} epochs, for speed")
    at_once = min(max(options.sizes) * (experiment.cluster.seats or 8), experiment.study.trials)
    if at_once >= MANY_PROCESSES:
        notes.append(
            f"note: up to {at_once} trials at once are as many processes of Tune, most of them on the driver's node"
        )
    space = load_space(experiment.study.space, experiment)
    notes += _teacher_notes(experiment, space)
    if named := [name for name in space.names if name.startswith(("teacher.", "student.", "training.batch_size"))]:
        notes.append(f"note: {', '.join(named)} searched: costs are those of the settings as given, in one group")
    notes.append("classrooms: with workers and seats of each; as many trials as seats run at once")
    notes.append("known: how many of the trials before it had ended when a trial was drawn; at 0 % Optuna guesses")
    return notes
