"""Whether distillation helps in the demo's task: students with and without a teacher, under several seeds.

    python benchmarks/demo_task.py
    python benchmarks/demo_task.py --first-seed 301 --seeds 4

Each seed trains a teacher of its own, and one class of students taught by it, with the settings of
experiments/tune_dkd.py on that script's splits; nothing is searched. The difference from the plain student of the same
seed is what distillation gives. Rows are appended to a file as they come, and a second call goes on where the first one
ended. It needs no cluster: the classroom is that of every run.
"""

from __future__ import annotations

import json
import runpy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from one_class import train_class
from rich.console import Console
from rich.table import Table
from search_table import read_rows, seeded, test_accuracy

from raykd.config import Experiment, TrainingSpec
from raykd.data import load_data
from raykd.results.statistics import Estimate, interval, percent
from raykd.search.names import METRIC
from raykd.settings_io import override
from raykd.shipped import script
from raykd.study.published import as_published

ROWS = Path(__file__).parent / "results" / "demo_task.jsonl"

TASKS: Mapping[str, Mapping[str, Any]] = {
    "quarter width": {"student.arguments.width": 0.25},
    "half width": {"student.arguments.width": 0.5},
}
"""Laid over the demo's settings. The demo has the first; the second was its student until 2026-11."""

PLAIN = "plain"


@dataclass(frozen=True)
class Options:
    """Train students of the demo's task with and without a teacher, and say what the teacher gives."""

    seeds: int = 10
    """Teachers, each with a class of students. The recorded rows have 16 of quarter width and 10 of half width."""
    first_seed: int = 201
    """The seeds are this one and those after it. The task was chosen by seeds 101 to 103."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Of `TASKS`."""
    rows: Path = ROWS
    """File that rows are appended to."""


def students(experiment: Experiment) -> dict[str, TrainingSpec]:
    """The students of a class: without a teacher, by the demo's own settings, and by usual ones."""
    half = {
        "method.name": "kd",
        "temperature.policy": "constant",
        "temperature.value": 4.0,
        "bias.form": "keep",
        "objective.kd_share": 0.5,
    }
    return {
        PLAIN: experiment.training_spec().without_teacher(),
        "own settings": experiment.training_spec(),
        "KD, half and half": override(experiment, half).training_spec(),
        "KD as published": as_published(experiment, "kd").training_spec(),
        "DIST as published": as_published(experiment, "dist").training_spec(),
    }


def record(options: Options, console: Console) -> None:
    """Train all that is not in the file yet."""
    own: Experiment = runpy.run_path(str(script("tune_dkd")))["EXPERIMENT"]
    known = {(row["task"], row["seed"]) for row in read_rows(options.rows)}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for task in options.tasks:
            if (task, seed) in known:
                continue
            experiment = override(own, dict(TASKS[task]))
            images = load_data(experiment.data)
            with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as path:
                folder = Path(path)
                teacher = train_class({"teacher": seeded(experiment.standard_teacher_spec(), seed)}, folder, None)[-1]
                specs = {name: seeded(spec, seed) for name, spec in students(experiment).items()}
                reports = train_class(specs, folder, folder / "teacher")
                last = {report.student: report.metrics[METRIC] for report in reports}
                row = {
                    "task": task,
                    "seed": seed,
                    "teacher": round(teacher.metrics[METRIC], 5),
                    "validation": {name: round(last[name], 5) for name in specs},
                    "test": {name: round(test_accuracy(folder / name, images), 5) for name in specs},
                }
            with options.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            console.print(f"{task}, seed {seed}")


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print what each kind of student reaches, and its difference from the plain one with its 95 % interval."""
    for task in TASKS:
        ours = [row for row in rows if row["task"] == task]
        if not ours:
            continue
        title = f"{task}: {len(ours)} seeds, last epoch, %; points over plain, 95 % interval"
        table = Table(title=title, title_justify="left")
        for heading in ("", "validation", "over plain", "test", "over plain"):
            table.add_column(heading, justify="right" if heading else "left")
        for name in ours[0]["test"]:
            cells = [name]
            for split in ("validation", "test"):
                accuracies = [row[split][name] for row in ours]
                cells.append(f"{sum(accuracies) / len(ours):.2%}")
                cells.append("" if name == PLAIN else _gain([row[split][name] - row[split][PLAIN] for row in ours]))
            table.add_row(*cells)
        console.print(table, highlight=False)


def _gain(differences: Sequence[float]) -> str:
    estimate = Estimate.of(differences)
    return f"{percent(estimate.mean, '+')} ({interval(estimate, '+')})"


def main(options: Options) -> None:
    """Record what is missing, and show all."""
    torch.set_num_threads(1)
    console = Console()
    record(options, console)
    show(read_rows(options.rows), console)


if __name__ == "__main__":
    main(tyro.cli(Options))
