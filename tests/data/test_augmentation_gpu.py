"""Augmentation and mixing on a GPU: `pytest -m gpu`. Without one, each test is skipped with a line."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raykd.config import DataSettings
from raykd.data import WholeViews, load_data, training_batches

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]

ALL: dict[str, Any] = {
    "augment": {"policy": "randaugment", "color_jitter": 0.4, "erasing": 0.5, "resized_crop": 0.3},
    "mixup": 0.4,
    "cutmix": 1.0,
}
TRIVIAL: dict[str, Any] = {"augment": {"policy": "trivialaugment"}}


@pytest.mark.parametrize("settings", [ALL, TRIVIAL], ids=["all", "trivialaugment"])
def test_an_image_is_the_same_in_every_batch_and_nearly_that_of_the_cpu(settings: dict[str, Any]) -> None:
    data = load_data(DataSettings.model_validate({"train_images": 200, "image_size": 32, **settings}))
    one = training_batches(data.to("cuda"), batch_size=30, device="cuda")
    other = training_batches(data.to("cuda"), batch_size=64, device="cuda", rank=1, workers=2)
    assert isinstance(one, WholeViews)
    known = {int(i): image for batch in one.epoch(1) for i, image in zip(batch.indices, batch.pixels, strict=True)}
    for batches in (other.epoch(1), one.view(1)):
        for batch in batches:
            for index, image in zip(batch.indices.tolist(), batch.pixels, strict=True):
                assert index not in known or torch.equal(known[index], image)
    there = [batch.pixels.cpu() for batch in one.epoch(1)]
    here = [batch.pixels for batch in training_batches(data, batch_size=30).epoch(1)]
    # Interpolated values may be rounded to the level beside, and pixels at the edge of a shift may be another's.
    assert ((torch.cat(there) - torch.cat(here)).abs() <= 0.02).float().mean() > 0.99
    batch = next(iter(one.epoch(0)))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
