"""Networks that tests hand over by import path, ``pupils:NAME``."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from raykd.config import DataSettings
from raykd.data import load_data
from raykd.data.image_data import ArraySplit


class Plain(nn.Module):
    """No normalisation, no dropout: its gradient is a mean over samples, however they are shared out."""

    def __init__(self, num_classes: int, in_channels: int = 1, hidden: int = 24, side: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.hidden = nn.Linear(6 * (side // 2) ** 2, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.max_pool2d(self.conv(images).relu(), 2)
        return self.head(self.hidden(features.flatten(1)).relu())


class Normed(nn.Module):
    """One batch norm, and little else: torch compiles it in seconds."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(images)).relu().mean(dim=(2, 3)))


class WithDropout(Plain):
    """Draws random numbers at every step."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images, 0.3, self.training))


class Tied(Plain):
    """Two layers share one weight."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__(num_classes, in_channels)
        self.again = nn.Linear(24, num_classes)
        self.again.weight = self.head.weight

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.max_pool2d(self.conv(images).relu(), 2)
        return self.again(self.hidden(features.flatten(1)).relu())


class Counting(Plain):
    """Remembers how it was called, and every copy of itself."""

    calls: ClassVar[list[dict[str, object]]] = []
    copies: ClassVar[list[Counting]] = []

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__(num_classes, in_channels)
        self.copies.append(self)

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append({"images": len(images), "training": self.training, "gradient": torch.is_grad_enabled()})
        return super().forward(images)


class Unbuildable(Plain):
    def __init__(self, num_classes: int) -> None:
        raise ValueError("no network today\nnor tomorrow")


class FallsIll(Plain):
    """Learns so many steps, then raises."""

    def __init__(self, num_classes: int, in_channels: int = 1, steps: int = 5) -> None:
        super().__init__(num_classes, in_channels)
        self.steps = steps

    def forward(self, images: Tensor) -> Tensor:
        self.steps -= self.training
        if self.steps < 0:
            raise RuntimeError("feeling unwell")
        return super().forward(images)


class FailsAtExams(Plain):
    """Raises when it is judged."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            raise RuntimeError("lost its nerve")
        return super().forward(images)


ERRORS: dict[str, Exception] = {
    "device": torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nreported later"),
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
}
"""As torch raises them where there is a GPU."""


class _Gradient(torch.autograd.Function):
    """Gives images on, and raises in the backward pass."""

    @staticmethod
    def forward(images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        pass

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        Raises.raise_error("memory")
        return gradient

    @staticmethod
    def vmap(info: object, in_dims: tuple[int | None, ...], images: Tensor) -> tuple[Tensor, int | None]:
        return _Gradient.apply(images), in_dims[0]


class Raises(Plain):
    """Raises an error when it is built, trained or evaluated, as often as `left` says."""

    left: ClassVar[dict[str, int]] = {}

    def __init__(self, num_classes: int, in_channels: int = 1, error: str = "device", when: str = "training") -> None:
        super().__init__(num_classes, in_channels)
        self.error, self.when = error, when
        if when == "building":
            self.raise_error(error)

    @classmethod
    def raise_error(cls, error: str) -> None:
        if cls.left[error]:
            cls.left[error] -= 1
            raise ERRORS[error]

    def forward(self, images: Tensor) -> Tensor:
        if self.when == ("training" if self.training else "evaluating"):
            self.raise_error(self.error)
        logits = super().forward(images)
        return _Gradient.apply(logits) if self.when == "backward" else logits


class Unused(Plain):
    """Two layers take no part in its answers, and a third is not trained."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__(num_classes, in_channels)
        self.spare = nn.Linear(24, 24)
        self.scale = nn.Parameter(torch.ones(1))
        self.frozen = nn.Linear(24, 24).requires_grad_(False)


class MissingOnSecondWorker(Plain):
    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            raise ValueError("not on this node")
        super().__init__(num_classes, in_channels)


class Flat(nn.Module):
    """No convolutions, so no stages."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.head = nn.Linear(64 * in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


def coloured_digits() -> tuple[Tensor, Tensor]:
    """Images of three channels: digits, each channel darker than the one before."""
    split = load_data(DataSettings()).split("train")
    assert isinstance(split, ArraySplit)
    return torch.cat([split.images[:300] // factor for factor in (1, 2, 3)], dim=1), split.labels[:300]


def digits_with_a_single_held_out_image() -> dict[str, tuple[Tensor, Tensor]]:
    """Fewer than two workers can share."""
    split = load_data(DataSettings()).split("train")
    assert isinstance(split, ArraySplit)
    parts = {"train": slice(100), "validation": slice(100, 101), "test": slice(101, 110)}
    return {name: (split.images[rows], split.labels[rows]) for name, rows in parts.items()}
