"""The exponential moving average (EMA) of a network's weights, which is judged and kept instead of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from raykd.training.checkpoint import NETWORK, on_cpu

AVERAGE = "average"
"""The name of an average of weights in a checkpoint."""


class WeightAverage:
    """The moving average of a network's weights, with one update a step of the optimizer.

    Its decay rises to the one that is asked for, see `decay_at`. Running statistics, such as those of batch norms, are
    averaged like weights (as by torchvision's and timm's trainers); what counts in whole numbers is copied.

    Args:
        network: The network in training. The average begins with its weights.
        decay: Share of the average that a step keeps, in (0, 1).

    Attributes:
        network: The same network with the averaged weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self._source = network
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's weights in, after a step of the optimizer."""
        decay = decay_at(self._steps, self._decay)
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._steps += 1
        mine, theirs = [], []
        for own, other in zip(_tensors(self.network), _tensors(self._source), strict=True):
            if own.is_floating_point() or own.is_complex():
                mine.append(own)
                theirs.append(other)
            else:
                own.copy_(other)
        average(mine, theirs, self._steps)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averaged weights, in the memory of its own, as long as this is open."""
        with torch.no_grad():
            places = _tensors(self._source)
            before = [tensor.clone() for tensor in places]
            _copy(_tensors(self.network), places)
        try:
            yield
        finally:
            with torch.no_grad():
                _copy(before, places)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes; the weights are in the CPU's memory."""
        return {NETWORK: on_cpu(self.network.state_dict()), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.network.load_state_dict(state[NETWORK])
        self._steps = state["steps"]


def decay_at(step: int, decay: float) -> float:
    """The decay of a step, from 0: min(decay, (1 + step) / (10 + step)).

    Without it the initial weights would stay in the average of a short training. It is that of TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``.
    """
    return min(decay, (1 + step) / (10 + step))


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _copy(sources: list[Tensor], places: list[Tensor]) -> None:
    for source, place in zip(sources, places, strict=True):
        place.copy_(source)
