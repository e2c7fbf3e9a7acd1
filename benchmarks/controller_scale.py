"""What the controller costs: many trials that cost nothing, on many seats, in raykd and in bare Tune.

    python benchmarks/controller_scale.py

Both run as many trials at once, in processes that are used again. raykd's are whole trials: Optuna's journal, MLflow's
outbox, checkpoints, and a student in a classroom that is trained for one epoch of 20 images. Bare Tune's report a
number. In both the first trials wait for each other's processes; without that, bare Tune starts a process for nearly
every one of such short trials. Each way has a driver process of its own, whose memory is measured together with that of
all its children.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import optuna
import psutil
import ray
import tyro
from measured_search import NO_OP, MeasuredSearch, open_classrooms
from output import Outputs, write_json, write_lines
from ray import tune
from ray.tune.experiment import Trial
from rich.console import Console
from rich.table import Table

import raykd
from raykd.cluster.broker import start_broker
from raykd.cluster.resources import TRIAL_CPUS
from raykd.cluster.session import NAMESPACE, ray_session
from raykd.places import RAY

KINDS = {"gcs_server": "gcs_server", "Broker": "broker", "StudentTrial": "trials", "NoOp": "trials"}
"""A part of a process's name, and what it is shown as."""
BROKER = "bare-tune"
"""Name of the actor at which bare Tune's processes wait for each other."""
SECONDS = 1.0
"""Between two looks at the memory."""
FEWEST_LOOKS = 3
"""At the memory, of which a growth is told."""


@dataclass(frozen=True)
class Options(Outputs):
    """Measure trials a second and memory, in raykd and in bare Tune."""

    trials: int = 2000
    """Of each way."""
    seats: int = 128
    """Trials at once."""
    quick: bool = False
    """60 trials on 8 seats."""
    way: Annotated[Literal["all", "raykd", "tune"], tyro.conf.arg(help="Only one way, in this process.")] = "all"


@dataclass(frozen=True)
class Row:
    """A way's search.

    - first, seconds: until the first result, and in all
    - growth: bytes that the driver grows by with each trial, in the second half; None if that ended too soon
    - memory: megabytes of each kind of process at the end
    - course: trials ended and the driver's bytes, over time
    """

    way: str
    trials: int
    seats: int
    first: float
    seconds: float
    growth: float | None
    memory: dict[str, float]
    course: list[tuple[int, int]] = field(default_factory=list)

    @property
    def seconds_a_trial(self) -> float:
        """Between two trials, once all processes run."""
        return (self.seconds - self.first) / self.trials


class Memory:
    """Looks at the memory of this process and its children until it is closed.

    Args:
        ended: How many trials have ended by now.
    """

    def __init__(self, ended: Callable[[], int]) -> None:
        self.course: list[tuple[int, int]] = []
        self.at_end: dict[str, float] = {}
        self._ended = ended

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        """Watch in a thread."""
        over = threading.Event()

        def watch() -> None:
            driver = psutil.Process()
            while not over.wait(SECONDS):
                self.course.append((self._ended(), driver.memory_info().rss))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
            self.at_end = _megabytes()
        finally:
            over.set()
            thread.join()

    @property
    def growth(self) -> float | None:
        """Bytes of the driver for each trial of the second half, while trials run: the slope of a line through looks.

        None: there were too few.
        """
        last = self.course[-1][0]
        half = [point for point in self.course if last / 2 <= point[0] < last]
        if len({ended for ended, _ in half}) < FEWEST_LOOKS:
            return None
        ended, size = np.array(half, dtype=float).T
        return float(np.polyfit(ended, size, 1)[0])


def _megabytes() -> dict[str, float]:
    """Of the driver and of each kind of its children: unique memory, as much of the rest is shared."""
    driver = psutil.Process()
    found = {"driver": driver.memory_full_info().uss / 1e6}
    for process in driver.children(recursive=True):
        try:
            name = " ".join(process.cmdline())
            kind = next((kind for part, kind in KINDS.items() if part in name), "other processes of Ray")
            found[kind] = found.get(kind, 0.0) + process.memory_full_info().uss / 1e6
        except psutil.Error:
            continue
    return found


