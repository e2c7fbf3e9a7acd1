"""Every method on the same data, teacher, student and budget, over several seeds.

    python benchmarks/methods.py                                        # digits, some minutes on 2 cores
    python benchmarks/methods.py --data.name fashion_mnist --data.train_images 5000

Each method runs at its published settings, a warm-up scaled to the epochs; none is tuned, so the table says what a user
gets from the defaults, not which method is best. `time of plain` is the shortest epoch of the three students over that
of three plain students; the teacher answers once for all three.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import raykd
from raykd.config import Experiment, TrainingSpec
from raykd.knowledge.methods import METHODS
from raykd.settings_io import override
from raykd.training.classroom import Classroom
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.team import Team

SEEDS = 3
PUBLISHED_EPOCHS = 240
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


def at_published_settings(experiment: Experiment, name: str) -> Experiment:
    """The experiment with a method and what its authors set around it."""
    published = dict(METHODS[name].published)
    warmup = published.get("objective.warmup_epochs", 0)
    published["objective.warmup_epochs"] = round(warmup * experiment.training.epochs / PUBLISHED_EPOCHS)
    return override(experiment, published | {"method.name": name})


def taught(specs: dict[str, TrainingSpec], folder: Path, teacher: Path | None) -> dict[str, tuple[float, float, float]]:
    """Teach students in one class; the last and best accuracy of each, and the seconds of one epoch of the class."""
    classroom = Classroom(Team())
    requests = [
        TrainRequest(name, spec, str(teacher) if teacher else None, str(folder / name)) for name, spec in specs.items()
    ]
    reports = list(classroom.follow(WorkerCommands(enter=tuple(requests))))
    while classroom.seated:
        reports += classroom.follow(WorkerCommands(learn=classroom.seated))
    for report in reports:
        if report.failure or report.diverged:
            raise SystemExit(f"{report.student}: {report.failure or 'diverged'}")
    metrics = {report.student: report.metrics for report in reports}
    seconds = min(report.metrics["seconds"] for report in reports)
    return {
        name: (found["validation_accuracy"], found["best_validation_accuracy"], seconds)
        for name, found in metrics.items()
    }


def outcome(experiment: Experiment, folder: Path, teacher: Path | None) -> Outcome:
    """The students of one method, one a seed, taught in one class."""
    specs = {str(seed): override(experiment, {"training.seed": seed}).training_spec() for seed in range(SEEDS)}
    found = taught(specs, folder, teacher).values()
    return Outcome([last for last, _, _ in found], [best for _, best, _ in found], min(each[2] for each in found))


def main(experiment: Experiment) -> None:
    """Teach every method's students and print the table."""
    # Two threads that wait for each other are slower than one as soon as anything else runs.
    torch.set_num_threads(1)
    console = Console()
    table = Table(title=f"{experiment.data.name}: validation accuracy over {SEEDS} seeds", title_justify="left")
    for heading in ("method", "last epoch", "sd", "best epoch", "time of plain"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        accuracy, _, _ = taught({"teacher": experiment.standard_teacher_spec()}, folder, None)["teacher"]
        console.print(f"teacher {experiment.teacher.model}: {accuracy:.2%}", highlight=False)
        plain_seconds = 0.0
        for name in (*BASELINES, *sorted(METHODS.keys() - set(BASELINES))):
            started = time.perf_counter()
            variant = at_published_settings(experiment, name)
            found = outcome(
                variant, folder / name, folder / "teacher" if variant.training_spec().needs_teacher else None
            )
            plain_seconds = plain_seconds or found.seconds
            table.add_row(
                name,
                f"{statistics.mean(found.accuracies):.2%}",
                f"{statistics.stdev(found.accuracies):.2%}",
                f"{statistics.mean(found.best):.2%}",
                f"{found.seconds / plain_seconds:.2f}",
            )
            console.print(f"{name}: {time.perf_counter() - started:.0f} s", highlight=False)
    console.print(table, highlight=False)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
