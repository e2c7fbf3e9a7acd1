"""Images a second of one distillation: raykd, torchdistill, and the loop that papers publish.

    pip install torchdistill
    python benchmarks/single_run.py

The same networks, batches, augmentation, loss and optimizer; one thread for all networks. The loop and torchdistill
read through a DataLoader with processes of its own, as usual; raykd needs none. All ways take turns in each round.
raykd's seconds include its evaluation of a few images, its reports and its checkpoint after each epoch; the others have
none of these.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import tyro
from one_class import STUDENT, TEACHER, train_class, untaught_teacher
from output import Outputs, write_bars, write_json
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

import raykd
from raykd.data import DataInfo, load_data
from raykd.data.image_data import ArraySplit
from raykd.models import build_model
from raykd.settings_io import override
from raykd.training.bank.parts import clear
from raykd.training.saved import load_model

EXPERIMENT = raykd.Experiment(
    teacher=raykd.TeacherSettings(model=TEACHER),
    student=STUDENT,
    training=raykd.TrainingSettings(epochs=2, batch_size=64, stacking="off"),
    objective=raykd.ObjectiveSettings(ce_weight=0.1, kd_weight=0.9),
    method=raykd.MethodSettings(name="kd"),
    temperature=raykd.TemperatureSettings(policy="constant", value=4.0),
    bias=raykd.BiasSettings(form="keep"),
)
DATA: dict[str, dict[str, object]] = {
    "digits": {"data.name": "digits", "data.train_images": 1152, "data.validation_share": 0.05},
    "fashion_mnist": {"data.name": "fashion_mnist", "data.train_images": 2048, "data.validation_share": 0.001},
}
NOT_THERE = "torchdistill is not installed (pip install torchdistill): left out"


@dataclass(frozen=True)
class Options(Outputs):
    """Measure images a second of one distillation, in raykd and elsewhere."""

    data: tuple[str, ...] = tuple(DATA)
    """Of digits and fashion_mnist."""
    rounds: int = 5
    """How often each way is measured; the medians count."""
    loader_processes: int = 2
    """Of the loop's and torchdistill's DataLoader."""
    quick: bool = False
    """Three rounds of digits only."""


@dataclass(frozen=True)
class Row:
    """A way's speed; `ratio` is that of the loop's images a second."""

    data: str
    way: str
    images_per_second: float
    ratio: float
    seconds: list[float] = field(default_factory=list)


class Images(Dataset[tuple[Tensor, int]]):
    """Training images under torchvision's transforms, one by one."""

    def __init__(self, split: ArraySplit, info: DataInfo) -> None:
        flips = [v2.RandomHorizontalFlip()] if info.horizontal_flip else []
        self._split = split
        self._transform = v2.Compose(
            [
                v2.ToPILImage(),
                v2.RandomCrop((info.height, info.width), padding=info.crop_padding),
                *flips,
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(info.mean, info.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._split.images[index]), int(self._split.labels[index])


@dataclass(frozen=True)
class Setting:
    """What all ways share."""

    experiment: raykd.Experiment
    teacher: Path
    images: Images
    info: DataInfo
    processes: int

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """The frozen teacher and a fresh student."""
        torch.manual_seed(0)
        student = build_model(
            self.experiment.student, num_classes=self.info.num_classes, in_channels=self.info.channels
        )
        return load_model(self.teacher).network.requires_grad_(False), student

    @property
    def loader(self) -> dict[str, Any]:
        """Arguments of the DataLoader."""
        size = self.experiment.training.batch_size
        alive = self.processes > 0
        return {"batch_size": size, "num_workers": self.processes, "drop_last": True, "persistent_workers": alive}

    @property
    def optimizer(self) -> dict[str, Any]:
        """Arguments of SGD."""
        settings = self.experiment.training
        return {
            "lr": settings.learning_rate,
            "momentum": settings.momentum,
            "weight_decay": settings.weight_decay,
        }


def loop(setting: Setting) -> Iterator[None]:
    """The loop of papers; each step of the generator is an epoch."""
    teacher, student = setting.networks()
    batches = DataLoader(setting.images, shuffle=True, **setting.loader)
    optimizer = torch.optim.SGD(student.parameters(), **setting.optimizer)
    while True:
        student.train()
        for images, labels in batches:
            with torch.no_grad():
                answers = teacher(images)
            logits = student(images)
            soft = F.kl_div((logits / 4).log_softmax(1), (answers / 4).softmax(1), reduction="batchmean")
            loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * 16 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


def torchdistill(setting: Setting) -> Iterator[None]:
    """torchdistill's own box, configured as its examples are; each step of the generator is an epoch."""
    from torchdistill.core.distillation import DistillationBox

    teacher, student = setting.networks()
    sampler = {"class_or_func": RandomSampler}
    logits = {"student_module_path": ".", "student_module_io": "output"}
    logits |= {"teacher_module_path": ".", "teacher_module_io": "output"}
    kd = {"criterion": {"key": "KDLoss", "kwargs": {**logits, "temperature": 4.0, "alpha": 0.1}}, "weight": 1.0}
    config = {
        "num_epochs": 1,
        "train_data_loader": {"dataset_id": "train", "sampler": sampler, "kwargs": setting.loader},
        "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only"},
        "student": {"requires_grad": True, "forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": setting.optimizer},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": kd}}},
    }
    box = DistillationBox(
        teacher, student, {"train": setting.images}, config, torch.device("cpu"), None, distributed=False, lr_factor=1
    )
    epoch = 0
    while True:
        box.pre_epoch_process(epoch=epoch)
        for images, labels, extra in box.train_data_loader:
            box.post_forward_process(loss=box.forward_process(images, labels, extra))
        box.post_epoch_process()
        epoch += 1
        yield


def in_raykd(setting: Setting, bank: str, folder: Path) -> float:
    """Seconds of the second of two epochs in raykd's class of one."""
    mode = {"bank.mode": "off" if bank == "off" else "on"}
    if bank == "cold":
        clear(str(setting.teacher))
    spec = override(setting.experiment, mode).training_spec()
    return train_class({"student": spec}, folder, setting.teacher)[-1].metrics["seconds"]


def seconds_of(epochs: Iterator[None]) -> float:
    """Seconds of an epoch."""
    started = time.perf_counter()
    next(epochs)
    return time.perf_counter() - started


def measure(data: str, options: Options, rounds: int, console: Console) -> list[Row]:
    """All ways on one data set."""
    experiment = override(EXPERIMENT, DATA[data])
    images = load_data(experiment.data)
    split = images.split("train")
    assert isinstance(split, ArraySplit)
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as path:
        folder = Path(path)
        teacher = untaught_teacher(experiment, folder)
        setting = Setting(experiment, teacher, Images(split, images.info), images.info, options.loader_processes)
        others: dict[str, Iterator[None]] = {"loop": loop(setting)}
        if find_spec("torchdistill"):
            others["torchdistill"] = torchdistill(setting)
        else:
            console.print(NOT_THERE)
        ways: dict[str, Callable[[Path], float]] = {
            name: lambda _, epochs=epochs: seconds_of(epochs) for name, epochs in others.items()
        }
        for name, bank in {
            "raykd, live teacher": "off",
            "raykd, bank cold": "cold",
            "raykd, bank warm": "warm",
        }.items():
            ways[name] = partial(in_raykd, setting, bank)
        for epochs in others.values():
            next(epochs)  # starts the loader's processes
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for place, (name, way) in enumerate(ways.items()):
                seconds[name].append(way(folder / f"{number}-{place}"))
        for epochs in others.values():
            epochs.close()  # type: ignore[attr-defined]
    size = experiment.training.batch_size
    count = len(split) // size * size
    speeds = {name: count / statistics.median(known) for name, known in seconds.items()}
    return [Row(data, name, speed, speed / speeds["loop"], seconds[name]) for name, speed in speeds.items()]


def main(options: Options) -> None:
    """Measure, print the table, and write the rows."""
    torch.set_num_threads(1)
    console = Console()
    data, rounds = (("digits",), 3) if options.quick else (options.data, options.rounds)
    rows = [row for name in data for row in measure(name, options, rounds, console)]
    table = Table(title="One distillation: images a second, and how many times the loop's", title_justify="left")
    table.add_column("way")
    for name in data:
        table.add_column(name, justify="right")
    for way in dict.fromkeys(row.way for row in rows):
        found = [row for row in rows if row.way == way]
        table.add_row(way, *(f"{row.images_per_second:,.0f} ({row.ratio:.2f})" for row in found))
    console.print(table, highlight=False)
    write_json(rows, options.json)
    series = {
        way: {row.data: row.ratio for row in rows if row.way == way} for way in dict.fromkeys(r.way for r in rows)
    }
    write_bars(series, "Images a second of one distillation, divided by the loop's", options.plot)


if __name__ == "__main__":
    main(tyro.cli(Options))
