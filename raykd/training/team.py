"""The workers of one classroom, and what they exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch import distributed as dist

from raykd.knowledge import Workers
from raykd.training.watch import Watch

T = TypeVar("T")

OBJECT_TIMEOUT = timedelta(days=365)
"""How long workers wait for an object of the first one: as long as the broker has nothing to do for their classroom."""


@runtime_checkable
class SumsOwnBuffers(Protocol):
    """A module whose buffers are not averaged over the workers: it combines them itself."""

    def agree(self, total: Callable[[Tensor], Tensor]) -> None:
        """Make the buffers equal on all workers; `total` returns the sum of a tensor over them, on each of them."""
        ...


@dataclass(frozen=True)
class Team:
    """A worker's view of its classroom: its rank, the number of workers, and its device.

    `objects` is a process group for Python objects on the CPU; NCCL only moves tensors on GPUs. `watch` is told what
    this worker is at.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    objects: Any = None
    watch: Watch = field(default_factory=Watch)

    @classmethod
    def of_process_group(cls, device: torch.device) -> Team:
        """The team of the initialised default process group, or a team of one."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls(device=device)
        objects = dist.new_group(backend="gloo", timeout=OBJECT_TIMEOUT)
        return cls(dist.get_rank(), dist.get_world_size(), device, objects)

    @property
    def alone(self) -> bool:
        """Whether this is the only worker."""
        return self.count == 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the workers, on each of them; the argument stays as it is."""
        if self.alone:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Average tensors over the workers, in place: one all-reduce for all of them."""
        if self.alone or not tensors:
            return
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(joined)
        joined /= self.count
        for tensor, mean in zip(tensors, torch.split(joined, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def average_buffers(self, module: nn.Module) -> None:
        """Average the floating-point buffers of a module over the workers, except those of `SumsOwnBuffers`."""
        if self.alone:
            return
        buffers: list[Tensor] = []
        for part in module.modules():
            if isinstance(part, SumsOwnBuffers):
                part.agree(self.sum)
            else:
                buffers += [buffer for buffer in part.buffers(recurse=False) if buffer.is_floating_point()]
        self.average(buffers)

    def broadcast(self, value: T | None) -> T:
        """The first worker's value, on each of them; the values of the others are ignored."""
        values = [value]
        if not self.alone:
            dist.broadcast_object_list(values, src=0, group=self.objects)
        assert values[0] is not None
        return values[0]

    def first_given(self, value: T | None) -> T | None:
        """The value of the first worker that has one, on each of them: a fault of one becomes known to all."""
        if self.alone:
            return value
        values: list[T | None] = [None] * self.count
        dist.all_gather_object(values, value, group=self.objects)
        return next((gathered for gathered in values if gathered is not None), None)

    def for_objective(self) -> Workers:
        """What an objective needs to average over the whole batch."""
        return Workers(count=self.count, sum=self.sum)
