"""Which students of a class are stacked: those of one architecture, where a stack is possible and pays."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy

import torch
from torch import nn

from raykd.training.architecture import Architecture
from raykd.training.compiled.alone import Alone
from raykd.training.compiled.compiling import Compiling
from raykd.training.compiled.rehearsal import Passing, Scene, loss_of
from raykd.training.stacks.code import StackCode
from raykd.training.stacks.section import Section
from raykd.training.stacks.stack import Stack, reason_against
from raykd.training.student import Student
from raykd.training.team import Team

logger = logging.getLogger(__name__)

KNOWN = ("raykd", "timm", "torch", "torchvision")
"""Packages whose modules compute the same whatever else they did before."""
ROUNDS = 3
"""How often both ways are timed; the fastest round of each counts."""


class Stacking:
    """Divides the students of a group into sections. What was found out about an architecture is kept.

    Args:
        scene: What the students see.
        team: The classroom's workers. The first one decides for all.
    """

    def __init__(self, scene: Scene, team: Team) -> None:
        self._scene = scene
        self._team = team
        self._compiling = Compiling(scene, team)
        self._codes: dict[tuple[Architecture, int], StackCode] = {}
        self._possible: dict[Architecture, bool] = {}
        self._faster: dict[Architecture, bool] = {}

    def sections(self, students: Sequence[Student]) -> list[Section]:
        """Divide the students of a class for their next epoch."""
        together: dict[Architecture, list[Student]] = {}
        sections = []
        alone = []
        for student in students:
            if student.stack_place is not None and student.stack_place[0] > 1:
                sections.append(self._as_it_was(student, *student.stack_place))
            elif student.stack_place is not None or student.spec.training.stacking == "off":
                alone.append(student)
            else:
                together.setdefault(Architecture.of(student), []).append(student)
        for architecture, members in together.items():
            if len(members) > 1 and self._pays(architecture, members):
                stack = self._stack(architecture, [member.network for member in members])
                sections.append(Section(dict(enumerate(members)), stack, self._scene.precision, self._team))
            else:
                alone += members
        return sections + self._each_alone(alone)

    def _as_it_was(self, student: Student, size: int, slot: int) -> Section:
        """A student in a slot of a stack of copies: what a slot computes depends on the size, not on the others."""
        networks = [student.network if each == slot else deepcopy(student.network) for each in range(size)]
        stack = self._stack(Architecture.of(student), networks)
        return Section({slot: student}, stack, self._scene.precision, self._team)

    def _each_alone(self, students: Sequence[Student]) -> list[Section]:
        """Sections of students that pass the same batches one by one."""
        numbers: Counter[Architecture] = Counter()
        for student in students:
            architecture = Architecture.of(student)
            student.pass_by(self._compiling.alone(architecture, student.network, numbers[architecture]))
            numbers[architecture] += 1
        return [Section({0: student}, None, self._scene.precision, self._team) for student in students]

    def _stack(self, architecture: Architecture, networks: Sequence[nn.Module]) -> Stack:
        """A stack of networks; compiled where that is wanted and works."""
        if not self._compiling.wants(architecture):
            return Stack(networks, architecture.layers)
        key = architecture, len(networks)
        if key not in self._codes:
            code = StackCode(networks[0], f"stacks of {architecture.name}", self._team.device)
            usual, compiled = Stack(_copies(networks)), Stack(_copies(networks), code=code)
            self._compiling.rehearse(code.function, usual, compiled)
            self._codes[key] = code
        code = self._codes[key]
        return Stack(networks, code=code if code.function.works else None)

    def _pays(self, architecture: Architecture, students: Sequence[Student]) -> bool:
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
            # Made at every worker, as all compile together.
            alone = [
                self._compiling.alone(architecture, network, number) or Alone(network)
                for number, network in enumerate(_copies(networks))
            ]
            stack = self._stack(architecture, _copies(networks))
            self._faster[architecture] = self._team.broadcast(self._is_faster(alone, stack) if self._is_first else None)
        return self._faster[architecture]

    @property
    def _is_first(self) -> bool:
        return self._team.rank == 0

    def _reason_against(self, networks: Sequence[nn.Module], architecture: Architecture) -> str:
        """Why they cannot be stacked; empty if they can."""
        with self._scene.autocast():
            # Batch norms learn from two images at least.
            return reason_against(networks, self._scene.images(max(self._scene.training, 2)), architecture.layers) or ""

    def _is_faster(self, alone: Sequence[Alone], stack: Stack) -> bool:
        """Whether a stack passes a batch forth and back in less time than the same networks one after the other."""
        images = self._scene.images(max(self._scene.training, 2))
        ways: tuple[Passing, ...] = (*alone, stack)
        with ExitStack() as opened:
            for way in ways:
                opened.enter_context(way.open())
                way.train()

            def step(way: Passing) -> None:
                way.zero_grad()
                with self._scene.autocast():
                    logits = way.logits(images)
                loss_of(logits).backward()  # type: ignore[no-untyped-call]

            def each_alone() -> None:
                for network in alone:
                    step(network)

            def together() -> None:
                step(stack)

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


def _copies(networks: Sequence[nn.Module]) -> list[nn.Module]:
    return [deepcopy(network) for network in networks]


def _is_known(network: nn.Module) -> bool:
    """Whether all modules are of known packages. A user's own may count its passes, for instance, or wait."""
    return all(type(module).__module__.partition(".")[0] in KNOWN for module in network.modules())
