"""Every method on the same data, teacher, student and budget, over several seeds.

    python benchmarks/methods.py                                        # digits, some minutes on 2 cores
    python benchmarks/methods.py --data.name fashion_mnist --data.train_images 5000

Each method runs at its published settings, with a warm-up scaled to the epochs. None is tuned, so the table says what a
user gets from the defaults, not which method is best. `time of plain` is the shortest epoch of the three students,
divided by that of three plain students; the teacher answers once for all three.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from one_class import train_class
from rich.console import Console
from rich.table import Table

import raykd
from raykd.config import Experiment, TrainingSpec
from raykd.knowledge.methods import METHODS
from raykd.settings_io import override
from raykd.study.published import as_published

SEEDS = 3
BASELINES = ("cross_entropy", "label_smoothing", "kd")

EXPERIMENT = raykd.Experiment(
    data=raykd.DataSettings(name="digits"),
    teacher=raykd.TeacherSettings(
        model=raykd.ModelSettings(name="resnet20"),
        training=raykd.TrainingSettings(epochs=30, batch_size=64, learning_rate=0.05, decay="cosine"),
    ),
    student=raykd.ModelSettings(name="resnet8", arguments={"width": 0.5}),
    training=raykd.TrainingSettings(epochs=16, batch_size=32, learning_rate=0.05, decay="cosine"),
)


@dataclass(frozen=True)
class Outcome:
    """What a method's students reached on the validation split, and the seconds of their class's last epochs."""

    accuracies: list[float]
    best: list[float]
    seconds: float


def train(specs: dict[str, TrainingSpec], folder: Path, teacher: Path | None) -> dict[str, dict[str, float]]:
    """Train students in one class. Returns their last metrics; `seconds` is the shortest epoch of the class."""
    reports = train_class(specs, folder, teacher)
    seconds = min(report.metrics["seconds"] for report in reports)
    return {report.student: {**report.metrics, "seconds": seconds} for report in reports}


def outcome(experiment: Experiment, folder: Path, teacher: Path | None) -> Outcome:
    """Train the students of one method, one a seed, in one class."""
    specs = {str(seed): override(experiment, {"training.seed": seed}).training_spec() for seed in range(SEEDS)}
    students = list(train(specs, folder, teacher).values())
    return Outcome(
        accuracies=[metrics["validation_accuracy"] for metrics in students],
        best=[metrics["best_validation_accuracy"] for metrics in students],
        seconds=students[0]["seconds"],
    )


def main(experiment: Experiment) -> None:
    """Train every method's students and print the table."""
    # Two threads that wait for each other are slower than one as soon as anything else runs.
    torch.set_num_threads(1)
    console = Console()
    table = Table(title=f"{experiment.data.name}: validation accuracy over {SEEDS} seeds", title_justify="left")
    for heading in ("method", "last epoch", "sd", "best epoch", "time of plain"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as path:
        folder = Path(path)
        teacher = train({"teacher": experiment.standard_teacher_spec()}, folder, None)["teacher"]
        console.print(f"teacher {experiment.teacher.model}: {teacher['validation_accuracy']:.2%}", highlight=False)
        plain_seconds = 0.0
        for name in (*BASELINES, *sorted(METHODS.keys() - set(BASELINES))):
            started = time.perf_counter()
            published = as_published(experiment, name)
            needs_teacher = published.training_spec().needs_teacher
            result = outcome(published, folder / name, folder / "teacher" if needs_teacher else None)
            plain_seconds = plain_seconds or result.seconds
            table.add_row(
                name,
                f"{statistics.mean(result.accuracies):.2%}",
                f"{statistics.stdev(result.accuracies):.2%}",
                f"{statistics.mean(result.best):.2%}",
                f"{result.seconds / plain_seconds:.2f}",
            )
            console.print(f"{name}: {time.perf_counter() - started:.0f} s", highlight=False)
    console.print(table, highlight=False)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
