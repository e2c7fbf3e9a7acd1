"""The stack: students of one architecture whose networks pass a batch as one network with one more dimension.

A class of small networks is bound by the number of operations, not by arithmetic; stacked, K networks need as many as
one. Only the passes are shared: losses, optimizer, metrics and checkpoint stay each student's own. What one slot
computes does not depend on the others' values, only on the stack's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from raykd.knowledge import captured
from raykd.training.compiled.rehearsal import loss_of
from raykd.training.stacks.batch_norm import fast_batch_norms
from raykd.training.stacks.code import StackCode, Tensors
from raykd.training.stacks.mixed_precision import autocast_under_vmap


class Stack:
    """Networks of equal modules and shapes; while `open`, their parameters and buffers are slices of stacked ones.

    Each network's optimizer and state dict work as always, since slices are written in place.

    Args:
        networks: By slot. The first one lends its code to all.
        layers: Names of the layers whose features are kept; see `raykd.knowledge.captured`.
        code: The compiled pass of such stacks, which keeps no features. None: it is not compiled.
    """

    def __init__(
        self, networks: Sequence[nn.Module], layers: Sequence[str] = (), code: StackCode | None = None
    ) -> None:
        self._networks = tuple(networks)
        self._layers = layers
        self._code = code
        self._parameters: Tensors = {}
        self._buffers: Tensors = {}
        # Looked up once: by name it would take longer than the optimizers.
        self._slots = {
            name: [network.get_parameter(name) for network in self._networks]
            for name, _ in self._networks[0].named_parameters()
        }

    @property
    def size(self) -> int:
        """The number of slots."""
        return len(self._networks)

    @property
    def is_compiled(self) -> bool:
        """Whether its pass is compiled, as far as is known."""
        return self._code is not None and self._code.function.works

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Join the tensors of all networks, and part them at the end, however it comes."""
        # A slice would keep the whole stack alive, be saved with it, and have lost its memory layout.
        own = [
            (tensor, tensor.data)
            for network in self._networks
            for tensor in (*network.parameters(), *network.buffers())
        ]
        memory: Tensors = {} if self._code is None else self._code.memory
        self._parameters = _join([dict(network.named_parameters()) for network in self._networks], memory)
        self._buffers = _join([dict(network.named_buffers()) for network in self._networks], memory)
        for parameter in self._parameters.values():
            parameter.requires_grad_()
        if self._code is not None:
            self._code.keep()
        try:
            # Compiled, batch norms are as fast by vmap's own rule.
            with fast_batch_norms(self._networks[0]) if self._code is None else nullcontext():
                yield self
        finally:
            self.zero_grad()
            for tensor, before in own:
                tensor.data = before.copy_(tensor.data)
                tensor.grad = None

    def __call__(self, images: Tensor) -> list[tuple[Tensor, Tensors]]:
        """Pass images [B, C, H, W] through all networks: by slot the logits [B, classes], and the layers' features.

        Raises:
            RuntimeError: The network cannot be stacked: it draws random numbers, or looks at values.
        """
        if self._code is not None:
            return [(logits, {}) for logits in self._code(self._parameters, self._buffers, images).unbind()]
        logits, features = vmap(self._forward, in_dims=(0, 0, None))(self._parameters, self._buffers, images)
        parted = {name: feature.unbind() for name, feature in features.items()}
        return [
            (each, {name: slots[slot] for name, slots in parted.items()}) for slot, each in enumerate(logits.unbind())
        ]

    def logits(self, images: Tensor) -> list[Tensor]:
        """The logits [B, classes] of all networks for images [B, C, H, W], by slot."""
        return [logits for logits, _ in self(images)]

    def train(self, mode: bool = True) -> None:
        """Set all networks to training or evaluation."""
        for network in self._networks:
            network.train(mode)
        if self._code is not None:
            self._code.train(mode)

    def _forward(self, parameters: Tensors, buffers: Tensors, images: Tensor) -> tuple[Tensor, Tensors]:
        network = self._networks[0]
        with captured(network, self._layers) as features, autocast_under_vmap(images.device):
            logits: Tensor = functional_call(network, (parameters, buffers), (images,))
        return logits, features

    def zero_grad(self) -> None:
        """Forget the gradients of all networks."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @property
    def gradients(self) -> list[Tensor]:
        """After a backward pass, those of all networks: [slots, *shape of the parameter]."""
        return [parameter.grad for parameter in self._parameters.values() if parameter.grad is not None]

    def hand_out_gradients(self) -> None:
        """Give every network's parameters their gradients, after a backward pass."""
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                for own, gradient in zip(self._slots[name], parameter.grad.unbind(), strict=True):
                    own.grad = gradient


def reason_against(networks: Sequence[nn.Module], images: Tensor, layers: Sequence[str] = ()) -> str | None:
    """Why networks cannot be stacked; None: they can. Copies of two of them are passed forth and back, and their
    answers compared with those that each gives alone.

    Args:
        networks: Two or more, of one architecture, in training mode.
        images: Some of what they see, [B, C, H, W].
        layers: See `Stack`.
    """
    stacked, alone = ([deepcopy(network) for network in networks[:2]] for _ in range(2))
    try:
        with Stack(stacked, layers).open() as stack:
            answers = stack.logits(images)
            loss_of(answers).backward()  # type: ignore[no-untyped-call]
            for logits, network in zip(answers, alone, strict=True):
                expected = network(images)
                if logits.dtype != expected.dtype:
                    return f"its answers are {expected.dtype} alone and {logits.dtype} stacked"
                # Wide: it is to find another computation, not another rounding.
                tolerance = 0.01 if logits.dtype == torch.float32 else 0.1
                if not torch.allclose(logits, expected, rtol=tolerance, atol=tolerance):
                    return "its answers are not the same alone and stacked"
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


@torch.no_grad()
def _join(slots: Sequence[Mapping[str, Tensor]], memory: Tensors) -> Tensors:
    """Stack tensors by name, in the memory of those that were stacked before, and make those of each slot slices."""
    joined = {name: torch.stack([tensors[name] for tensors in slots], out=memory.get(name)) for name in slots[0]}
    memory |= joined
    for slot, tensors in enumerate(slots):
        for name, tensor in tensors.items():
            tensor.data = joined[name][slot]
    return joined
