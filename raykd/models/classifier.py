"""A network together with what it needs to answer for plain images: the form in which students are exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Normalises images as in training, then applies the network.

    Takes float images (N, C, H, W) in [0, 1], returns logits (N, num_classes).

    Args:
        network: Network for normalised images.
        mean: Mean of each channel, of images in [0, 1].
        std: Standard deviation of each channel.
        class_names: One name a class.

    Attributes:
        network: The network.
        mean, std: Buffers (C, 1, 1).
        class_names: Names of the classes, in the order of the logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))
        self.class_names = tuple(class_names)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) for float images (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Class indices (N,) for float images (N, C, H, W) in [0, 1]; the caller sets ``eval()``."""
        return self(images).argmax(dim=1)  # type: ignore[no-any-return]
