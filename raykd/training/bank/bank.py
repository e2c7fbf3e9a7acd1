"""A teacher's answers to whole views: read from the bank, or computed and stored there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from raykd.config import BankSettings
from raykd.data import DataInfo, WholeViews
from raykd.training.bank.parts import Parts
from raykd.training.cross_fitting import AnyTeacher
from raykd.training.team import Team

logger = logging.getLogger(__name__)

FORMAT = 1
"""Raise it when the same teacher, images and view get other logits than before."""
GIB = 2**30


class Bank:
    """One teacher's logits for the views of one training set.

    The answers to a view are computed from its images in the split's own order, so they depend neither on who computes
    them nor on batch sizes, and a student is taught the same whether they were stored before or not.

    Args:
        settings: Precision and budget.
        teacher: Whose answers they are.
        images: The training images.
        info: Their description.
        team: The classroom's workers: they share the computing, and the first one reads and writes.
    """

    def __init__(
        self, settings: BankSettings, teacher: AnyTeacher, images: WholeViews, info: DataInfo, team: Team
    ) -> None:
        self._settings = settings
        self._teacher = teacher
        self._images = images
        self._team = team
        self._augmented = is_augmented(info)
        self._shape = (info.split_sizes["train"], info.num_classes)
        self._info = info
        self._known: tuple[int, Tensor] | None = None

    def answers(self, view: int) -> Tensor:
        """The teacher's logits [N, classes] for a view's images, float32, on the device."""
        view = view if self._augmented else 0
        if self._known is None or self._known[0] != view:
            stored = self._read(view)
            self._known = view, self._compute(view)[0] if stored is None else stored
        return self._known[1]

    def store(self, view: int) -> bool:
        """Store the answers to a view, unless whole ones are there; return whether they are stored now."""
        view = view if self._augmented else 0
        return self._read(view) is not None or self._compute(view)[1]

    @cached_property
    def _parts(self) -> Parts:
        """Used by the first worker alone: no other needs the teacher's digest, for which all its weights are hashed."""
        return Parts(self._teacher.folder, about(self._settings, self._teacher, self._info, self._team.device))

    def _read(self, view: int) -> Tensor | None:
        stored = self._parts.read(view) if self._team.rank == 0 else None
        if stored is not None and stored.shape != self._shape:
            stored = None
        if not self._team.broadcast(stored is not None if self._team.rank == 0 else None):
            return None
        # Files show up on one node before the other, so the others get what the first one has read.
        answers = torch.zeros(self._shape) if stored is None else stored.float()
        return self._team.sum(answers.to(self._team.device))

    def _compute(self, view: int) -> tuple[Tensor, bool]:
        """The answers to a view, and whether this worker has stored them."""
        answers = torch.zeros(self._shape, device=self._team.device)
        for batch in self._team.watch.each(self._images.view(view)):
            answers[batch.indices] = self._teacher.answer(batch).float()
        answers = self._team.sum(answers)
        kept = in_precision(answers, self._settings)
        stored = False
        if self._team.rank == 0:
            error = float((answers - kept).abs().max())
            stored = self._parts.write(view, kept.cpu(), error, self._settings.budget * GIB)
        return kept.float(), stored


def in_precision(logits: Tensor, settings: BankSettings) -> Tensor:
    """Logits [N, classes] as they are stored: in float16 where the settings say so and none is too large for it."""
    if settings.precision == "float16":
        rounded = logits.half()
        if rounded.isfinite().all():
            return rounded
        logger.warning("logits beyond 65,504 are stored in float32")
    return logits


def about(settings: BankSettings, teacher: AnyTeacher, info: DataInfo, device: torch.device) -> dict[str, Any]:
    """All that decides a teacher's stored answers."""
    return {
        "format": FORMAT,
        "teacher": teacher.digest,
        "autocast": str(teacher.precision),
        "device": device.type,
        **about_views(settings, info),
    }


def about_views(settings: BankSettings, info: DataInfo) -> dict[str, Any]:
    """What of it is known without the teacher: the views, and the precision of the answers to them."""
    # Resized crops are interpolated, and what is erased gets the mean colour.
    augmentation: dict[str, Any] = dict(info.augmentation.in_use())
    if augmentation:
        augmentation |= {"interpolation": info.interpolation, "mean": info.mean}
    return {
        "data": info.name,
        "images": info.fingerprint,
        "view_seed": info.seed if is_augmented(info) else None,
        "crop_padding": info.crop_padding,
        "horizontal_flip": info.horizontal_flip,
        "precision": settings.precision,
        # Left out where there is none: stored answers are found by what was known of them.
        **({"augmentation": augmentation} if augmentation else {}),
    }


def is_augmented(info: DataInfo) -> bool:
    """Whether the views of a data set differ in more than their order."""
    return info.crop_padding > 0 or info.horizontal_flip or bool(info.augmentation.in_use())


@dataclass(frozen=True)
class BankSize:
    """What a training of some epochs would have stored, for one teacher.

    - views: whose answers differ
    - view_size: bytes of the logits for one of them
    - fitting: how many of them fit into the budget
    """

    views: int
    view_size: int
    fitting: int

    @classmethod
    def of(cls, settings: BankSettings, info: DataInfo, epochs: int) -> BankSize:
        """The size for these images."""
        views = epochs if is_augmented(info) else 1
        view_size = info.split_sizes["train"] * info.num_classes * (2 if settings.precision == "float16" else 4)
        return cls(views, view_size, min(views, int(settings.budget * GIB / view_size)))
