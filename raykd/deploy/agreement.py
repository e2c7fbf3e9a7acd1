"""Whether an exported file gives the same logits as the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor

from raykd.config import DataSettings
from raykd.data import evaluation_batches, load_data
from raykd.deploy.formats import Predictor
from raykd.errors import RaykdError
from raykd.models import Classifier
from raykd.settings_errors import SettingsError

BATCH_SIZES = (1, 2, 7, 64)
MOST_IMAGES, READ_AT_ONCE = 512, 64


@dataclass(frozen=True)
class Images:
    """Images on which an exported file is compared with the model.

    - pixels: float32 (N, C, H, W) in [0, 1], on the CPU
    - origin: description of where they come from
    """

    pixels: Tensor
    origin: str


@dataclass(frozen=True)
class Agreement:
    """How the logits of an exported file differ from the model's.

    - largest_difference: largest absolute difference of two logits
    - largest_logit: largest absolute logit of the model
    - equal_answers: share of the images for which both predict the same class
    """

    largest_difference: float
    largest_logit: float
    equal_answers: float

    @property
    def relative(self) -> float:
        """The largest difference in units of the largest logit."""
        return self.largest_difference / self.largest_logit if self.largest_logit else self.largest_difference


def images_for(model_description: Mapping[str, Any]) -> Images:
    """Validation images of a model's data set, or random images where the data set is not available.

    Args:
        model_description: Content of the model's model.json.
    """
    shape = tuple(model_description["data"][name] for name in ("channels", "height", "width"))
    try:
        settings = DataSettings.model_validate(model_description["lesson"].get("data"))
        data = load_data(settings.model_copy(update={"loader_processes": 0}))
        batches = evaluation_batches(data, "validation", batch_size=READ_AT_ONCE)
        pixels = [batch.pixels for batch in islice(batches, MOST_IMAGES // READ_AT_ONCE)]
    except SettingsError:
        reason = "the settings of its data set are not known"
    except RaykdError as error:
        reason = str(error).splitlines()[0]
    else:
        images = torch.cat(pixels)
        if tuple(images.shape[1:]) == shape:
            return Images(images, f"{len(images)} validation images of {data.info.name}")
        reason = f"{data.info.name} has images of another shape now"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * sum(BATCH_SIZES), *shape, generator=generator)
    return Images(images, f"{len(images)} random images, as its data set is not available ({reason})")


def agreement(model: Classifier, exported: Predictor, pixels: Tensor) -> Agreement:
    """Compare the logits of an exported file with the model's, in batches of all sizes in `BATCH_SIZES` in turn.

    Args:
        model: In evaluation mode, on the CPU.
        exported: The exported file, read again.
        pixels: float32 (N, C, H, W) in [0, 1]; every batch size is tried if N is at least their sum.

    Raises:
        RaykdError: The shapes of the file's logits are not those of the model's.
    """
    sizes = cycle(BATCH_SIZES)
    differences, logits, equal = [], [], []
    start = 0
    with torch.no_grad():
        while start < len(pixels):
            batch = pixels[start : start + next(sizes)]
            start += len(batch)
            expected, actual = model(batch), exported(batch)
            if actual.shape != expected.shape:
                raise RaykdError(
                    f"the exported file gives {tuple(actual.shape)} for {len(batch)} images, "
                    f"where the model gives {tuple(expected.shape)}"
                )
            differences.append((actual - expected).abs().max())
            logits.append(expected.abs().max())
            equal.append(actual.argmax(1) == expected.argmax(1))
    return Agreement(
        largest_difference=torch.stack(differences).max().item(),
        largest_logit=torch.stack(logits).max().item(),
        equal_answers=torch.cat(equal).double().mean().item(),
    )
