"""Batches of images that live in memory as uint8 on the device, augmented there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from raykd.data.augmented_images import AugmentedImages
from raykd.data.image_data import ArraySplit
from raykd.data.plan import Batch, Plan

PIECE_IMAGES, PIECE_PIXELS = 256, 2**22
"""The most images, and their pixels, that a network answers at once outside training."""
AT_ONCE_IMAGES, AT_ONCE_PIXELS = 2**12, 2**24
"""The most images, and their pixels, that are augmented at once where that is faster than batch by batch."""


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
        order = self._plan.view(view_number).order()
        return self._batches(view_number, list(self._plan.training_shares(order)))

    def view(self, view_number: int) -> Iterator[Batch]:
        """All images of a view in the split's own order, each by one of the workers.

        The pieces depend on nothing but the images, so that a network's answers to them are the same to the bit for
        every batch size and number of workers.
        """
        plan = self._plan
        pieces = torch.split(torch.arange(len(self._split)), self._most(PIECE_IMAGES, PIECE_PIXELS))
        return self._batches(view_number, pieces[plan.rank :: plan.workers])

    def _batches(self, view_number: int, shares: Sequence[Tensor]) -> Iterator[Batch]:
        plan = self._plan
        augmented = AugmentedImages(self._split.images, plan.data.info, plan.view(view_number))
        mixing = plan.mixing(view_number)
        there = None if mixing is None else mixing.to(plan.device)
        # On a GPU, rows that move to the device together cost one copy.
        together = augmented.grouped or plan.device.type == "cuda"
        for some in _joined(shares, self._most(AT_ONCE_IMAGES, AT_ONCE_PIXELS) if together else 1):
            rows = torch.cat(some)
            needed, places = (rows, rows) if mixing is None else mixing.with_partners(rows)
            images, sizes = augmented(needed), list(map(len, some))
            parts = (images[: len(rows)], *(each.to(plan.device, non_blocking=True) for each in (rows, places)))
            for own, indices, partners in zip(*(torch.split(part, sizes) for part in parts), strict=True):
                labels = self._split.labels
                mixed = None if there is None else there.partners_of(indices, images[partners], labels)
                yield plan.batch(own, labels[indices], indices, mixed)

    def _most(self, images: int, pixels: int) -> int:
        """How many images of this size are no more than so many, and have no more than so many pixels."""
        info = self._plan.data.info
        return max(min(images, pixels // (info.height * info.width)), 1)


def _joined(shares: Sequence[Tensor], most: int) -> Iterator[list[Tensor]]:
    """The shares in order, as many at once as have no more than so many rows together; at least one."""
    some: list[Tensor] = []
    for share in shares:
        if some and sum(map(len, some)) + len(share) > most:
            yield some
            some = []
        some.append(share)
    if some:
        yield some


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
