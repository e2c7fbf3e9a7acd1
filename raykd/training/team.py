"""The workers of one classroom, and how they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch import distributed as dist

from raykd.knowledge import Workers

T = TypeVar("T")

PATIENCE = timedelta(days=365)
"""How long workers wait for the first one's word: as long as the broker has nothing to do for their classroom."""


@runtime_checkable
class Agree(Protocol):
    """A module whose buffers are not averaged over the workers: it knows better what they are worth together."""

    def agree(self, total: Callable[[Tensor], Tensor]) -> None:
        """Make the buffers the same on all workers; `total` is the sum of a tensor over them, on each of them."""
        ...


@dataclass(frozen=True)
class Team:
    """A worker's view of its classroom: its rank, how many workers there are, and its device.

    `talk` is a process group for Python objects on the CPU; NCCL only moves tensors on GPUs.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    talk: Any = None

    @classmethod
    def of_process_group(cls, device: torch.device) -> Team:
        """The team of the initialised default process group, or a team of one."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls(device=device)
        talk = dist.new_group(backend="gloo", timeout=PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), device, talk)

    @property
    def alone(self) -> bool:
        """This worker has no colleagues."""
        return self.count == 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the workers, on each of them; the argument stays as it is."""
        if self.alone:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total

    def agree_on_buffers(self, module: nn.Module) -> None:
        """Average the floating buffers of a module over the workers, but for parts of it that `Agree` by themselves."""
        if self.alone:
            return
        for part in module.modules():
            if isinstance(part, Agree):
                part.agree(self.sum)
                continue
            for buffer in part.buffers(recurse=False):
                if buffer.is_floating_point():
                    buffer.copy_(self.sum(buffer) / self.count)

    def from_first(self, value: T | None) -> T:
        """What the first worker holds, on each of them."""
        box = [value]
        if not self.alone:
            dist.broadcast_object_list(box, src=0, group=self.talk)
        assert box[0] is not None
        return box[0]

    def first_of_all(self, value: T | None) -> T | None:
        """What the first worker that holds something holds: how a fault of one becomes known to all."""
        if self.alone:
            return value
        values: list[T | None] = [None] * self.count
        dist.all_gather_object(values, value, group=self.talk)
        return next((each for each in values if each is not None), None)

    def for_objective(self) -> Workers:
        """What an objective needs to know to average over the whole batch."""
        return Workers(count=self.count, sum=self.sum)
