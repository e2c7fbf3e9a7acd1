"""A network together with what it needs to answer for plain images: the form in which students are exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raykd.resizing import resized


class Classifier(nn.Module):
    """Resizes images if it is told to, normalises them as in training, and applies the network.

    Takes float images (N, C, H, W) in [0, 1], returns logits (N, num_classes).

    Args:
        network: Network for normalised images.
        mean: Mean of each channel, of images in [0, 1].
        std: Standard deviation of each channel.
        class_names: One name a class.
        size: Height and width that images are resized to. None: they come in the size that the network takes.
        interpolation: Of the resizing, see `raykd.resizing`.

    Attributes:
        network: The network.
        mean, std: Buffers (C, 1, 1).
        class_names: Names of the classes, in the order of the logits.
        size, interpolation: As given.
    """

    mean: Tensor
    std: Tensor
    # Of the class as well: those that earlier releases pickled have none of their own.
    size: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        class_names: Sequence[str],
        size: tuple[int, int] | None = None,
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))
        self.class_names = tuple(class_names)
        self.size = size
        self.interpolation = interpolation

    def inputs(self, images: Tensor) -> Tensor:
        """What the network takes, of float images (N, C, H, W) in [0, 1]."""
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            images = resized(images, self.size, self.interpolation).clamp(0, 1)
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) for float images (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.network(self.inputs(images))
        return logits

    def extra_repr(self) -> str:
        """How images are resized, where they are: part of what decides its answers."""
        return "" if self.size is None else f"size={self.size}, interpolation={self.interpolation}"

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Class indices (N,) for float images (N, C, H, W) in [0, 1]; the caller sets ``eval()``."""
        return self(images).argmax(dim=1)  # type: ignore[no-any-return]
