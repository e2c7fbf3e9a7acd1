"""Which classrooms there are, and on which nodes: decided from what the cluster is at the moment, without Ray.

Nodes come and go while a study runs. A classroom is placed on nodes by their ids, so that classrooms spread over the
nodes while the workers of each sit close together, and so that it is known whom a leaving node takes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raykd.cluster.resources import Plan, room_for, wanted_classrooms
from raykd.config import ClusterSettings

BUSY_SECONDS = 30.0
"""How long nodes are passed over on which a classroom found its resources taken by others."""

Nodes = Mapping[str, dict[str, float]]
"""Ray's resources of each living node, by the node's id."""


@dataclass(frozen=True)
class PlacedClassroom:
    """A classroom: its name, never used twice, and the node of each worker."""

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Changes:
    """What a look at the cluster asks for.

    - joined, left: how many nodes have come and gone since the last look
    - opened: classrooms to open
    - lost: classrooms of which a node has left
    - recalled: classrooms to close after their epoch, because there is room for all of their workers now
    """

    joined: int = 0
    left: int = 0
    opened: tuple[PlacedClassroom, ...] = ()
    lost: tuple[PlacedClassroom, ...] = ()
    recalled: tuple[PlacedClassroom, ...] = ()


@dataclass
class Placement:
    """The open classrooms of a run.

    Args:
        plan: Sizes of each classroom.
        settings: How many there should be; see `raykd.cluster.resources.wanted_classrooms`.
    """

    plan: Plan
    settings: ClusterSettings
    given_up: int = 0
    """Classrooms that are gone for good, for faults of their own."""
    _open: dict[str, PlacedClassroom] = field(default_factory=dict)
    _closing: set[str] = field(default_factory=set)
    _known: frozenset[str] = frozenset()
    _busy: dict[str, float] = field(default_factory=dict)
    _opened: int = 0
    _wanted: int = 1

    @property
    def open(self) -> tuple[PlacedClassroom, ...]:
        """All that are open or opening."""
        return tuple(self._open.values())

    @property
    def exhausted(self) -> bool:
        """Whether as many have been given up as there should be: nobody is left, and nobody will come."""
        return not self._open and self.given_up >= self._wanted

    @property
    def seats(self) -> int:
        """Of all of them."""
        return len(self._open) * self.plan.seats

    def look(self, nodes: Nodes, now: float) -> Changes:
        """Compare the classrooms with the nodes that there are, at a monotonic time in seconds.

        A classroom that is returned as opened or lost counts so from now on; one that is recalled stays until `ended`.
        """
        left, joined = self._known - nodes.keys(), nodes.keys() - self._known
        self._known = frozenset(nodes)
        plan = self.plan
        self._wanted = wanted_classrooms(self.settings, plan.gpus_per_worker, nodes.values(), plan.students)
        lost = [room for room in self.open if not nodes.keys() >= set(room.nodes)]
        for room in lost:
            self._forget(room.name)
        recalled = self._growing(nodes, now)
        opened = [] if self._closing else self._openings(nodes, now)
        return Changes(len(joined), len(left), tuple(opened), tuple(lost), tuple(recalled))

    def ended(self, name: str, *, given_up: bool = False, busy: bool = False, now: float = 0.0) -> bool:
        """A classroom's workers are gone. Whether that is news: it was not lost with its node before.

        Args:
            name: Of the classroom.
            given_up: It is not to be opened again.
            busy: It did not get the resources that its nodes should have.
            now: A monotonic time in seconds.
        """
        room = self._forget(name)
        if room is None:
            return False
        self.given_up += given_up
        if busy:
            self._busy |= dict.fromkeys(room.nodes, now + BUSY_SECONDS)
        return True

    def _forget(self, name: str) -> PlacedClassroom | None:
        self._closing.discard(name)
        return self._open.pop(name, None)

    def _openings(self, nodes: Nodes, now: float) -> list[PlacedClassroom]:
        plan = self.plan
        wanted = self._wanted - self.given_up
        opened: list[PlacedClassroom] = []
        # As many as can be with all their workers before the first with fewer.
        for workers in range(plan.workers, (self.settings.least_workers or plan.workers) - 1, -1):
            while len(self._open) < wanted and (chosen := placed(workers, self._free(nodes, now, self.open))):
                room = PlacedClassroom(f"classroom-{self._opened}", chosen)
                self._opened += 1
                self._open[room.name] = room
                opened.append(room)
        return opened

    def _growing(self, nodes: Nodes, now: float) -> list[PlacedClassroom]:
        """The first of the classrooms with too few workers that could have all, if none is closing yet."""
        for room in self.open:
            others = [other for other in self.open if other is not room]
            short = len(room.nodes) < self.plan.workers
            if short and not self._closing and placed(self.plan.workers, self._free(nodes, now, others)):
                self._closing.add(room.name)
                return [room]
        return []

    def _free(self, nodes: Nodes, now: float, taken_by: Iterable[PlacedClassroom]) -> dict[str, int]:
        """Room for workers on each node beside those of some classrooms."""
        taken = Counter(node for room in taken_by for node in room.nodes)
        plan = self.plan
        return {
            node: room_for(resources, plan.cpus_per_worker, plan.gpus_per_worker) - taken[node]
            for node, resources in nodes.items()
            if self._busy.get(node, now) <= now
        }


def placed(workers: int, free: Mapping[str, int]) -> tuple[str, ...]:
    """The node of each worker of a classroom, or nothing where they do not fit.

    All go to the emptiest node if it has room for them, else as many as possible to the emptiest ones: few neighbours
    talk faster, and classrooms keep away from each other.

    Args:
        workers: How many.
        free: Room for workers on each node.
    """
    chosen: list[str] = []
    for node, room in sorted(free.items(), key=lambda each: -each[1]):
        chosen += [node] * min(room, workers - len(chosen))
    return tuple(chosen) if len(chosen) == workers else ()
