"""What finished models answer to a split."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raykd.data import ImageData, evaluation_batches
from raykd.training.cross_fitting import classes_of, member_folders
from raykd.training.saved import load_model

Answers = npt.NDArray[np.int64]
AT_ONCE = 250
"""Images that are looked at at once."""


def answers_to(
    data: ImageData, split: str, folders: Mapping[str, str | Path], most_images: int | None = None
) -> tuple[Answers, dict[str, Answers]]:
    """The labels (N,) of a split's images, and the classes (N,) that each model answers, by its name.

    Teachers that teach as one answer by the mean of their probabilities.

    Args:
        data: The images.
        split: One of its splits.
        folders: Of the finished models, by name.
        most_images: The first so many images; None: all.

    Raises:
        RaykdError: there is no finished model in a folder.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = {
        name: [load_model(member, device) for member in member_folders(folder) or [str(folder)]]
        for name, folder in folders.items()
    }
    labels: list[Any] = []
    answers: dict[str, list[Any]] = {name: [] for name in models}
    batches = evaluation_batches(data, split, batch_size=AT_ONCE, device=device)
    with torch.inference_mode():
        for batch in islice(batches, None if most_images is None else most_images // AT_ONCE):
            labels.append(batch.labels.cpu().numpy())
            for name, members in models.items():
                answers[name].append(classes_of([member(batch.pixels) for member in members]).cpu().numpy())
    return np.concatenate(labels), {name: np.concatenate(batches) for name, batches in answers.items()}
