"""Batch norms of a stack: the slots' channels side by side, in one call with weights and biases.

vmap's own rule normalises first, and multiplies and adds in calls of their own, which takes about twice the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d)


@contextmanager
def fast_batch_norms(network: nn.Module) -> Iterator[None]:
    """Let a network's batch norms be computed so while it is passed under vmap, one slot for each set of tensors."""
    chosen = [module for module in network.modules() if _suits(module)]
    for module in chosen:
        module.forward = partial(_forward, module)
    try:
        yield
    finally:
        for module in chosen:
            del module.forward


def _suits(module: nn.Module) -> bool:
    if not isinstance(module, KINDS) or type(module) not in KINDS:
        return False  # a subclass may compute something else
    return module.affine and module.track_running_stats and module.momentum is not None


def _forward(module: Any, images: Tensor) -> Tensor:
    if module.training:
        module.num_batches_tracked.add_(1)
    normalised: Tensor = _BatchNorm.apply(
        images,
        module.weight,
        module.bias,
        module.running_mean,
        module.running_var,
        module.training,
        module.momentum,
        module.eps,
    )
    return normalised


class _BatchNorm(torch.autograd.Function):
    """Only its rule for vmap is used, which autograd looks into."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        raise NotImplementedError("used under vmap only")

    @staticmethod
    def setup_context(*arguments: Any) -> None:
        """Nothing is saved."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, int]:
        """Normalise images [B, slots, C, ...] as [B, slots * C, ...]; all other tensors are [slots, C]."""
        slots = (
            images.unsqueeze(1).expand(-1, info.batch_size, *images.shape[1:])
            if in_dims[0] is None
            else (images.movedim(in_dims[0], 1))
        )
        # Views: running statistics are updated in place.
        mean, variance, weight, bias = (tensor.view(-1) for tensor in (mean, variance, weight, bias))
        normalised = F.batch_norm(slots.flatten(1, 2), mean, variance, weight, bias, training, momentum, eps)
        return normalised.view(slots.shape), 1
