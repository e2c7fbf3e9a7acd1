"""What a trial costs beyond its training: students that cost nothing, in classrooms and the stock way.

    python benchmarks/trial_overhead.py

Both ways train the same student from the same cached teacher for one epoch of a few images. The search in classrooms
is the main job's own: Tune, Optuna's journal, the scheduler, checkpoints on disk and MLflow's outbox. The stock way is
a Tune trial whose function starts a `TorchTrainer` of its own.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import ray.train
import tyro
from ray import tune
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback
from rich.console import Console
from rich.table import Table
from torch import nn

import raykd
from raykd.cluster.classrooms import WORKER_ENVIRONMENT, Classrooms
from raykd.cluster.resources import TRIAL_CPUS, Plan, Resources, plan
from raykd.cluster.session import ray_session
from raykd.data import load_data
from raykd.places import JOURNAL, RAY
from raykd.progress import RunProgress
from raykd.search.optuna_study import open_study
from raykd.search.run import search
from raykd.search.space_file import load_space
from raykd.search.trial import TrialContext
from raykd.settings_io import override
from raykd.study.mlflow_log import Provenance, TrialLog
from raykd.study.train import teach_teachers
from raykd.study.trial_callback import StudyCallback
from raykd.tracking import Tracker, check_tracking
from raykd.training.classroom import Classroom
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.teacher_cache import teachers
from raykd.training.team import Team

SILENT = Console(quiet=True)


@dataclass(frozen=True)
class Options:
    """A classroom trial should cost no more than 1 second beyond its training, and a fraction of the stock way."""

    trials: tuple[int, ...] = (8, 64)
    """Sizes of the studies in classrooms."""
    stock_trials: int = 4
    """Trials the stock way; each costs half a minute. 0: leave it out."""
    json: Path | None = None
    """Write the measurements here, too."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    - seconds: from the start of the search to its end
    - first: until the first result
    - training: what the students themselves report, in sum; those taught together share their class's time
    """

    way: str
    trials: int
    at_once: int
    seconds: float
    first: float
    training: float

    @property
    def overhead(self) -> float:
        """Seconds of each trial beyond its training."""
        return (self.seconds - self.training) / self.trials


def no_op(num_classes: int, in_channels: int) -> nn.Module:
    """A student that costs nothing."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


def no_op_experiment(folder: Path) -> raykd.Experiment:
    """One epoch of few images for a student and a teacher that cost nothing."""
    model = raykd.ModelSettings(name="trial_overhead:no_op")
    training = raykd.TrainingSettings(epochs=1, batch_size=20)
    return raykd.Experiment(
        data=raykd.DataSettings(name="digits", train_images=20),
        student=model,
        training=training,
        teacher=raykd.TeacherSettings(model=model, training=training, cache=folder / "cache"),
        study=raykd.StudySettings(output=folder),
    )


class Clock(RunProgress):
    """Shows nothing; notes when the first result came, and how long the students were taught."""

    def __init__(self, trials: int) -> None:
        super().__init__(SILENT, "search", trials, trials)
        self.first: float | None = None
        self.training = 0.0

    def epoch(self, name: str, metrics: Mapping[str, float]) -> None:
        super().epoch(name, metrics)
        self.first = self.first or time.perf_counter()
        self.training += metrics["seconds"] / metrics["class_size"]


class Study:
    """A study of the main job; like there, its record and tracker are opened before the cluster."""

    def __init__(self, experiment: raykd.Experiment, trials: int) -> None:
        name = f"study-{trials}"
        self.trials = trials
        self.experiment = override(experiment, {"study.name": name, "study.trials": trials})
        self.space = load_space("dkd_bias", self.experiment)
        folder = self.experiment.folder
        self.study = open_study(folder / JOURNAL, name, seed=0, trials=trials)
        self.tracker = Tracker(self.experiment.tracking, folder, name)
        self.tracker.start_study({})

    def search(self, classrooms: Classrooms, sizes: Plan) -> Row:
        """Run all trials in open classrooms."""
        at_once = min(sizes.classrooms * sizes.seats, self.trials)
        data = load_data(self.experiment.data).info
        context = TrialContext(classrooms.name, self.experiment, data.fingerprint, at_once)
        clock = Clock(self.trials)
        log = TrialLog(self.tracker, Provenance(self.experiment, data, sizes))
        callback = StudyCallback(log, clock, classrooms.broker, epochs=1)
        started = time.perf_counter()
        search(context, self.study, self.space, [callback], self.trials)
        seconds = time.perf_counter() - started
        self.tracker.close()
        complete = self.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        assert len(complete) == self.trials and clock.first is not None
        return Row("classrooms", self.trials, at_once, seconds, clock.first - started, clock.training)


