"""What of a student is trained."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from raykd.training.compiled.alone import Alone


class Learner(nn.Module):
    """All that is trained: a student's network, and the learned parts of its method, which do not affect its logits.

    Args:
        network: The bare network.
        parts: The method's.

    Attributes:
        alone: The network's compiled pass; None: it passes batches as it is. No part of the state, and no module.
    """

    def __init__(self, network: nn.Module, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.parts = nn.ModuleList(parts)
        self.alone: Alone | None = None

    def forward(self, images: Tensor) -> Tensor:
        """The network's logits [B, classes] for images [B, C, H, W]."""
        logits: Tensor = self.network(images) if self.alone is None else self.alone(images)
        return logits