def in_raykd(options: Options, folder: Path) -> Row:
    """Whole trials of a student that costs nothing."""
    model = raykd.ModelSettings(name=NO_OP)
    training = raykd.TrainingSettings(epochs=1, batch_size=20)
    experiment = raykd.Experiment(
        data=raykd.DataSettings(name="digits", train_images=20, test_share=0.9),
        student=model,
        training=training,
        teacher=raykd.TeacherSettings(model=model, training=training, cache=folder / "cache"),
        cluster=raykd.ClusterSettings(classrooms=1, seats=options.seats),
        study=raykd.StudySettings(output=folder, trials=options.trials, scheduler="none"),
    )
    search = MeasuredSearch(experiment, histories=False)
    with (
        ray_session(experiment.cluster),
        open_classrooms(experiment, students=options.trials) as (classrooms, plan),
        Memory(lambda: search.ended).watched() as memory,
    ):
        result = search.run(classrooms, plan)
    complete = search.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    assert len(complete) == options.trials
    return Row(
        "raykd",
        options.trials,
        options.seats,
        result.first,
        result.seconds,
        memory.growth,
        memory.at_end,
        memory.course,
    )


class NoOp(tune.Trainable):
    """A trial that costs nothing."""

    def setup(self, config: dict[str, Any], seats: int) -> None:  # type: ignore[override]
        self._waits_for = seats

    def step(self) -> dict[str, Any]:
        if self._waits_for:
            # Not in `setup`: Tune must know of all processes before the first trial ends.
            ray.get(ray.get_actor(BROKER, namespace=NAMESPACE).assemble.remote("tune", self._waits_for))
            self._waits_for = 0
        return {"accuracy": 0.5, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        return None


class Count(tune.Callback):
    """Counts trials, and notes when the first one ended."""

    def __init__(self) -> None:
        self.ended = 0
        self.first: float | None = None

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.first = self.first or time.perf_counter()
        self.ended += 1


def in_tune(options: Options, folder: Path) -> Row:
    """Bare Tune."""
    count = Count()
    with ray_session(raykd.ClusterSettings()):
        broker = start_broker(BROKER, lease_seconds=60)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(NoOp, seats=options.seats), {"CPU": TRIAL_CPUS}),
            param_space={"multiplier": tune.loguniform(0.5, 4.0)},
            tune_config=tune.TuneConfig(
                num_samples=options.trials, max_concurrent_trials=options.seats, reuse_actors=True
            ),
            run_config=tune.RunConfig(name="tune", storage_path=str(folder / RAY), callbacks=[count], verbose=0),
        )
        with Memory(lambda: count.ended).watched() as memory:
            started = time.perf_counter()
            results = tuner.fit()
            seconds = time.perf_counter() - started
        ray.kill(broker)
    assert len(results) == options.trials and not results.errors
    assert count.first is not None
    first = count.first - started
    return Row("bare Tune", options.trials, options.seats, first, seconds, memory.growth, memory.at_end, memory.course)


def measured(way: str, options: Options) -> Row:
    """A way's row, from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as folder:
        file = Path(folder) / "row.json"
        sizes = [f"--trials={options.trials}", f"--seats={options.seats}"]
        command = [sys.executable, __file__, "--way", way, *sizes, "--json", str(file)]
        subprocess.run(command, check=True)
        return Row(**json.loads(file.read_text()))


def show(rows: list[Row]) -> None:
    """Print the measurements."""
    table = Table(title=f"{rows[0].trials:,} trials that cost nothing, {rows[0].seats} at once", title_justify="left")
    for column in ("way", "first result", "in all", "trials a second", "driver grows", "driver", "all processes"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in rows:
        table.add_row(
            row.way,
            f"{row.first:.0f} s",
            f"{row.seconds:.0f} s",
            f"{1 / row.seconds_a_trial:.1f}",
            "" if row.growth is None else f"{row.growth / 1000:.0f} kB a trial",
            f"{row.memory['driver']:,.0f} MB",
            f"{sum(row.memory.values()):,.0f} MB",
        )
    console = Console(width=120)
    console.print(table, highlight=False)
    ours, bare = rows
    console.print(f"raykd takes {ours.seconds / bare.seconds:.2f} times bare Tune's time", highlight=False)


def main(options: Options) -> None:
    """Measure each way in a process of its own, print the table, and write the rows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.way != "all":
        with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as folder:
            row = (in_raykd if options.way == "raykd" else in_tune)(options, Path(folder))
        assert options.json is not None
        options.json.write_text(json.dumps(asdict(row)))
        return
    if options.quick:
        options = Options(trials=60, seats=8, json=options.json, plot=options.plot)
    rows = [measured("raykd", options), measured("tune", options)]
    show(rows)
    write_json(rows, options.json)
    courses = {row.way: [(float(ended), size / 1e6) for ended, size in row.course] for row in rows}
    write_lines(courses, "The driver's memory (MB) by trials ended", options.plot)


if __name__ == "__main__":
    main(tyro.cli(Options))
