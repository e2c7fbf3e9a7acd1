"""Finished models that are damaged, made again from their students' checkpoints without a classroom."""

from __future__ import annotations

import torch

from raykd.data import DataInfo
from raykd.models import build_model
from raykd.training.checkpoint import NETWORK, load_checkpoint, stored_checkpoint
from raykd.training.messages import TrainRequest
from raykd.training.saved import is_whole, save_model


def repaired(request: TrainRequest, info: DataInfo) -> bool:
    """Make the model of a student that has finished whole again, if it is not; whether it is whole now.

    Args:
        request: The student's.
        info: The data that it was trained on.

    Raises:
        RaykdError: its checkpoint was written with other settings.
    """
    if is_whole(request.folder):
        return True
    stored = stored_checkpoint(request.folder)
    if stored is None:
        return False
    checkpoint = load_checkpoint(stored, request, request.spec, torch.device("cpu"))
    if not checkpoint.history[-1].finished:
        return False
    fresh = request.spec.student.model_copy(update={"weights": None})
    with torch.random.fork_rng(devices=[]):
        network = build_model(fresh, num_classes=info.num_classes, in_channels=info.channels)
    network.load_state_dict(checkpoint.state[NETWORK])
    *earlier, last = checkpoint.history
    save_model(request.folder, network, request.spec, info, last, checkpoint.views, earlier)
    return True
