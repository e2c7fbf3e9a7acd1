"""Trials an hour of one study: raykd, Ray's usual way, and Optuna alone.

    python benchmarks/study_throughput.py

The same networks, data and search space, the same epochs for every trial, and a teacher that is trained before. raykd
runs its main job, with MLflow, checkpoints and the plain student. The usual way is a Tune trial whose function starts a
`TorchTrainer`; Optuna alone starts a process for each trial, as many at once as there are cores. Both train with
raykd's own loop, with the teacher in each trial and without the bank. Few of their trials are needed to know their
speed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch
import tyro
from one_class import STUDENT, TEACHER, train_class
from output import Outputs, write_bars, write_json
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console
from rich.table import Table
from stock import stock_trial

import raykd
from raykd.cluster.resources import TRIAL_CPUS
from raykd.cluster.session import ray_session
from raykd.config import TrainingSpec
from raykd.data import load_data
from raykd.places import RAY
from raykd.settings_io import override
from raykd.training.saved import load_model
from raykd.training.teacher_cache import teachers

ACCURACY = "validation_accuracy"
MULTIPLIER, STRENGTH = (0.5, 4.0), (0.0, 1.0)
"""What is searched: the temperature multiplier (log), and how strongly wrong answers are repaired."""
SPACE = """
temperature.multiplier: {low: 0.5, high: 4.0, log: true}
bias.strength: {low: 0.0, high: 1.0}
"""
DATA: dict[str, dict[str, object]] = {
    "digits": {"data.name": "digits", "training.epochs": 8},
    "fashion_mnist": {
        "data.name": "fashion_mnist",
        "data.train_images": 3000,
        "data.validation_share": 0.02,
        "training.epochs": 8,
    },
}
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Options(Outputs):
    """Measure trials an hour of a study, in raykd, in Ray's usual way, and with Optuna alone."""

    data: tuple[str, ...] = tuple(DATA)
    """Of digits and fashion_mnist."""
    trials: int = 32
    """Of raykd's study."""
    other_trials: int = 6
    """Of each other way."""
    quick: bool = False
    """Digits only, with 8 and 2 trials of 3 epochs."""


@dataclass(frozen=True)
class Row:
    """A way's study: seconds from the start of its cluster or first process to its last result."""

    data: str
    way: str
    trials: int
    seconds: float
    mean_accuracy: float
    best_accuracy: float

    @property
    def trials_per_hour(self) -> float:
        """Trials an hour."""
        return self.trials / self.seconds * 3600


def row(data: str, way: str, seconds: float, accuracies: Sequence[float]) -> Row:
    """The row of a study with these accuracies."""
    return Row(data, way, len(accuracies), seconds, statistics.fmean(accuracies), max(accuracies))


def base(data: str, folder: Path, epochs: int | None, trials: int) -> raykd.Experiment:
    """The study, with a teacher that is cached below a folder."""
    space = folder / "space.yaml"
    space.write_text(SPACE)
    experiment = raykd.Experiment(
        teacher=raykd.TeacherSettings(
            model=TEACHER,
            training=raykd.TrainingSettings(epochs=10, decay="cosine"),
            cache=folder / "cache",
        ),
        student=STUDENT,
        training=raykd.TrainingSettings(batch_size=64, decay="cosine"),
        method=raykd.MethodSettings(name="kd"),
        bias=raykd.BiasSettings(form="pair", denominator="batch"),
        temperature=raykd.TemperatureSettings(policy="std"),
        # As the other ways have it: no baselines among the trials, and nothing after them.
        study=raykd.StudySettings(
            name=data,
            output=folder,
            space=str(space),
            trials=trials,
            scheduler="none",
            start=("experiment",),
            finalists=0,
        ),
    )
    shorter = {"training.epochs": epochs} if epochs else {}
    return override(experiment, DATA[data] | shorter)


def in_raykd(data: str, experiment: raykd.Experiment) -> Row:
    """The main job."""
    started = time.perf_counter()
    result = raykd.tune(experiment, Console(quiet=True))
    seconds = time.perf_counter() - started
    accuracies = [trial.accuracy for trial in result.trials if trial.accuracy is not None]
    assert len(accuracies) == experiment.study.trials
    return row(data, "raykd", seconds, accuracies)


def spec_of(experiment: raykd.Experiment, settings: dict[str, float]) -> TrainingSpec:
    """A trial's training, which shares nothing with others."""
    return override(experiment, {**settings, "bank.mode": "off"}).training_spec()


