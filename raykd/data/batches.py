"""Batches: the one interface through which training and evaluation see a data set, in memory or streamed.

A view's order is cut into global batches, and each worker takes its contiguous rows of every global batch. Joined over
the workers, the batches are those of a single worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from raykd.data.image_data import ImageData
from raykd.data.memory import InMemoryEvaluation, InMemoryTraining
from raykd.data.plan import Batch, Plan
from raykd.data.streams import StreamedEvaluation, StreamedTraining
from raykd.errors import RaykdError


class TrainingBatches(Protocol):
    """One worker's batches of the training split; made by `training_batches`."""

    @property
    def batch_size(self) -> int:
        """Images of every global batch, over all workers together."""

    @property
    def share(self) -> int:
        """Images of this worker's part of each of them."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the same for every worker."""

    def epoch(self, view_number: int) -> Iterator[Batch]:
        """The batches of one view. Call it for the next epoch only when this one is no longer iterated."""


class EvaluationBatches(Protocol):
    """One worker's batches of a split in its own order; made by `evaluation_batches`."""

    @property
    def sizes(self) -> frozenset[int]:
        """How many images this worker's batches have: one number, or two if the last batch is smaller."""

    def __iter__(self) -> Iterator[Batch]:
        """The batches, any number of times."""


@runtime_checkable
class WholeViews(Protocol):
    """Training batches of images in memory, which can be had in their own order, too."""

    def view(self, view_number: int) -> Iterator[Batch]:
        """All images of a view in the split's own order, each by one of the workers."""


def training_batches(
    data: ImageData, *, batch_size: int, device: torch.device | str = "cpu", rank: int = 0, workers: int = 1
) -> TrainingBatches:
    """Batches of the training split, augmented, for worker ``rank`` of ``workers``.

    The last incomplete global batch of a view is dropped; a set smaller than one batch is itself the only batch.
    Workers' shares differ by at most one row, and each has at least one.

    Args:
        data: The data set; ``data.to(device)`` beforehand lets several callers share one copy on a GPU.
        batch_size: Images of a global batch, over all workers together.
        device: Where the batches go.
        rank: This worker, from 0.
        workers: Number of workers.

    Raises:
        RaykdError: Fewer images in a batch than workers; while iterating: an image file that cannot be decoded.
    """
    size = shared_batch(len(data.split("train")), batch_size, workers)
    plan = Plan(data, "train", size, torch.device(device), rank, workers)
    return StreamedTraining(plan) if data.streamed else InMemoryTraining(plan)


def shared_batch(images: int, batch_size: int, workers: int) -> int:
    """The size of a global batch of a training split of so many images.

    Raises:
        RaykdError: Fewer images in a batch than workers.
    """
    size = min(batch_size, images)
    if size < workers:
        raise RaykdError(
            f"a batch of {size} images cannot be shared by {workers} workers: raise training.batch_size "
            "or lower cluster.workers"
        )
    return size


def evaluation_batches(
    data: ImageData,
    split: str,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    rank: int = 0,
    workers: int = 1,
) -> EvaluationBatches:
    """Batches of a split in its own order, not augmented; they can be iterated any number of times.

    Over all workers every sample appears exactly once, so some workers may get a row or a batch less than others.

    Args:
        data: The data set.
        split: ``train``, ``validation`` or ``test``.
        batch_size: Images of a global batch, over all workers together.
        device: Where the batches go.
        rank: This worker, from 0.
        workers: Number of workers.

    Raises:
        RaykdError: There is no such split; while iterating: an image file that cannot be decoded.
    """
    plan = Plan(data, split, batch_size, torch.device(device), rank, workers)
    return StreamedEvaluation(plan) if data.streamed else InMemoryEvaluation(plan)
