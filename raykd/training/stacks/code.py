"""The compiled pass of stacks of one architecture and size."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from raykd.training.compiled.function import CompiledFunction
from raykd.training.stacks.mixed_precision import autocast_under_vmap

Tensors = dict[str, Tensor]


def pass_stacked(network: nn.Module, parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
    """Logits [slots, B, classes] for images [B, C, H, W], by a network's code and stacked tensors [slots, ...]."""

    def slot(parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        with autocast_under_vmap(images.device):
            logits: Tensor = functional_call(network, (parameters, buffers), (images,))
        return logits

    logits: Tensor = vmap(slot, in_dims=(0, 0, None))(parameters, buffers, images)
    return logits


class StackCode:
    """What stacks of the same architecture and size share; only one of them is open at a time.

    Args:
        network: Any of the networks.
        whose: See `CompiledFunction`.
        device: See `CompiledFunction`.

    Attributes:
        function: The compiled function.
        memory: The stacked tensors, by name: CUDA graphs work on the addresses at which they were recorded.
    """

    def __init__(self, network: nn.Module, whose: str, device: torch.device) -> None:
        self.function = CompiledFunction(pass_stacked, whose, device)
        self.memory: Tensors = {}
        # Compiled code holds for the module it was compiled with, and stacks begin with one network or another.
        self._network = deepcopy(network)

    def keep(self) -> None:
        """Let CUDA graphs rely on the addresses of the stacked tensors, once these are there."""
        for tensor in self.memory.values():
            torch._dynamo.mark_static_address(tensor)

    def train(self, mode: bool) -> None:
        """Set the pass to that of training or of evaluation."""
        self._network.train(mode)

    def __call__(self, parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        """See `pass_stacked`."""
        return self.function(self._network, parameters, buffers, images)