def usual(data: str, experiment: raykd.Experiment, teacher: str, trials: int) -> Row:
    """A TorchTrainer in every trial of Tune."""
    folder = experiment.study.output / "usual"

    def trial(config: dict[str, Any]) -> None:
        name = f"trial-{tune.get_context().get_trial_id()}"
        spec = spec_of(experiment, config)
        stock_trial({"student": name, "spec": spec, "teacher": teacher, "folder": str(folder / "students" / name)})

    started = time.perf_counter()
    with ray_session(experiment.cluster):
        tuner = tune.Tuner(
            tune.with_resources(trial, {"CPU": TRIAL_CPUS}),
            param_space={
                "temperature.multiplier": tune.loguniform(*MULTIPLIER),
                "bias.strength": tune.uniform(*STRENGTH),
            },
            tune_config=tune.TuneConfig(
                metric=ACCURACY,
                mode="max",
                search_alg=OptunaSearch(seed=0),
                num_samples=trials,
                max_concurrent_trials=CORES,
            ),
            run_config=tune.RunConfig(name="tune", storage_path=str(folder / RAY), verbose=0),
        )
        results = tuner.fit()
        seconds = time.perf_counter() - started
    assert not results.errors, results.errors
    return row(data, "TorchTrainer in Tune", seconds, [(result.metrics or {})[ACCURACY] for result in results])


def train_in_process(spec: TrainingSpec, folder: Path, teacher: Path) -> float:
    """A trial's accuracy; the whole work of one process."""
    torch.set_num_threads(1)
    return train_class({"student": spec}, folder, teacher)[-1].metrics[ACCURACY]


def optuna_alone(data: str, experiment: raykd.Experiment, teacher: str, trials: int) -> Row:
    """A process for every trial, without Ray."""
    folder = experiment.study.output / "optuna"
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    with ProcessPoolExecutor(CORES, get_context("spawn"), max_tasks_per_child=1) as processes:

        def objective(trial: optuna.Trial) -> float:
            settings = {
                "temperature.multiplier": trial.suggest_float("temperature.multiplier", *MULTIPLIER, log=True),
                "bias.strength": trial.suggest_float("bias.strength", *STRENGTH),
            }
            spec = spec_of(experiment, settings)
            return processes.submit(train_in_process, spec, folder / str(trial.number), Path(teacher)).result()

        started = time.perf_counter()
        study.optimize(objective, n_trials=trials, n_jobs=CORES)
        seconds = time.perf_counter() - started
    return row(data, "Optuna alone", seconds, [value for trial in study.trials if (value := trial.value) is not None])


def measure(data: str, options: Options) -> list[Row]:
    """All ways on one data set."""
    trials, others, epochs = (8, 2, 3) if options.quick else (options.trials, options.other_trials, None)
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as path:
        experiment = base(data, Path(path), epochs, trials)
        raykd.train_teacher(override(experiment, {"study.name": "teacher"}), Console(quiet=True))
        teacher = teachers(experiment, load_data(experiment.data).info.fingerprint)[-1].folder
        load_model(teacher)
        return [
            in_raykd(data, experiment),
            usual(data, experiment, teacher, others),
            optuna_alone(data, experiment, teacher, others),
        ]


def main(options: Options) -> None:
    """Measure, print the table, and write the rows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = [each for data in (("digits",) if options.quick else options.data) for each in measure(data, options)]
    table = Table(title=f"Trials an hour of one study on {CORES} cores", title_justify="left")
    for column in ("data", "way", "trials", "seconds", "trials an hour", "raykd is faster", "mean accuracy", "best"):
        table.add_column(column, justify="left" if column in ("data", "way") else "right")
    for each in rows:
        ours = next(other for other in rows if other.data == each.data and other.way == "raykd")
        times = "" if each is ours else f"{ours.trials_per_hour / each.trials_per_hour:.1f} times"
        numbers = (str(each.trials), f"{each.seconds:.0f}", f"{each.trials_per_hour:,.0f}", times)
        table.add_row(each.data, each.way, *numbers, f"{each.mean_accuracy:.2%}", f"{each.best_accuracy:.2%}")
    Console(width=120).print(table, highlight=False)
    write_json(rows, options.json)
    series = {
        way: {each.data: each.trials_per_hour for each in rows if each.way == way}
        for way in dict.fromkeys(each.way for each in rows)
    }
    write_bars(series, "Trials an hour of one study", options.plot)


if __name__ == "__main__":
    main(tyro.cli(Options))
