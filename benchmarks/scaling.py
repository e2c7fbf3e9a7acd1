"""How a search scales with classrooms and workers, and how well the planner foretells it.

    python benchmarks/scaling.py

Real studies of scikit-learn's digits, each in a Ray cluster of its own that is pinned to as many CPU cores as it has
workers (where there are so many). Beside each is the planner's simulation, fed with the seconds of an epoch that the
study's own reports tell.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna
import tyro
from rich.console import Console
from rich.table import Table

import raykd
from raykd.cluster.classrooms import Classrooms
from raykd.cluster.client import teach
from raykd.cluster.resources import Plan, Resources, plan
from raykd.cluster.session import ray_session
from raykd.data import load_data
from raykd.places import JOURNAL, PLAIN, RAY, trial_name
from raykd.planning.costs import Overheads, costs_of_reports
from raykd.planning.simulation import Search, simulate
from raykd.progress import RunProgress
from raykd.search.names import METRIC
from raykd.search.optuna_study import open_study
from raykd.search.run import search
from raykd.search.space_file import load_space
from raykd.search.trial import TrialContext
from raykd.settings_io import override
from raykd.study.mlflow_log import Provenance, TrialLog
from raykd.study.train import teach_teachers
from raykd.study.trial_callback import StudyCallback
from raykd.tracking import Tracker, check_tracking
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

SILENT = Console(quiet=True)
EPOCHS_MORE = 4
"""Of the second of two searches that differ in nothing else: they tell what a result costs."""
SPACE = "temperature.multiplier: {low: 0.5, high: 8.0, log: true}\n"


@dataclass(frozen=True)
class Options:
    """Trials per hour by classrooms and workers, each study beside its simulation."""

    sizes: tuple[str, ...] = ("1x1", "2x1", "4x1", "1x2", "2x1/asha")
    """Classrooms x workers of each study, and its scheduler if it has one. The first is what the others are held
    against."""
    trials: int = 12
    """Of each study."""
    epochs: int = 8
    """Of each trial."""
    seats: int = 8
    """Of all classrooms of a study together."""
    json: Path | None = None
    """Write the measurements here, too."""


@dataclass(frozen=True)
class Row:
    """One study.

    - cores: it was pinned to
    - seconds: of the search, from Tune's start to its end; cluster and teacher were there before
    - simulated: the same, by the planner, which knows `process_cpu`, `trial`, `result` and the learning curves
    - by_default: the same with the planner's own `Overheads`
    - epochs, simulated_epochs: of all trials together
    - student, shared: seconds of an epoch, by the study's reports
    - start_up: seconds until the first classroom had been started and had taught the teacher's one epoch
    - process_cpu, trial, result: see `Overheads`; by searches of students that cost nothing, in the same cluster before
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

    @property
    def trials_per_hour(self) -> float:
        """Of the search."""
        return self.trials / self.seconds * 3600


class Ear(RunProgress):
    """Shows nothing; keeps the trials' metrics."""

    def __init__(self, trials: int) -> None:
        super().__init__(SILENT, "search", trials, trials)
        self.first: float | None = None
        self.histories: dict[str, list[Mapping[str, float]]] = {}

    def epoch(self, name: str, metrics: Mapping[str, float]) -> None:
        super().epoch(name, metrics)
        self.first = self.first or time.perf_counter()
        self.histories.setdefault(name, []).append(metrics)


def digits(folder: Path, options: Options) -> raykd.Experiment:
    """A small study; its teacher takes an epoch, which is not measured."""
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
    have = sorted(os.sched_getaffinity(0))
    cores = have[: classrooms * workers]
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
            # Each trains its own, so that the start of its classrooms is measured with it.
            "teacher.cache": base.teacher.cache / size.replace("/", "-"),
        },
    )
    os.sched_setaffinity(0, cores)
    try:
        return _run(experiment, size, len(cores))
    finally:
        os.sched_setaffinity(0, have)


def _run(experiment: raykd.Experiment, size: str, cores: int) -> Row:
    began = time.perf_counter()
    with ray_session(experiment.cluster):
        sizes = plan(experiment.cluster, Resources.now(), students=experiment.study.trials)
        with Classrooms(sizes, experiment.cluster, experiment.folder / RAY) as classrooms:
            fingerprint = load_data(experiment.data).info.fingerprint
            teach_teachers(classrooms.broker, teachers(experiment, fingerprint), SILENT)
            start_up = time.perf_counter() - began
            around = _around(experiment, classrooms, sizes, cores)
            spec = experiment.training_spec().without_teacher()
            with ThreadPoolExecutor(1) as beside:
                plain = TrainRequest(PLAIN, spec, teacher=None, folder=str(experiment.folder / PLAIN))
                beside.submit(teach, classrooms.broker, plain)
                real = _search(experiment, classrooms, sizes)
            over = time.perf_counter()
        closing = time.perf_counter() - over
    costs = costs_of_reports(real.metrics)
    study = experiment.study
    # What the reports tell of several workers is their speed already.
    planned = Search(study, experiment.training.epochs, sizes.classrooms, seats=sizes.seats, cpus=cores)
    simulated = simulate(planned, costs, around, real.accuracy)
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
        process_cpu=around.process_cpu,
        trial=around.trial,
        result=around.result,
        start_up=start_up,
        closing=closing,
    )


