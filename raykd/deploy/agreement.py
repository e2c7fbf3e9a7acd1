"""Whether an exported file answers as the model does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from raykd.config import DataSettings
from raykd.data import evaluation_batches, load_data
from raykd.deploy.formats import Answers
from raykd.errors import RaykdError
from raykd.models import Classifier

BATCH_SIZES = (1, 2, 7, 64)
MOST_IMAGES, READ_AT_ONCE = 512, 64


@dataclass(frozen=True)
class Images:
    """What an export is checked on.

    - pixels: float32 (N, C, H, W) in [0, 1], on the CPU
    - origin: where they come from, for people
    """

    pixels: Tensor
    origin: str


@dataclass(frozen=True)
class Agreement:
    """How an exported file's answers compare with the model's.

    - largest_difference: of any logit
    - largest_logit: of the model, without sign; differences are judged against it
    - equal_answers: share of the images whose most likely class is the same
    """

    largest_difference: float
    largest_logit: float
    equal_answers: float

    @property
    def relative(self) -> float:
        """The largest difference in units of the largest logit."""
        return self.largest_difference / self.largest_logit if self.largest_logit else self.largest_difference


def images_for(model_description: Mapping[str, Any]) -> Images:
    """Validation images of a model's data set where it is at hand, else random ones.

    Args:
        model_description: The model's description.
    """
    shape = tuple(model_description["data"][name] for name in ("channels", "height", "width"))
    try:
        settings = DataSettings.model_validate(model_description["lesson"].get("data"))
        data = load_data(settings.model_copy(update={"loader_processes": 0}))
        batches = evaluation_batches(data, "validation", batch_size=READ_AT_ONCE)
        pixels = [batch.pixels for batch in islice(batches, MOST_IMAGES // READ_AT_ONCE)]
    except ValidationError:
        reason = "nobody knows the settings of its data"
    except RaykdError as error:
        reason = str(error).splitlines()[0]
    else:
        images = torch.cat(pixels)
        if tuple(images.shape[1:]) == shape:
            return Images(images, f"{len(images)} validation images of {data.info.name}")
        reason = f"{data.info.name} has images of another shape now"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * sum(BATCH_SIZES), *shape, generator=generator)
    return Images(images, f"{len(images)} random images, for its data is not at hand ({reason})")


def agreement(model: Classifier, exported: Answers, pixels: Tensor) -> Agreement:
    """Ask both for the images, in batches of all of `BATCH_SIZES` in turn.

    Args:
        model: In evaluation mode, on the CPU.
        exported: What was read from the file.
        pixels: float32 (N, C, H, W) in [0, 1]; N at least the sum of the batch sizes has every size tried.

    Raises:
        RaykdError: The file gives other shapes than the model.
    """
    sizes = cycle(BATCH_SIZES)
    differences, logits, equal = [], [], []
    start = 0
    with torch.no_grad():
        while start < len(pixels):
            batch = pixels[start : start + next(sizes)]
            start += len(batch)
            wanted, given = model(batch), exported(batch)
            if given.shape != wanted.shape:
                raise RaykdError(
                    f"the exported file gives {tuple(given.shape)} for {len(batch)} images, "
                    f"where the model gives {tuple(wanted.shape)}"
                )
            differences.append((given - wanted).abs().max())
            logits.append(wanted.abs().max())
            equal.append(given.argmax(1) == wanted.argmax(1))
    return Agreement(
        largest_difference=torch.stack(differences).max().item(),
        largest_logit=torch.stack(logits).max().item(),
        equal_answers=torch.cat(equal).double().mean().item(),
    )
