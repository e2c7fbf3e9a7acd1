"""Finished models and studies in their folders, without the cluster that makes them."""

from __future__ import annotations

from pathlib import Path

import optuna
import torch
from torch import nn
from torch.nn import functional as F

from raykd.config import DataSettings, Experiment, ModelSettings, StudySettings, TrackingSettings, TrainingSpec
from raykd.data import ImageData, load_data, training_batches
from raykd.models import build_model
from raykd.places import JOURNAL, SETTINGS
from raykd.results.load import recorded_study
from raykd.saved_settings import save_experiment
from raykd.search.optuna_study import open_study
from raykd.study.folder import remember_trained_teacher
from raykd.training.folder import description, write_description
from raykd.training.messages import Report
from raykd.training.saved import save_model, weights_digest

DIGITS = DataSettings(name="digits")
HALF = ModelSettings(name="resnet8", arguments={"width": 0.5})


def trained(settings: ModelSettings, data: ImageData, epochs: int, seed: int = 0) -> nn.Module:
    """A network that learnt a data set's labels by a plain loop."""
    torch.manual_seed(seed)
    network = build_model(settings, num_classes=data.info.num_classes, in_channels=data.info.channels)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    batches = training_batches(data, batch_size=64)
    for epoch in range(epochs):
        for batch in batches.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(network(batch.images), batch.labels).backward()
            optimizer.step()
    return network.eval()


def finished_model(
    folder: Path,
    network: nn.Module,
    settings: ModelSettings,
    data: ImageData,
    accuracy: float,
    images: DataSettings = DIGITS,
) -> Path:
    """Put a network into a folder as a classroom does; `images` are the settings of the data."""
    folder.mkdir(parents=True)
    spec = TrainingSpec(data=images, student=settings)
    digest = weights_digest(network.state_dict())
    told = {"validation_accuracy": accuracy, "best_validation_accuracy": accuracy, "best_epoch": 1.0}
    report = Report(student="student", ticket=0, epoch=1, metrics=told, finished=True, weights=digest)
    save_model(folder, network, spec, data.info, report, views=[0])
    return folder


def finished_study(
    output: Path, tracking: TrackingSettings, network: nn.Module | None = None, images: DataSettings = DIGITS
) -> Experiment:
    """A study of one finished trial, whose best student is kept; nothing of it is logged to MLflow yet."""
    data = load_data(images)
    experiment = Experiment(
        data=images,
        student=HALF,
        study=StudySettings(name="small", output=output),
        tracking=tracking,
    )
    experiment.folder.mkdir(parents=True)
    save_experiment(experiment, experiment.folder / SETTINGS)
    study = open_study(experiment.folder / JOURNAL, "small", 0, trials=1)
    range_ = optuna.distributions.FloatDistribution(0.5, 4.0)
    attributes = {"best_validation_accuracy": 0.9, "best_epoch": 1, "seconds": 1.0}
    study.add_trial(
        optuna.trial.create_trial(
            value=0.9,
            params={"temperature.multiplier": 1.5},
            distributions={"temperature.multiplier": range_},
            intermediate_values={1: 0.9},
            user_attrs=attributes,
        )
    )
    network = network or trained(HALF, data, epochs=0)
    finished_model(experiment.folder / "trials" / "trial-0000", network, HALF, data, 0.9, images)
    teacher = finished_model(output / "teacher", trained(HALF, data, epochs=0, seed=1), HALF, data, 0.95, images)
    told = description(teacher)
    assert told is not None
    remember_trained_teacher(experiment.folder, told | {"folder": str(teacher)})
    recorded_study(experiment.folder).result.keep_best(experiment.folder)
    return experiment


def without_data(folder: Path) -> None:
    """Let a model's data set be one that is not on this machine."""
    told = description(folder)
    assert told is not None
    told["lesson"]["data"] |= {"name": "cifar10", "root": "/nowhere"}
    write_description(folder, told)