def train_alone(config: dict[str, Any]) -> None:
    """The stock way's train loop: one epoch of one student."""
    student = TrainRequest(**config)
    classroom = Classroom(Team.of_process_group(get_device()))
    (report,) = classroom.follow(WorkerCommands(enter=(student,), learn=(student.ticket,)))
    ray.train.report(dict(report.metrics))


def stock_trial(config: dict[str, Any]) -> None:
    """The stock way's trial: a Ray Train run of its own."""
    TorchTrainer(
        train_alone,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
        run_config=ray.train.RunConfig(
            name=config["student"],
            storage_path=str(Path(config["folder"]).parent),
            callbacks=[TuneReportCallback()],  # type: ignore[no-untyped-call, list-item]
            worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},  # type: ignore[call-arg]
        ),
    ).fit()


def stock(experiment: raykd.Experiment, trials: int, at_once: int) -> Row:
    """Run trials the stock way, of the same student from the same teacher."""
    folder = experiment.folder / "stock"
    (teacher,) = teachers(experiment, load_data(experiment.data).info.fingerprint)
    space = {
        "student": tune.grid_search([f"stock-{number}" for number in range(trials)]),
        "spec": experiment.training_spec(),
        "teacher": teacher.folder,
        "folder": tune.sample_from(lambda spec: str(folder / spec["config"]["student"])),
    }
    tuner = tune.Tuner(
        tune.with_resources(stock_trial, {"CPU": TRIAL_CPUS}),
        param_space=space,
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder / RAY), verbose=0),
    )
    started, wall = time.perf_counter(), time.time()
    results = tuner.fit()
    seconds = time.perf_counter() - started
    metrics = [results[number].metrics or {} for number in range(trials)]
    assert not results.errors, results.errors
    first = min(each["timestamp"] for each in metrics) - wall
    return Row("TorchTrainer in Tune", trials, at_once, seconds, first, sum(each["seconds"] for each in metrics))


def measure(options: Options, folder: Path) -> tuple[float, list[Row]]:
    """Returns the seconds until a classroom's first report, and the measurements."""
    experiment = no_op_experiment(folder)
    check_tracking(experiment.tracking)
    studies = [Study(experiment, trials) for trials in options.trials]
    started = time.perf_counter()
    with ray_session(experiment.cluster):
        cpus = int(Resources.now().cpus)
        sizes = plan(experiment.cluster, Resources.now(), students=max(options.trials))
        with Classrooms(sizes, experiment.cluster, folder / RAY) as classrooms:
            chain = teachers(experiment, load_data(experiment.data).info.fingerprint)
            teach_teachers(classrooms.broker, chain, SILENT)
            start_up = time.perf_counter() - started
            rows = [study.search(classrooms, sizes) for study in studies]
        if options.stock_trials:
            rows.append(stock(experiment, options.stock_trials, min(cpus, options.stock_trials)))
    return start_up, rows


def show(start_up: float, rows: list[Row]) -> None:
    """Print the measurements."""
    table = Table(title="Seconds a trial, with students that cost nothing")
    for column in ("way", "trials", "at once", "first result", "in all", "per trial", "beyond training", "ratio"):
        table.add_column(column, justify="left" if column == "way" else "right")
    table.add_row("start-up of cluster and classrooms", "", "", f"{start_up:.1f}", f"{start_up:.1f}", "", "", "")
    for row in rows:
        numbers = [f"{row.first:.1f}", f"{row.seconds:.1f}", f"{row.seconds / row.trials:.2f}", f"{row.overhead:.2f}"]
        ratio = f"{rows[-1].overhead / row.overhead:.0f}x less" if row.way != rows[-1].way else ""
        table.add_row(row.way, str(row.trials), str(row.at_once), *numbers, ratio)
    Console(width=120).print(table)


def main(options: Options) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as folder:
        start_up, rows = measure(options, Path(folder))
    show(start_up, rows)
    if options.json is not None:
        options.json.write_text(json.dumps({"start_up": start_up, "rows": [asdict(row) for row in rows]}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
