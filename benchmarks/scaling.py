"""How a search scales with classrooms and workers, and how well the planner predicts it.

    python benchmarks/scaling.py

Real studies of scikit-learn's digits, each in a Ray cluster of its own that is pinned to as many CPU cores as it has
workers (where there are so many). Beside each is the planner's simulation, which gets the seconds of an epoch from the
study's own reports.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import tyro
from measured_search import NO_OP, MeasuredSearch, open_classrooms, trials_at_once
from output import write_json
from rich.console import Console
from rich.table import Table

import raykd
from raykd.cluster.classrooms import Classrooms
from raykd.cluster.client import train_to_end
from raykd.cluster.resources import Plan
from raykd.cluster.session import ray_session
from raykd.places import PLAIN
from raykd.planning.costs import Overheads, costs_of_reports
from raykd.planning.simulation import Search, simulate
from raykd.settings_io import override
from raykd.tracking import check_tracking
from raykd.training.messages import TrainRequest

EPOCHS_MORE = 4
"""How many more epochs the second of two searches has. They differ in nothing else, so a result's cost follows."""
SPACE = "temperature.multiplier: {low: 0.5, high: 8.0, log: true}\n"


@dataclass(frozen=True)
class Options:
    """Measure trials per hour by classrooms and workers, each study beside its simulation."""

    sizes: tuple[str, ...] = ("1x1", "2x1", "4x1", "1x2", "2x1/asha")
    """Classrooms x workers of each study, and its scheduler if it has one. The others are compared with the first."""
    trials: int = 12
    """Of each study."""
    epochs: int = 8
    """Of each trial."""
    seats: int = 8
    """Of all classrooms of a study, in sum."""
    json: Path | None = None
    """Also write the measurements to this file."""


@dataclass(frozen=True)
class Row:
    """One study.

    - cores: the study was pinned to these
    - seconds: of the search, from Tune's start to its end; cluster and teacher were there before
    - simulated: the same by the planner, with the measured `process_cpu`, `trial`, `result` and learning curves
    - by_default: the same with the planner's own `Overheads`
    - epochs, simulated_epochs: of all trials, in sum
    - student, shared: seconds of an epoch, from the study's reports
    - start_up: seconds until the first classroom had been started and had trained the teacher for its one epoch
    - process_cpu, trial, result: see `Overheads`; from searches of students that cost nothing, in the same cluster
    - closing: seconds until all classrooms were closed
    """

    size: str
    cores: int
    trials: int
    seconds: float
    simulated: float
    by_default: float
    epochs: int
    simulated_epochs: int
    student: float
    shared: float
    process_cpu: float
    trial: float
    result: float
    start_up: float
    closing: float


def digits(folder: Path, options: Options) -> raykd.Experiment:
    """A small study. Its teacher is trained for one epoch, which is not measured."""
    space = folder / "space.yaml"
    space.write_text(SPACE)
    return raykd.Experiment(
        data=raykd.DataSettings(name="digits"),
        teacher=raykd.TeacherSettings(
            model=raykd.ModelSettings(name="resnet20"),
            training=raykd.TrainingSettings(epochs=1),
            cache=folder / "cache",
        ),
        student=raykd.ModelSettings(name="resnet8", arguments={"width": 0.5}),
        training=raykd.TrainingSettings(epochs=options.epochs, decay="cosine"),
        study=raykd.StudySettings(output=folder, space=str(space), trials=options.trials),
    )


