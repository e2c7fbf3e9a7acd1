"""What a trial costs beyond its training: students that cost nothing, in classrooms and in Ray's usual way.

    python benchmarks/trial_overhead.py

Both ways train the same student with the same cached teacher for one epoch of a few images. The search in classrooms
is the main job's own: Tune, Optuna's journal, the scheduler, checkpoints on disk and MLflow's outbox. The usual
("stock") way is a Tune trial whose function starts a `TorchTrainer` of its own.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
import tyro
from measured_search import NO_OP, MeasuredSearch, open_classrooms, trials_at_once
from ray import tune
from rich.console import Console
from rich.table import Table
from stock import stock_trial

import raykd
from raykd.cluster.classrooms import Classrooms
from raykd.cluster.resources import TRIAL_CPUS, Plan, Resources
from raykd.cluster.session import ray_session
from raykd.data import load_data
from raykd.places import RAY
from raykd.settings_io import override
from raykd.tracking import check_tracking
from raykd.training.teacher_cache import teachers


@dataclass(frozen=True)
class Options:
    """Measure what a trial costs beyond its training, in classrooms (at most 1 second is the aim) and the usual way."""

    trials: tuple[int, ...] = (8, 64)
    """Sizes of the studies in classrooms."""
    stock_trials: int = 4
    """Trials in the usual way; each takes half a minute. 0: none."""
    json: Path | None = None
    """Also write the measurements to this file."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    - seconds: from the start of the search to its end
    - first: until the first result
    - training: seconds that the students themselves report, in sum; students of one class share its time
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


def no_op_experiment(folder: Path) -> raykd.Experiment:
    """One epoch of few images for a student and a teacher that cost nothing."""
    model = raykd.ModelSettings(name=NO_OP)
    training = raykd.TrainingSettings(epochs=1, batch_size=20)
    return raykd.Experiment(
        data=raykd.DataSettings(name="digits", train_images=20),
        student=model,
        training=training,
        teacher=raykd.TeacherSettings(model=model, training=training, cache=folder / "cache"),
        study=raykd.StudySettings(output=folder),
    )


def study_of(experiment: raykd.Experiment, trials: int) -> raykd.Experiment:
    """A study of so many trials."""
    return override(experiment, {"study.name": f"study-{trials}", "study.trials": trials})


def in_classrooms(experiment: raykd.Experiment, search: MeasuredSearch, classrooms: Classrooms, plan: Plan) -> Row:
    """Run the trials of a study in open classrooms."""
    trials = experiment.study.trials
    result = search.run(classrooms, plan)
    complete = search.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert len(complete) == trials
    at_once = trials_at_once(experiment, plan)
    return Row("classrooms", trials, at_once, result.seconds, result.first, result.training)


def stock(experiment: raykd.Experiment, trials: int, at_once: int) -> Row:
    """Run trials in the usual way, of the same student with the same teacher."""
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
    first = min(last["timestamp"] for last in metrics) - wall
    return Row("TorchTrainer in Tune", trials, at_once, seconds, first, sum(last["seconds"] for last in metrics))


def measure(options: Options, folder: Path) -> tuple[float, list[Row]]:
    """Returns the seconds until a classroom's first report, and the measurements."""
    experiment = no_op_experiment(folder)
    check_tracking(experiment.tracking)
    studies = [study_of(experiment, trials) for trials in options.trials]
    # As in the main job, records and trackers are opened before the cluster.
    searches = [MeasuredSearch(study) for study in studies]
    started = time.perf_counter()
    with ray_session(experiment.cluster):
        cpus = int(Resources.now().cpus)
        with open_classrooms(experiment, students=max(options.trials)) as (classrooms, plan):
            start_up = time.perf_counter() - started
            pairs = zip(studies, searches, strict=True)
            rows = [in_classrooms(study, search, classrooms, plan) for study, search in pairs]
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
