"""What finished models answer to a split."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from raykd.data import ImageData, evaluation_batches
from raykd.training.cross_fitting import classes_of, member_folders
from raykd.training.teacher import Teacher

Answers = npt.NDArray[np.int64]
AT_ONCE = 250
"""Images that are looked at at once."""


def answers_to(
    data: ImageData, split: str, folders: Mapping[str, str | Path], most_images: int | None = None
) -> tuple[Answers, dict[str, Answers]]:
    """The labels (N,) of a split's images, and the classes (N,) that each model answers, by its name.

    Each sees the images as it did when it was trained, or as was said of a given teacher. Teachers that teach as one
    answer by the mean of their probabilities.

    Args:
        data: The images.
        split: One of its splits.
        folders: Of the finished models, by name; a pickled network's is the teacher cache's.
        most_images: The first so many images; None: all.

    Raises:
        RaykdError: there is no finished model in a folder, or it is for other classes or channels.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = {
        name: [Teacher(member, data.info, None, device) for member in member_folders(folder) or [str(folder)]]
        for name, folder in folders.items()
    }
    # Images that are read from files are read once for all that want them in the same size.
    sights: list[tuple[ImageData, list[str]]] = []
    for name, (first, *_) in models.items():
        seen = data.seen_as(first.info)
        together = next((names for known, names in sights if known.info == seen.info), None)
        if together is None:
            sights.append((seen, [name]))
        else:
            together.append(name)
    labels: list[torch.Tensor] = []
    answers: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    for seen, names in sights:
        batches = evaluation_batches(seen, split, batch_size=AT_ONCE, device=device)
        labels.clear()
        for batch in islice(batches, None if most_images is None else most_images // AT_ONCE):
            labels.append(batch.labels.cpu())
            for name in names:
                answers[name].append(classes_of([each.teach(batch).logits for each in models[name]]).cpu())
    return torch.cat(labels).numpy(), {name: torch.cat(parts).numpy() for name, parts in answers.items()}
