"""What augmentation and mixing are worth to a small student, alone and with a teacher, on Fashion-MNIST.

    python benchmarks/augmentation.py --seeds 3

One process, without a cluster. For each seed there is one teacher, trained on padded crops and flips, and for each
augmentation two students on the same views: one by labels alone, one by kd. Each finished pair is added to the file of
results; started again, the script does what is missing. Accuracies are those of the last epoch.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from one_class import STUDENT, TEACHER, train_class

from raykd.config import Experiment
from raykd.settings_io import override

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "randaugment": {"data.augment.policy": "randaugment"},
    "trivialaugment": {"data.augment.policy": "trivialaugment"},
    "erasing": {"data.augment.erasing": 0.25},
    "mixup": {"data.mixup": 0.2},
    "cutmix": {"data.cutmix": 1.0},
}
"""Beside the data set's own padded crops and flips."""
STUDENTS = ("plain", "kd")


@dataclass(frozen=True)
class Options:
    """Augmentations x {plain, kd}, over several seeds."""

    seeds: int = 3
    """Of splits, views and weights."""
    epochs: int = 12
    """Of teachers and students."""
    images: int = 4000
    """Training images."""
    results: Path = Path("benchmarks/results/augmentation.json")
    """Rows are added to this file."""


def experiment_of(options: Options, seed: int) -> Experiment:
    """The settings of all students of a seed."""
    training = {"epochs": options.epochs, "batch_size": 64, "learning_rate": 0.1, "decay": "cosine", "seed": seed}
    return override(
        Experiment(student=STUDENT),
        {
            "data.name": "fashion_mnist",
            "data.train_images": options.images,
            "data.validation_share": 0.1,
            "data.image_size": 14,
            "data.crop_padding": 1,
            "data.seed": seed,
            "teacher.model.name": TEACHER.name,
            "method.name": "kd",
            "objective.ce_weight": 0.5,
            "objective.kd_weight": 0.5,
            "temperature.policy": "constant",
            "temperature.value": 4.0,
            **{f"training.{name}": value for name, value in training.items()},
            **{f"teacher.training.{name}": value for name, value in training.items()},
        },
    )


def main(options: Options) -> None:
    """Do what is missing, and print the table."""
    rows = json.loads(options.results.read_text()) if options.results.exists() else []
    for seed in range(options.seeds):
        missing = [
            name for name in AUGMENTATIONS if not any((r["augmentation"], r["seed"]) == (name, seed) for r in rows)
        ]
        if not missing:
            continue
        experiment = experiment_of(options, seed)
        with tempfile.TemporaryDirectory() as folder:
            teacher = Path(folder) / "teacher"
            reports = train_class({"teacher": experiment.standard_teacher_spec()}, Path(folder), None)
            of_teacher = reports[-1].metrics["validation_accuracy"]
            for name in missing:
                changed = override(experiment, AUGMENTATIONS[name]).training_spec()
                specs = {"plain": changed.without_teacher(), "kd": changed}
                began = time.perf_counter()
                last = {each.student: each for each in train_class(specs, Path(folder) / name, teacher)}
                row: dict[str, Any] = {"augmentation": name, "seed": seed, "epochs": options.epochs}
                row |= {"images": options.images, "teacher": of_teacher, "seconds": time.perf_counter() - began}
                row |= {student: last[student].metrics["validation_accuracy"] for student in STUDENTS}
                row |= {f"{student}_train": last[student].metrics["train_accuracy"] for student in STUDENTS}
                rows.append(row)
                options.results.write_text(json.dumps(rows, indent=1) + "\n")
                print(json.dumps(row), flush=True)
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation of the accuracies over the seeds, in Markdown."""
    lines = ["| augmentation | plain | kd | seeds |", "|---|---|---|---|"]
    for name in AUGMENTATIONS:
        own = [row for row in rows if row["augmentation"] == name]
        cells = [_cell([row[student] for row in own]) for student in STUDENTS]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return "not run"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main(tyro.cli(Options))
