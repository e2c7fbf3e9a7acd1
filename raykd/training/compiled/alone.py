"""A network that passes batches by itself, through a function that may be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from raykd.training.compiled.function import CompiledFunction

Pass = Callable[[nn.Module, Tensor], Tensor]


def pass_alone(network: nn.Module, images: Tensor) -> Tensor:
    """A network's logits [B, classes] for images [B, C, H, W]."""
    logits: Tensor = network(images)
    return logits


class Alone:
    """A network and the function by which it passes batches.

    Args:
        network: The network.
        function: The function; it may be shared by all networks of one architecture.
        memory: Where the network's parameters and buffers are while it is `open`; filled by the first that is. CUDA
            graphs work on the addresses at which they were recorded, and recording again costs time and memory.
    """

    def __init__(self, network: nn.Module, function: Pass = pass_alone, memory: list[Tensor] | None = None) -> None:
        self._network = network
        self._function = function
        self._memory = [] if memory is None else memory

    @property
    def is_compiled(self) -> bool:
        """Whether the function is compiled, as far as is known."""
        return isinstance(self._function, CompiledFunction) and self._function.works

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Move the network's tensors into the memory, and back at the end, however it comes."""
        tensors = [*self._network.parameters(), *self._network.buffers()]
        own = [tensor.data for tensor in tensors]
        if not self._memory:
            self._memory += map(torch.empty_like, own)
        for tensor, data, place in zip(tensors, own, self._memory, strict=True):
            tensor.data = place.copy_(data)
        try:
            yield self
        finally:
            for tensor, data in zip(tensors, own, strict=True):
                tensor.data = data.copy_(tensor.data)
                tensor.grad = None

    def __call__(self, images: Tensor) -> Tensor:
        """The network's logits [B, classes] for images [B, C, H, W]."""
        return self._function(self._network, images)

    def logits(self, images: Tensor) -> list[Tensor]:
        """The same, as a stack of one would give them."""
        return [self(images)]

    def train(self, mode: bool = True) -> None:
        """Set the network to training or evaluation."""
        self._network.train(mode)

    def zero_grad(self) -> None:
        """Forget the network's gradients."""
        self._network.zero_grad()
