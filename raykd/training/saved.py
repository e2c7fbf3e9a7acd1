"""Finished models on disk: weights as safetensors, all else as JSON beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from raykd.config import Lesson, ModelSettings
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.models import Classifier, build_model
from raykd.training.folder import DESCRIPTION, WEIGHTS, description, replacing, write_description
from raykd.training.messages import Report


def save_model(
    folder: Path, network: nn.Module, lesson: Lesson, data: DataInfo, report: Report, views: Sequence[int]
) -> None:
    """Write a finished model into a folder, weights first, description last.

    Args:
        folder: Exists.
        network: The bare network, without normalisation.
        lesson: What it was taught by.
        data: What it was taught with.
        report: Its last report.
        views: The views it saw, in order.
    """
    # Each its own copy: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    with replacing(folder / WEIGHTS) as temporary:
        safetensors.torch.save_file(tensors, temporary)
    content = {
        "lesson": lesson.model_dump(mode="json"),
        "data": asdict(data),
        "metrics": dict(report.metrics),
        "epochs": report.epoch,
        "views": list(views),
    }
    write_description(folder, content)


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> Classifier:
    """A finished model (student or teacher) from its folder, in evaluation mode.

    It takes float images [B, C, H, W] in [0, 1] and gives logits [B, classes]; normalisation is inside.

    Raises:
        RaykdError: there is no finished model in the folder.
    """
    found = description(folder)
    if found is None:
        raise RaykdError(f"no finished model in {folder}: {DESCRIPTION} is missing")
    data = found["data"]
    settings = ModelSettings.model_validate(found["lesson"]["student"])
    network = build_model(settings, num_classes=data["num_classes"], in_channels=data["channels"])
    network.load_state_dict(safetensors.torch.load_file(Path(folder) / WEIGHTS))
    classifier = Classifier(network, mean=data["mean"], std=data["std"], class_names=data["class_names"])
    return classifier.to(device).eval()
