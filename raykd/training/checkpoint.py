"""A student's checkpoint: its state after the last finished epoch, with all of its reports."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from raykd.config import TrainingSpec
from raykd.errors import RaykdError
from raykd.storage import below, read, write
from raykd.training.folder import CHECKPOINT, description
from raykd.training.messages import Report, TrainRequest


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
    write(request.folder, CHECKPOINT, file.getvalue())


def read_checkpoint(request: TrainRequest, spec: TrainingSpec, device: torch.device) -> Checkpoint | None:
    """The checkpoint in the student's folder, if there is one.

    Raises:
        RaykdError: It was written with other settings.
    """
    file = read(request.folder, CHECKPOINT)
    if file is None:
        return None
    content = torch.load(io.BytesIO(file), map_location=device, weights_only=True)
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


def finished_history(request: TrainRequest, spec: TrainingSpec) -> tuple[Report, ...]:
    """The reports of a student whose finished model is in its folder; none of any other.

    A teacher trained elsewhere, or several that teach as one, have a model and no checkpoint; their only report is how
    good they are.

    Raises:
        RaykdError: The checkpoint was written with other settings.
    """
    model = description(request.folder)
    if model is None:
        return ()
    checkpoint = read_checkpoint(request, spec, torch.device("cpu"))
    if checkpoint is None and ("source" in model or request.members):
        return (Report(request.student, request.ticket, epoch=1, metrics=model["metrics"], finished=True),)
    return () if checkpoint is None else tuple(checkpoint.history)