def measure(base: raykd.Experiment, size: str, options: Options) -> Row:
    """Run a study of one size, and simulate it."""
    shape, _, scheduler = size.partition("/")
    classrooms, workers = map(int, shape.split("x"))
    all_cores = sorted(os.sched_getaffinity(0))
    cores = all_cores[: classrooms * workers]
    experiment = override(
        base,
        {
            "study.name": size.replace("/", "-"),
            "study.scheduler": scheduler or "none",
            "cluster.classrooms": classrooms,
            "cluster.workers": workers,
            "cluster.seats": max(options.seats // classrooms, 1),
            "cluster.cpus_per_worker": 0.9 * len(cores) / (classrooms * workers),
            "cluster.threads_per_worker": 1,
            # Each study trains its own teacher, so that the start of its classrooms is measured with it.
            "teacher.cache": base.teacher.cache / size.replace("/", "-"),
        },
    )
    os.sched_setaffinity(0, cores)
    try:
        return _run(experiment, size, len(cores))
    finally:
        os.sched_setaffinity(0, all_cores)


def _run(experiment: raykd.Experiment, size: str, cores: int) -> Row:
    started = time.perf_counter()
    study = experiment.study
    with ray_session(experiment.cluster):
        with open_classrooms(experiment, students=study.trials) as (classrooms, plan):
            start_up = time.perf_counter() - started
            overheads = _measured_overheads(experiment, classrooms, plan, cores)
            spec = experiment.training_spec().without_teacher()
            with ThreadPoolExecutor(1) as beside:
                plain = TrainRequest(PLAIN, spec, teacher=None, folder=str(experiment.folder / PLAIN))
                beside.submit(train_to_end, classrooms.broker, plain)
                real = MeasuredSearch(experiment).run(classrooms, plan)
            over = time.perf_counter()
        closing = time.perf_counter() - over
    costs = costs_of_reports(real.metrics)
    # The reports of several workers already contain their speed.
    planned = Search(study, experiment.training.epochs, plan.classrooms, seats=plan.seats, cpus=cores)
    simulated = simulate(planned, costs, overheads, real.accuracy)
    return Row(
        size=size,
        cores=cores,
        trials=study.trials,
        seconds=real.seconds,
        simulated=simulated.trials_over,
        by_default=simulate(planned, costs, accuracy=real.accuracy).trials_over,
        epochs=len(real.metrics),
        simulated_epochs=sum(simulated.epochs),
        student=costs.student,
        shared=costs.data + costs.teacher,
        process_cpu=overheads.process_cpu,
        trial=overheads.trial,
        result=overheads.result,
        start_up=start_up,
        closing=closing,
    )


def _measured_overheads(experiment: raykd.Experiment, classrooms: Classrooms, plan: Plan, cores: int) -> Overheads:
    """What the epochs' surroundings cost on this machine at present: two searches of students that cost nothing."""
    at_once = trials_at_once(experiment, plan)
    trials = 2 * at_once
    free = override(
        experiment,
        {
            "study.name": f"{experiment.study.name}-free",
            "study.scheduler": "none",
            "study.trials": trials,
            "training.decay": "constant",
            "student.name": NO_OP,
            "student.arguments": {},
            "objective.ce_weight": 1.0,
            "objective.kd_weight": 0.0,
            "data.train_images": 20,
            "training.batch_size": 20,
            "training.epochs": 1,
        },
    )
    short = MeasuredSearch(free).run(classrooms, plan)
    longer = {"study.name": f"{experiment.study.name}-longer", "training.epochs": 1 + EPOCHS_MORE}
    long = MeasuredSearch(override(free, longer)).run(classrooms, plan)
    overheads = Overheads(epoch=0.0)
    # What the students report themselves is counted with the epochs.
    training = long.training / plan.classrooms
    more = long.seconds - long.first - (short.seconds - short.first) - training
    result = max(more / (trials * EPOCHS_MORE), overheads.result)
    trial = max((short.seconds - short.first) / trials - result, 0.0)
    processes = max((short.first + long.first) / 2 - overheads.tune - at_once * trial, 0.0)
    return replace(overheads, result=result, trial=trial, process_cpu=processes / max(1.0, at_once / cores))


def show(rows: list[Row]) -> None:
    """Print the measurements."""
    table = Table(title="Searches: real, and as the planner predicts them")
    for column in (
        "classrooms x workers", "cores", "search", "trials per hour", "efficiency", "epochs",
        "simulated", "epochs", "real / simulated", "by default",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "classrooms x workers" else "right")
    for row in rows:
        comparable = "/" not in row.size
        per_hour, first_per_hour = (each.trials / each.seconds * 3600 for each in (row, rows[0]))
        efficiency = per_hour / first_per_hour / (row.cores / rows[0].cores)
        table.add_row(
            row.size,
            str(row.cores),
            f"{row.seconds:.1f} s",
            f"{per_hour:.0f}",
            f"{efficiency:.0%}" if comparable else "",
            str(row.epochs),
            f"{row.simulated:.1f} s",
            str(row.simulated_epochs),
            f"{row.seconds / row.simulated:.2f}",
            f"{row.seconds / row.by_default:.2f}",
        )
    Console(width=120).print(table)


def main(options: Options) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as folder:
        base = digits(Path(folder), options)
        check_tracking(base.tracking)
        rows: list[Row] = []
        for size in options.sizes:
            rows.append(row := measure(base, size, options))
            print(f"{size}: {row.seconds:.1f} s, simulated {row.simulated:.1f} s", file=sys.stderr, flush=True)
    show(rows)
    write_json(rows, options.json)


if __name__ == "__main__":
    main(tyro.cli(Options))
