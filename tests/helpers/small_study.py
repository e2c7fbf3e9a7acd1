"""A study that takes seconds, and networks that misbehave on demand."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from raykd import (
    ClusterSettings,
    DataSettings,
    Experiment,
    ModelSettings,
    ObjectiveSettings,
    StudySettings,
    TeacherSettings,
    TemperatureSettings,
    TrackingSettings,
    TrainingSettings,
)

SPACE = """
temperature.multiplier: {low: 0.5, high: 4.0, log: true}
bias.form: {choices: [pair, swap]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: pair}}
"""


def small_experiment(folder: Path, space: str = SPACE, trials: int = 6, **sections: object) -> Experiment:
    """A study of 300 digits below a folder; `sections` replace those of the experiment."""
    file = folder / "space.yaml"
    file.write_text(space)
    experiment = Experiment(
        data=DataSettings(name="digits", train_images=300),
        teacher=TeacherSettings(
            model=ModelSettings(name="resnet8", arguments={"width": 0.5}),
            training=TrainingSettings(epochs=3, batch_size=30, decay="cosine"),
            cache=folder / "cache",
        ),
        student=ModelSettings(name="resnet8", arguments={"width": 0.25}),
        training=TrainingSettings(epochs=4, batch_size=30, decay="cosine"),
        objective=ObjectiveSettings(ce_weight=1.0, kd_weight=1.0),
        temperature=TemperatureSettings(policy="std", multiplier=1.0),
        study=StudySettings(
            name="small",
            output=folder / "outputs",
            space=str(file),
            trials=trials,
            start=("experiment",),
            scheduler="auto",
            finalists=0,
        ),
        cluster=ClusterSettings(classrooms=1, seats=2, threads_per_worker=1),
        tracking=TrackingSettings(timeout_seconds=30.0, system_seconds=1.0),
    )
    return experiment.model_copy(update=sections)


def quiet_console() -> tuple[Console, StringIO]:
    """A console, and what it has shown."""
    shown = StringIO()
    return Console(file=shown, width=120), shown


def hang() -> None:
    """Never return."""
    while True:
        time.sleep(3600)


def break_device() -> None:
    """Raise what torch raises where a GPU has failed."""
    raise torch.AcceleratorError("CUDA error: unspecified launch failure\nreported later")


FAULTS: dict[str, Callable[[], None]] = {
    "hangs": hang,
    "dies": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "device": break_device,
}
"""What may befall a `Fragile`, by the name of the file that asks for it."""


class Fragile(nn.Module):
    """A linear network whose process comes to grief in the second epoch that it sees, once for each file it finds."""

    def __init__(self, features: int, num_classes: int, folder: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(features, num_classes))
        self.folder = Path(folder)
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training
        for name, fault in FAULTS.items() if self.passes == 13 else ():
            if (self.folder / name).exists():
                (self.folder / name).unlink()
                fault()
        logits: Tensor = self.layers(images)
        return logits


def fragile(num_classes: int, in_channels: int, folder: str) -> nn.Module:
    """Builds a `Fragile` for digits."""
    return Fragile(64 * in_channels, num_classes, folder)


def deadly(num_classes: int, in_channels: int, file: str) -> nn.Module:
    """A linear network that kills its process whenever it is built there, as long as the file exists."""
    if Path(file).exists() and "RayTrainWorker" in title_of_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))


def title_of_process() -> str:
    """What Ray calls this process."""
    return Path("/proc/self/cmdline").read_bytes().decode(errors="replace")


def picky(num_classes: int, in_channels: int, mood: str, mended: str = "") -> nn.Module:
    """A linear network that refuses to be built in a bad mood, unless the file `mended` exists."""
    if mood == "bad" and not (mended and Path(mended).exists()):
        raise ValueError("not today")
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))
