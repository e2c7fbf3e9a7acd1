"""A student's checkpoint: its state after the last finished epoch, with all of its reports."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from zipfile import ZipFile

import torch

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

    - state: state dicts of its network, learned parts, optimizer and learning rate, by name
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


def read_checkpoint(request: TrainRequest, spec: TrainingSpec, device: torch.device) -> Checkpoint | None:
    """The checkpoint in the student's folder, if there is one; where it is damaged, that of the epoch before.

    Raises:
        RaykdError: It was written with other settings.
    """
    content = _content(request.folder, CHECKPOINT, device)
    if content is None:
        content = _content(request.folder, PREVIOUS, device)
    if content is None:
        return None
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


def _content(folder: str, name: str, device: torch.device) -> dict[str, Any] | None:
    """What a file holds; None if there is none, or it is damaged."""
    file = read(folder, name)
    if file is None:
        return None
    try:
        with ZipFile(io.BytesIO(file)) as archive:
            # torch does not look at the checksums that it writes.
            whole = archive.testzip() is None
        if whole:
            return cast(dict[str, Any], torch.load(io.BytesIO(file), map_location=device, weights_only=True))
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
    checkpoint = read_checkpoint(request, spec, torch.device("cpu"))
    if checkpoint is None and ("source" in model or request.members):
        return (Report(request.student, request.ticket, epoch=1, metrics=model["metrics"], finished=True),)
    return () if checkpoint is None else tuple(checkpoint.history)
