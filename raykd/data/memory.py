"""Batches of images that live in memory as uint8 on the device, augmented there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from raykd.data.image_data import ArraySplit
from raykd.data.plan import Batch, Plan
from raykd.data.views import augment

PIECE_IMAGES, PIECE_PIXELS = 256, 2**22
"""The most images, and their pixels, that a network answers at once outside training."""


class InMemoryTraining:
    """The `TrainingBatches` of in-memory images."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._split = _on_device(plan)

    @property
    def batch_size(self) -> int:
        """Images of every global batch."""
        return self._plan.batch_size

    @property
    def share(self) -> int:
        """Images of this worker's part of each of them."""
        return self._plan.share

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self._plan.full_batches

    def epoch(self, view_number: int) -> Iterator[Batch]:
        """The batches of one view."""
        order = self._plan.view(view_number).order().to(self._plan.device)
        return self._batches(view_number, self._plan.training_shares(order))

    def view(self, view_number: int) -> Iterator[Batch]:
        """All images of a view in the split's own order, each by one of the workers.

        The pieces depend on nothing but the images, so that a network's answers to them are the same to the bit for
        every batch size and number of workers.
        """
        plan, info = self._plan, self._plan.data.info
        size = max(min(PIECE_IMAGES, PIECE_PIXELS // (info.height * info.width)), 1)
        pieces = torch.split(torch.arange(len(self._split), device=plan.device), size)
        return self._batches(view_number, pieces[plan.rank :: plan.workers])

    def _batches(self, view_number: int, shares: Iterable[Tensor]) -> Iterator[Batch]:
        plan, info = self._plan, self._plan.data.info
        view = plan.view(view_number)
        # Whole tables move once an epoch; then a batch is a few indexing operations on the device.
        flips = view.flips() if info.horizontal_flip else view.no_flips()
        offsets, flips = view.offsets(info.crop_padding).to(plan.device), flips.to(plan.device)
        for rows in shares:
            images = augment(self._split.images[rows], offsets[rows], flips[rows], info.crop_padding)
            yield plan.batch(images, self._split.labels[rows], rows)


class InMemoryEvaluation:
    """Batches of a split of in-memory images, in its own order; may be iterated again and again."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._split = _on_device(plan)
        self._shares = [rows.to(plan.device) for rows in plan.evaluation_shares()]

    @property
    def sizes(self) -> frozenset[int]:
        """How many images this worker's batches have: one number, or two if the last batch is smaller."""
        return frozenset(map(len, self._shares))

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self._shares:
            yield self._plan.batch(self._split.images[rows], self._split.labels[rows], rows)


def _on_device(plan: Plan) -> ArraySplit:
    split = plan.data.split(plan.split)
    assert isinstance(split, ArraySplit)
    return split.to(plan.device)
