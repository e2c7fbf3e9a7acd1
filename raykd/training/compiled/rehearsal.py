"""Rehearsals: copies of networks pass made-up batches forth and back, to learn whether a way of passing works."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from raykd.data import DataInfo
from raykd.data.plan import as_pixels
from raykd.training.compiled.function import first_line
from raykd.training.teacher import autocast

PASSES = 3
"""The first pass of a compiled function may only warm up, the second records a CUDA graph, the third runs it."""


class Passing(Protocol):
    """Networks that pass batches in some way: alone or as a stack."""

    def open(self) -> AbstractContextManager[object]:
        """A context in which batches can be passed."""

    def train(self, mode: bool = True) -> None:
        """Set the networks to training or evaluation."""

    def zero_grad(self) -> None:
        """Forget the gradients of the networks."""

    def logits(self, images: Tensor) -> Sequence[Tensor]:
        """Each network's logits [B, classes] for images [B, C, H, W]."""


@dataclass(frozen=True)
class Scene:
    """What networks of a group see: batches of these sizes, and in which precision they pass them.

    - info: the images
    - training, held_out: images of this worker's batches
    - precision: of forward passes, see `autocast`
    - device: where all is
    """

    info: DataInfo
    training: int
    held_out: Iterable[int]
    precision: torch.dtype | None
    device: torch.device

    def images(self, size: int) -> Tensor:
        """Made-up images [size, C, H, W], as in a batch, without drawing random numbers."""
        shape = torch.Size((size, self.info.channels, self.info.height, self.info.width))
        values = torch.linspace(0, 255, shape.numel(), device=self.device).to(torch.uint8)
        return (as_pixels(values.view(shape)) - 0.5) / 0.25

    def autocast(self) -> AbstractContextManager[object]:
        """A context in the precision of forward passes."""
        return autocast(self.device, self.precision)


def reason_against(usual: Passing, other: Passing, scene: Scene) -> str | None:
    """Why copies of the same networks cannot pass batches another way; None: they can; empty: the usual way fails.

    Args:
        usual, other: The two ways, each with copies of its own, which are no longer needed.
        scene: What they see.
    """
    try:
        expected = _answers(usual, scene)
    except Exception:
        return ""  # The networks' own fault, which will show when they learn.
    try:
        answers = _answers(other, scene)
    except Exception as error:
        return first_line(error)
    for answer, one in zip(answers, expected, strict=True):
        # Wide: it is to find another computation, not another rounding.
        tolerance = 0.01 if one.dtype == torch.float32 else 0.1
        if not torch.allclose(answer, one, rtol=tolerance, atol=tolerance, equal_nan=True):
            return "its answers are not the same compiled"
    return None


def loss_of(answers: Sequence[Tensor]) -> Tensor:
    """Some loss of each network's logits, summed, for steps that only try something out."""
    return torch.stack([logits.float().square().mean() for logits in answers]).sum()


def _answers(way: Passing, scene: Scene) -> list[Tensor]:
    """The last logits of all networks for a batch of training, and for those held out."""
    found: list[Tensor] = []
    devices = [scene.device] if scene.device.type == "cuda" else []
    with torch.random.fork_rng(devices), way.open():
        way.train()
        for number in range(PASSES):
            torch.manual_seed(number)
            way.zero_grad()
            with scene.autocast():
                answers = way.logits(scene.images(scene.training))
            loss_of(answers).backward()  # type: ignore[no-untyped-call]
        # Copies: the next pass may overwrite them.
        found += [logits.detach().clone() for logits in answers]
        way.train(False)
        for size in sorted(scene.held_out):
            for _ in range(PASSES):
                with torch.no_grad(), scene.autocast():
                    answers = way.logits(scene.images(size))
            found += [logits.clone() for logits in answers]
    return found
