"""A student's checkpoint: its state after the last finished epoch, with all of its reports."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor

from raykd.config import TrainingSpec
from raykd.errors import RaykdError
from raykd.storage import below, move, read, write
from raykd.training.folder import CHECKPOINT, PREVIOUS, description
from raykd.training.messages import Report, TrainRequest
from raykd.training.saved import is_whole

logger = logging.getLogger(__name__)

NETWORK = "network"
"""The network's name in a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A student after its last finished epoch.

    - state: state dicts of its network, learned parts, optimizer, learning rate and average of weights, by name
    - views: the views it saw, in order
    - history: its reports
    """

    state: Mapping[str, Any]
    views: Sequence[int]
    history: Sequence[Report]


def write_checkpoint(request: TrainRequest, spec: TrainingSpec, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in the student's folder, in one move."""
    content = {
        "lesson": spec.identity(),
        "state": dict(checkpoint.state),
        "views": list(checkpoint.views),
        "history": [
            {
                "metrics": dict(report.metrics),
                "finished": report.finished,
                "diverged": report.diverged,
                "weights": report.weights,
            }
            for report in checkpoint.history
        ],
    }
    file = io.BytesIO()
    torch.save(content, file)
    move(request.folder, CHECKPOINT, PREVIOUS)
    write(request.folder, CHECKPOINT, file.getvalue())


def stored_checkpoint(folder: str) -> bytes | None:
    """The checkpoint in a student's folder as it is stored, if there is one; where it is damaged, the one before it."""
    return next(filter(None, (_whole(folder, name) for name in (CHECKPOINT, PREVIOUS))), None)


def load_checkpoint(stored: bytes, request: TrainRequest, spec: TrainingSpec, device: torch.device) -> Checkpoint:
    """A stored checkpoint's content.

    Raises:
        RaykdError: It was written with other settings.
    """
    content: dict[str, Any] = torch.load(io.BytesIO(stored), map_location=device, weights_only=True)
    if content["lesson"] != spec.identity():
        raise RaykdError(
            f"{below(request.folder, CHECKPOINT)} was written with other settings than {request.student}'s: "
            "use another study.name, or delete the folder"
        )
    history = [
        Report(student=request.student, ticket=request.ticket, epoch=epoch, **saved)
        for epoch, saved in enumerate(content["history"], start=1)
    ]
    return Checkpoint(content["state"], content["views"], history)


def _whole(folder: str, name: str) -> bytes | None:
    """A file's content; None if there is no such file, or it is damaged."""
    file = read(folder, name)
    if file is None:
        return None
    try:
        with ZipFile(io.BytesIO(file)) as archive:
            # torch does not look at the checksums that it writes.
            whole = archive.testzip() is None
        if whole:
            torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
            return file
    except Exception as error:
        logger.debug("%s", error)  # damage shows in many ways
    logger.warning("%s is damaged: its student goes on from an earlier epoch", below(folder, name))
    return None


def finished_history(request: TrainRequest, spec: TrainingSpec) -> tuple[Report, ...]:
    """The reports of a student whose finished model is in its folder; none of any other.

    A teacher trained elsewhere, or several that teach as one, have a model and no checkpoint; their only report is how
    good they are.

    Raises:
        RaykdError: The checkpoint was written with other settings.
    """
    model = description(request.folder)
    if model is None or not is_whole(request.folder):
        return ()
    stored = stored_checkpoint(request.folder)
    if stored is not None:
        return tuple(load_checkpoint(stored, request, spec, torch.device("cpu")).history)
    if "source" in model or request.members:
        return (Report(request.student, request.ticket, epoch=1, metrics=model["metrics"], finished=True),)
    return ()


def on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same state dict, with its version numbers, in the CPU's memory."""
    for name, tensor in state.items():
        state[name] = tensor.cpu()
    return state
