"""Which students of a class are stacked: those of one architecture, where a stack is possible and pays."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raykd.config import TrainingSpec
from raykd.data import DataInfo
from raykd.training.build import autocast_type
from raykd.training.stacks.section import Section
from raykd.training.stacks.stack import Stack, loss_of, reason_against
from raykd.training.student import Student
from raykd.training.teacher import autocast
from raykd.training.team import Team

logger = logging.getLogger(__name__)

KNOWN = ("raykd", "timm", "torch", "torchvision")
"""Packages whose modules compute the same whatever else they did before."""
ROUNDS = 3
"""How often both ways are timed; the fastest round of each counts."""


@dataclass(frozen=True)
class _Architecture:
    """What networks must have in common to be stacked: the same code, shapes and kept layers."""

    name: str
    arguments: str
    layers: tuple[str, ...]

    @classmethod
    def of(cls, student: Student) -> _Architecture:
        model = student.spec.student
        return cls(model.name, json.dumps(model.arguments, sort_keys=True, default=str), student.layers)


class Stacking:
    """Divides the students of a group into sections. What was found out about an architecture is kept.

    Args:
        spec: Of any student of the group; its batch size and precision are those of all.
        info: The images.
        team: The classroom's workers. The first one decides for all.
    """

    def __init__(self, spec: TrainingSpec, info: DataInfo, team: Team) -> None:
        self._team = team
        self._precision = autocast_type(spec.training, team.device)
        share = max(spec.training.batch_size // team.count, 2)
        self._shape = (share, info.channels, info.height, info.width)
        self._possible: dict[_Architecture, bool] = {}
        self._faster: dict[_Architecture, bool] = {}

    def sections(self, students: Sequence[Student]) -> list[Section]:
        """Divide the students of a class for their next epoch."""
        together: dict[_Architecture, list[Student]] = {}
        sections = []
        for student in students:
            if student.stack_place is not None:
                sections.append(self._as_it_was(student, *student.stack_place))
            elif student.spec.training.stacking == "off":
                sections.append(self._alone(student))
            else:
                together.setdefault(_Architecture.of(student), []).append(student)
        for architecture, members in together.items():
            if len(members) > 1 and self._pays(architecture, members):
                stack = Stack([member.network for member in members], architecture.layers)
                sections.append(Section(dict(enumerate(members)), stack, self._precision, self._team))
            else:
                sections += map(self._alone, members)
        return sections

    def _as_it_was(self, student: Student, size: int, slot: int) -> Section:
        """A student in a slot of a stack of copies: what a slot computes depends on the size, not on the others."""
        if size == 1:
            return self._alone(student)
        networks = [student.network if each == slot else deepcopy(student.network) for each in range(size)]
        return Section({slot: student}, Stack(networks, student.layers), self._precision, self._team)

    def _alone(self, student: Student) -> Section:
        return Section({0: student}, None, self._precision, self._team)

    def _pays(self, architecture: _Architecture, students: Sequence[Student]) -> bool:
        networks = [student.network.train() for student in students]
        forced = all(student.spec.training.stacking == "on" for student in students)
        if not forced and not _is_known(networks[0]):
            return False
        if architecture not in self._possible:
            reason = self._team.broadcast(self._reason_against(networks, architecture) if self._is_first else None)
            self._possible[architecture] = not reason
            if reason and self._is_first:
                logger.warning("students of %s are not stacked: %s", architecture.name, reason)
        if not self._possible[architecture]:
            return False
        if forced:
            return True
        if architecture not in self._faster:
            faster = self._is_faster(networks, architecture.layers) if self._is_first else None
            self._faster[architecture] = self._team.broadcast(faster)
        return self._faster[architecture]

    @property
    def _is_first(self) -> bool:
        return self._team.rank == 0

    def _reason_against(self, networks: Sequence[nn.Module], architecture: _Architecture) -> str:
        """Why they cannot be stacked; empty if they can."""
        with autocast(self._team.device, self._precision):
            return reason_against(networks, self._images(), architecture.layers) or ""

    def _is_faster(self, networks: Sequence[nn.Module], layers: Sequence[str]) -> bool:
        """Whether a stack passes a batch forth and back in less time than its networks one after the other."""
        images = self._images()
        alone, stacked = ([deepcopy(network) for network in networks] for _ in range(2))
        with autocast(self._team.device, self._precision), Stack(stacked, layers).open() as stack:

            def each_alone() -> None:
                for network in alone:
                    loss_of([network(images)]).backward()  # type: ignore[no-untyped-call]

            def together() -> None:
                loss_of([logits for logits, _ in stack(images)]).backward()  # type: ignore[no-untyped-call]

            try:
                # In turn: a machine that becomes slower for a while slows both. The first round warms up.
                rounds = [(self._seconds(each_alone), self._seconds(together)) for _ in range(1 + ROUNDS)][1:]
            except torch.OutOfMemoryError:  # a stack keeps the activations of all its networks at once
                return False
        return min(after for _, after in rounds) < min(before for before, _ in rounds)

    def _seconds(self, step: Callable[[], None]) -> float:
        started = time.perf_counter()
        step()
        if self._team.device.type == "cuda":
            torch.cuda.synchronize(self._team.device)
        return time.perf_counter() - started

    def _images(self) -> Tensor:
        """Made up, and without drawing random numbers."""
        count = torch.Size(self._shape).numel()
        return torch.linspace(-2.0, 2.0, count, device=self._team.device).view(self._shape)


def _is_known(network: nn.Module) -> bool:
    """Whether all modules are of known packages. A user's own may count its passes, for instance, or wait."""
    return all(type(module).__module__.partition(".")[0] in KNOWN for module in network.modules())
