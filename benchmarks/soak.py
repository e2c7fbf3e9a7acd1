"""What a long study leaves behind: memory, threads, open files and processes over thousands of short trials.

    python benchmarks/soak.py

One study, as `raykd.tune` runs it from first to last trial, with MLflow: a tiny student of 100 digits learns for
two epochs. Every few seconds this process (the driver) and all its children are looked at. What grows without end shows
as a slope in the second half; the driver keeps each trial's figures, so its memory may grow a little.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import psutil
import tyro
from output import Outputs, write_json, write_lines
from rich.console import Console
from rich.table import Table

import raykd
from raykd.places import TRIALS

SECONDS = 3.0
"""Between two looks."""
KINDS = {"RayTrainWorker": "classroom", "StudentTrial": "trials", "Trainable": "trials", "Broker": "broker"}
"""A part of a process's title, and what it is shown as."""
RAY = "Ray's own"


@dataclass(frozen=True)
class Options(Outputs):
    """Run many short trials in one study, and watch what grows."""

    trials: int = 2000
    """Of the study."""
    seats: int = 8
    """Trials at once."""
    quick: bool = False
    """40 trials."""


@dataclass(frozen=True)
class Look:
    """One kind of process at one moment.

    - kind: driver, classroom, trials, broker, or Ray's own processes
    - ended: trials that have begun by then, which takes the place of time
    - processes, threads, files: how many; files are open file descriptors
    - memory: megabytes that are theirs alone
    """

    kind: str
    ended: int
    processes: int
    threads: int
    files: int
    memory: float


def looks(ended: int) -> Iterator[Look]:
    """At this process and all its children, added up by kind."""
    driver = psutil.Process()
    found: dict[str, list[tuple[int, int, float]]] = {}
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.Error, IndexError):
            title = process.cmdline()[0]
            named = (name for part, name in KINDS.items() if part in title)
            kind = "driver" if process == driver else next(named, RAY)
            counts = (process.num_threads(), process.num_fds(), process.memory_full_info().uss / 1e6)
            found.setdefault(kind, []).append(counts)
    for kind, counts in found.items():
        threads, files, memory = map(sum, zip(*counts, strict=True))
        yield Look(kind, ended, len(counts), threads, files, memory)


@contextmanager
def watched(folder: Path) -> Iterator[list[Look]]:
    """Look every few seconds, in a thread, as long as this is open."""
    seen: list[Look] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SECONDS):
            trials = folder / TRIALS
            if trials.exists():
                seen.extend(looks(sum(1 for _ in trials.iterdir())))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def slope(points: list[tuple[float, float]]) -> float | None:
    """Of a line through the points of the second half; None of fewer than three."""
    last = points[-1][0]
    half = [point for point in points if last / 2 <= point[0] < last]
    if len({x for x, _ in half}) < 3:
        return None
    x, y = np.array(half).T
    return float(np.polyfit(x, y, 1)[0])


def show(seen: list[Look], result: raykd.StudyResult) -> None:
    """Print what each kind of process has at the end, and how much a further 1,000 trials would add."""
    states = {state: sum(trial.state == state for trial in result.trials) for state in {t.state for t in result.trials}}
    table = Table(title=f"{len(result.trials):,} trials: {states}", title_justify="left")
    table.add_column("processes")
    for column in ("how many", "threads", "open files", "memory", "and 1,000 trials more add"):
        table.add_column(column, justify="right")
    for kind in dict.fromkeys(look.kind for look in seen):
        own = [look for look in seen if look.kind == kind]
        growth = {
            name: slope([(look.ended, getattr(look, name)) for look in own])
            for name in ("processes", "threads", "files", "memory")
        }
        added = ", ".join(
            f"{1000 * each:+.1f} {'MB' if name == 'memory' else name}"
            for name, each in growth.items()
            if each is not None
        )
        last = own[-1]
        table.add_row(
            kind, str(last.processes), str(last.threads), str(last.files), f"{last.memory:,.0f} MB", added or "-"
        )
    Console(width=140).print(table, highlight=False)


def write(seen: list[Look], options: Options) -> None:
    """Write all looks, also those of a study that was stopped."""
    write_json(seen, options.json)
    memory = {
        kind: [(float(look.ended), look.memory) for look in seen if look.kind == kind]
        for kind in dict.fromkeys(look.kind for look in seen)
    }
    write_lines(memory, "Memory (MB) by trials begun", options.plot)


def main(options: Options) -> None:
    """Run the study, print the table, and write all looks."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = 40 if options.quick else options.trials
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as folder:
        model = raykd.ModelSettings(name="resnet8", arguments={"width": 0.25})
        training = raykd.TrainingSettings(epochs=2, batch_size=50)
        experiment = raykd.Experiment(
            data=raykd.DataSettings(name="digits", train_images=100, test_share=0.8),
            student=model,
            training=training,
            teacher=raykd.TeacherSettings(model=model, training=training, cache=Path(folder) / "cache"),
            cluster=raykd.ClusterSettings(classrooms=1, seats=options.seats),
            study=raykd.StudySettings(name="soak", output=Path(folder), trials=trials, scheduler="none", finalists=0),
        )
        with watched(experiment.folder) as seen:
            try:
                result = raykd.tune(experiment, Console(quiet=True))
            finally:
                write(seen, options)
    show(seen, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
