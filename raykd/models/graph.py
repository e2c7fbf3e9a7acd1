"""Networks that come as a graph of operations, without the code that they were written in."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor, nn


class Graph(nn.Module):
    """A network as `torch.export` saved it: it answers as in the mode in which it was exported, and has no layers.

    Takes and returns what the exported network did. It can be pickled, which torch's own form of it cannot.

    Args:
        file: Content of the .pt2 file.
    """

    def __init__(self, file: bytes) -> None:
        super().__init__()
        self.file = file
        self.graph = torch.export.load(io.BytesIO(file)).module()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W)."""
        logits: Tensor = self.graph(images)
        return logits

    def train(self, mode: bool = True) -> Graph:
        """Keep the graph's one mode; the method of torch's exported modules raises."""
        self.training = mode
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.file,)
