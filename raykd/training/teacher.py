"""A frozen teacher, and the knowledge that it gives for a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from raykd.data import Batch, DataInfo
from raykd.errors import RaykdError
from raykd.knowledge import captured
from raykd.models import Classifier, folded
from raykd.training.folder import description
from raykd.training.saved import as_described, load_cached_model, weights_digest


def autocast(device: torch.device, precision: torch.dtype | None) -> AbstractContextManager[object]:
    """A context of autocast to `precision`, or one that does nothing."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)


@dataclass(frozen=True)
class Knowledge:
    """What a teacher gives for a batch: logits [B, classes], and the features of its hint layers, by name."""

    logits: Tensor
    hints: dict[str, Tensor]


class Teacher:
    """A frozen teacher: one forward pass a batch for all of its students.

    It belongs to no student, so it stays in evaluation mode and out of checkpoints and optimizers.

    Args:
        folder: Of the finished model; a path or URL.
        info: The data that it teaches.
        precision: Of its forward passes, see `autocast`.
        device: Where it runs.

    Attributes:
        folder, precision: As given.
        info: The data as it sees them.

    Raises:
        RaykdError: There is no finished model, or it is for other classes or channels.
    """

    def __init__(self, folder: str, info: DataInfo, precision: torch.dtype | None, device: torch.device) -> None:
        classifier = load_cached_model(folder).requires_grad_(False)
        if len(classifier.class_names) != info.num_classes:
            raise RaykdError(
                f"the teacher in {folder} knows {len(classifier.class_names)} classes, "
                f"but {info.name} has {info.num_classes}"
            )
        if classifier.mean.numel() != info.channels:
            raise RaykdError(
                f"the teacher in {folder} sees images of {classifier.mean.numel()} channels, "
                f"but those of {info.name} have {info.channels}"
            )
        # A teacher with the same normalisation shares the normalised batch; any other normalises the pixels itself.
        expected = [torch.tensor(values).view(-1, 1, 1) for values in (info.mean, info.std)]
        self._same_normalisation = all(map(torch.equal, [classifier.mean, classifier.std], expected))
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self._classifier: Classifier = classifier.to(device, memory_format=layout)  # type: ignore[call-overload]
        self.folder = folder
        self.precision = precision
        self.info = as_described(description(folder) or {}, info)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of all that decides its answers: weights, normalisation and layers."""
        content = f"{weights_digest(self._classifier.state_dict())}{self._classifier}"
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def network(self) -> nn.Module:
        """The bare network, whose layers give hints."""
        return self._classifier.network

    @torch.no_grad()
    def teach(self, batch: Batch, layers: Sequence[str] = ()) -> Knowledge:
        """Its knowledge of a batch, with the hints of these layers."""
        with autocast(batch.images.device, self.precision), captured(self.network, layers) as hints:
            logits: Tensor = self.network(self._inputs(batch))
        return Knowledge(logits, hints)

    @torch.no_grad()
    def answer(self, batch: Batch) -> Tensor:
        """Its logits [B, classes] for a batch, by fewer operations; they differ by rounding from those of `teach`."""
        with autocast(batch.images.device, self.precision):
            logits: Tensor = self._folded(self._inputs(batch))
        return logits

    def classify(self, batch: Batch) -> Tensor:
        """Its classes [B] of a batch of held-out images."""
        return self.teach(batch).logits.argmax(1)

    @cached_property
    def _folded(self) -> nn.Module:
        return folded(self.network)

    def _inputs(self, batch: Batch) -> Tensor:
        """The batch as it was normalised in the teacher's own training."""
        if self._same_normalisation and self._classifier.size in (None, tuple(batch.images.shape[2:])):
            return batch.images
        return self._classifier.inputs(batch.pixels)
