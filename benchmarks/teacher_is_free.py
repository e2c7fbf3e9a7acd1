"""What an epoch of a distilled student costs, in classes of several sizes, against training it alone without a teacher.

    python benchmarks/teacher_is_free.py

It needs no cluster: the classroom is that of every run. All ways take turns in each round, in one process, so that a
machine that becomes slower for a while slows all of them.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from one_class import STUDENT, TEACHER, train_class, untaught_teacher
from output import Outputs, write_bars, write_json
from rich.console import Console
from rich.table import Table
from torch import Tensor

import raykd
from raykd.settings_io import override
from raykd.training.bank.parts import clear

NOISE = f"{__name__}:noise"
"""The import path of images of CIFAR's shape; what they show does not matter for time."""

DATA: dict[str, dict[str, object]] = {
    "digits": {"data.name": "digits", "data.train_images": 1024, "data.validation_share": 0.1},
    "fashion_mnist": {"data.name": "fashion_mnist", "data.train_images": 1024, "data.validation_share": 0.002},
    "noise": {"data.name": NOISE, "data.train_images": 512, "data.validation_share": 0.1},
}
"""Few images for validation, as it costs the same with and without a teacher."""

EXPERIMENT = raykd.Experiment(
    teacher=raykd.TeacherSettings(model=TEACHER),
    student=STUDENT,
    training=raykd.TrainingSettings(epochs=2, batch_size=64),
    # Written out: recorded figures are of these, whatever the defaults are.
    temperature=raykd.TemperatureSettings(policy="std"),
    bias=raykd.BiasSettings(form="pair"),
)


@dataclass(frozen=True)
class Options(Outputs):
    """Measure the cost of an epoch of a student, against one of the same student alone and without a teacher."""

    data: tuple[str, ...] = tuple(DATA)
    """Of digits, fashion_mnist and noise (images of CIFAR's shape)."""
    classes: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Sizes of the classes."""
    rounds: int = 5
    """How often each way is measured; the medians count."""
    quick: bool = False
    """Only classes of 1 and 8, in one round."""


@dataclass(frozen=True)
class Way:
    """How students are trained: so many in a class, stacked or not, and where a teacher's answers come from.

    - bank: "none" without a teacher, "cold" where its answers are computed and stored, "warm" where they are read
    """

    bank: str
    class_size: int
    stacked: bool

    @property
    def name(self) -> str:
        """With or without a teacher."""
        return "plain" if self.bank == "none" else "kd"

    def __str__(self) -> str:
        size = "alone" if self.class_size == 1 else f"class of {self.class_size}{', stacked' if self.stacked else ''}"
        return f"{self.name}, {size}" + ("" if self.bank == "none" else f", bank {self.bank}")


@dataclass(frozen=True)
class Row:
    """A way's cost: `ratio` is that of plain training alone; `seconds` of one student's epoch."""

    data: str
    way: str
    class_size: int
    stacked: bool
    bank: str
    seconds: float
    ratio: float


def noise() -> tuple[Tensor, Tensor]:
    """Random images [1200, 3, 32, 32] of ten classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1200, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.arange(1200) % 10


def ways(classes: tuple[int, ...]) -> Iterator[Way]:
    """All ways, plain training alone first."""
    for bank in ("none", "cold", "warm"):
        for size in classes:
            yield Way(bank, size, stacked=False)
            if size > 1:
                yield Way(bank, size, stacked=True)


def seconds_of(way: Way, experiment: raykd.Experiment, folder: Path, teacher: Path) -> float:
    """Seconds of one student's last epoch; the first one warms up."""
    specs = {}
    for seed in range(way.class_size):
        settings = {"training.seed": seed, "training.stacking": "on" if way.stacked else "off"}
        spec = override(experiment, settings).training_spec()
        specs[str(seed)] = spec.without_teacher() if way.bank == "none" else spec
    if way.bank == "cold":
        clear(str(teacher))
    last = train_class(specs, folder, None if way.bank == "none" else teacher)[-1]
    assert last.metrics["banked"] == (way.bank != "none")
    assert last.metrics["stack_size"] == (way.class_size if way.stacked else 1)
    return last.metrics["seconds"] / way.class_size


def measure(data: str, classes: tuple[int, ...], rounds: int) -> list[Row]:
    """All ways on one data set."""
    experiment = override(EXPERIMENT, DATA[data])
    seconds: dict[Way, list[float]] = {way: [] for way in ways(classes)}
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as path:
        folder = Path(path)
        teacher = untaught_teacher(experiment, folder)
        for number in range(rounds):
            for place, (way, known) in enumerate(seconds.items()):
                known.append(seconds_of(way, experiment, folder / f"{number}-{place}", teacher))
    medians = {way: statistics.median(known) for way, known in seconds.items()}
    base = next(iter(medians.values()))
    return [
        Row(data, way.name, way.class_size, way.stacked, way.bank, median, median / base)
        for way, median in medians.items()
    ]


def main(options: Options) -> None:
    """Measure, print the table, and write the rows."""
    # Two threads that wait for each other are slower than one as soon as anything else runs.
    torch.set_num_threads(1)
    console = Console()
    classes, rounds = ((1, 8), 1) if options.quick else (options.classes, options.rounds)
    rows = [row for data in options.data for row in measure(data, classes, rounds)]
    table = Table(title="Cost of a student's epoch; plain training alone is 1.00", title_justify="left")
    table.add_column("way")
    for data in options.data:
        table.add_column(data, justify="right")
    for way in ways(classes):
        key = (way.bank, way.class_size, way.stacked)
        found = [row for row in rows if (row.bank, row.class_size, row.stacked) == key]
        table.add_row(str(way), *(f"{row.ratio:.2f}" for row in found))
    console.print(table, highlight=False)
    write_json(rows, options.json)
    series = {
        data: {str(Way(row.bank, row.class_size, row.stacked)): row.ratio for row in rows if row.data == data}
        for data in options.data
    }
    write_bars(series, "Cost of a student's epoch, divided by that of plain training alone", options.plot)


if __name__ == "__main__":
    main(tyro.cli(Options))