def _around(experiment: raykd.Experiment, classrooms: Classrooms, sizes: Plan, cores: int) -> Overheads:
    """What goes on around the epochs on this machine just now: two searches of students that cost nothing."""
    at_once = min(sizes.classrooms * sizes.seats, experiment.study.trials)
    trials = 2 * at_once
    free = override(
        experiment,
        {
            "study.name": f"{experiment.study.name}-free",
            "study.scheduler": "none",
            "study.trials": trials,
            "training.decay": "constant",
            "student.name": "trial_overhead:no_op",
            "student.arguments": {},
            "objective.ce_weight": 1.0,
            "objective.kd_weight": 0.0,
            "data.train_images": 20,
            "training.batch_size": 20,
            "training.epochs": 1,
        },
    )
    short = _search(free, classrooms, sizes)
    longer = {"study.name": f"{experiment.study.name}-longer", "training.epochs": 1 + EPOCHS_MORE}
    long = _search(override(free, longer), classrooms, sizes)
    overheads = Overheads(epoch=0.0)
    # What the students report themselves is counted with the epochs.
    told = sum(each["seconds"] / each["class_size"] for each in long.metrics) / sizes.classrooms
    more = long.seconds - long.first - (short.seconds - short.first) - told
    result = max(more / (trials * EPOCHS_MORE), overheads.result)
    trial = max((short.seconds - short.first) / trials - result, 0.0)
    processes = max((short.first + long.first) / 2 - overheads.tune - at_once * trial, 0.0)
    return replace(overheads, result=result, trial=trial, process_cpu=processes / max(1.0, at_once / cores))


@dataclass(frozen=True)
class Searched:
    """A real search: its seconds, those until its first result, and its trials' metrics of each epoch, by name."""

    seconds: float
    first: float
    histories: dict[str, list[Mapping[str, float]]]

    @property
    def metrics(self) -> list[Mapping[str, float]]:
        """Of all epochs of all trials."""
        return [epoch for history in self.histories.values() for epoch in history]

    def accuracy(self, trial: int, epoch: int) -> float:
        """Of a trial after an epoch; where it was stopped before, the last that is known."""
        history = self.histories[trial_name(trial)]
        return history[min(epoch, len(history)) - 1][METRIC]


def _search(experiment: raykd.Experiment, classrooms: Classrooms, sizes: Plan) -> Searched:
    study, folder = experiment.study, experiment.folder
    space = load_space(study.space, experiment)
    record = open_study(folder / JOURNAL, study.name, study.seed, trials=study.trials)
    tracker = Tracker(experiment.tracking, folder, study.name)
    tracker.start_study({})
    ear = Ear(study.trials)
    at_once = min(sizes.classrooms * sizes.seats, study.trials)
    data = load_data(experiment.data).info
    context = TrialContext(classrooms.name, experiment, data.fingerprint, at_once)
    log = TrialLog(tracker, Provenance(experiment, data, sizes))
    callback = StudyCallback(log, ear, classrooms.broker, experiment.training.epochs)
    began = time.perf_counter()
    search(context, record, space, [callback], study.trials)
    seconds = time.perf_counter() - began
    tracker.close()
    assert ear.first is not None
    return Searched(seconds, ear.first - began, ear.histories)


def show(rows: list[Row]) -> None:
    """Print the measurements."""
    table = Table(title="Searches: real, and as the planner foretells them")
    for column in (
        "classrooms x workers", "cores", "search", "trials per hour", "efficiency", "epochs",
        "simulated", "epochs", "real / simulated",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "classrooms x workers" else "right")
    for row in rows:
        comparable = "/" not in row.size
        gain = row.trials_per_hour / rows[0].trials_per_hour / (row.cores / rows[0].cores)
        table.add_row(
            row.size,
            str(row.cores),
            f"{row.seconds:.1f} s",
            f"{row.trials_per_hour:.0f}",
            f"{gain:.0%}" if comparable else "",
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
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
