"""Which students of a group are compiled: those that ask for it, where a rehearsal with copies works."""

from __future__ import annotations

import logging
from copy import deepcopy

from torch import Tensor, nn

from raykd.training.architecture import Architecture
from raykd.training.compiled.alone import Alone, pass_alone
from raykd.training.compiled.function import CompiledFunction
from raykd.training.compiled.rehearsal import Passing, Scene, reason_against
from raykd.training.team import Team

logger = logging.getLogger(__name__)


class Compiling:
    """What is compiled for the students of a group; it is kept, as compiling takes long.

    Args:
        scene: What the students see.
        team: The classroom's workers. All compile, or none.
    """

    def __init__(self, scene: Scene, team: Team) -> None:
        self._scene = scene
        self._team = team
        self._wanted: dict[Architecture, bool] = {}
        self._alone: dict[Architecture, CompiledFunction] = {}
        self._memory: dict[tuple[Architecture, int], list[Tensor]] = {}

    def wants(self, architecture: Architecture) -> bool:
        """Whether networks are to be compiled; a line says why not, where that was asked for."""
        if architecture not in self._wanted:
            self._wanted[architecture] = architecture.compile and not architecture.layers
            if architecture.compile and architecture.layers:
                self._say(_whose(architecture), "their method compares features of their layers")
        return self._wanted[architecture]

    def alone(self, architecture: Architecture, network: nn.Module, number: int) -> Alone | None:
        """The compiled pass of a network by itself; None: it is not compiled.

        Args:
            architecture: The network's.
            network: The network.
            number: Of those of its architecture that pass the same batches one by one, from 0.
        """
        if not self.wants(architecture):
            return None
        memory = self._memory.setdefault((architecture, number), [])
        if architecture not in self._alone:
            function = self._alone[architecture] = CompiledFunction(
                pass_alone, _whose(architecture), self._scene.device
            )
            usual = Alone(deepcopy(network))
            self.rehearse(function, usual, Alone(deepcopy(network), function, memory))
        function = self._alone[architecture]
        return Alone(network, function, memory) if function.works else None

    def rehearse(self, function: CompiledFunction, usual: Passing, compiled: Passing) -> None:
        """Find out whether a function can be compiled; a line says why not.

        Args:
            function: The function.
            usual, compiled: Copies of the networks, passing as usual and by the function.
        """
        self._team.watch.at()
        reason = reason_against(usual, compiled, self._scene)
        # A compiler may be missing at one worker only.
        function.reason = self._team.first_given(reason)
        function.rehearsed = True
        if function.reason:
            self._say(function.whose, function.reason)

    def _say(self, whose: str, reason: str) -> None:
        if self._team.rank == 0:
            logger.warning("%s are not compiled: %s", whose, reason)


def _whose(architecture: Architecture) -> str:
    return f"students of {architecture.name}"
