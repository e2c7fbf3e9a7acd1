"""Which classrooms there are, and on which nodes: decided from the cluster's present state, without Ray.

Nodes join and leave while a study runs. A classroom is placed on nodes by their ids, so that classrooms spread over the
nodes while the workers of each sit close together, and so that it is known which classrooms a leaving node ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raykd.cluster.resources import Plan, count, room_for, wanted_classrooms
from raykd.config import ClusterSettings

BUSY_SECONDS = 30.0
"""How long nodes are left out after a classroom found their resources taken by others."""

Nodes = Mapping[str, dict[str, float]]
"""Ray's resources of each living node, by the node's id."""


@dataclass(frozen=True)
class PlacedClassroom:
    """A classroom: its name, never used twice, and the node of each worker."""

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Changes:
    """What changes in the classrooms because of the nodes.

    - joined, left: how many nodes have joined and left since the last update
    - opened: classrooms to open
    - lost: classrooms of which a node has left
    - growing: classrooms to close after their epoch, because there is room for all of their workers now
    """

    joined: int = 0
    left: int = 0
    opened: tuple[PlacedClassroom, ...] = ()
    lost: tuple[PlacedClassroom, ...] = ()
    growing: tuple[PlacedClassroom, ...] = ()

    def messages(self, plan: Plan, moved: int, seats: int) -> list[str]:
        """The changes in words for the user, each a line.

        Args:
            plan: Sizes of a classroom.
            moved: Number of students in the lost classrooms.
            seats: In all classrooms from now on.
        """
        lines = []
        if self.lost:
            moves = f", {count(moved, 'student')} to go on elsewhere" if moved else ""
            lines.append(f"{count(self.left, 'node')} left: {count(len(self.lost), 'classroom')} lost{moves}")
        lines += [f"{room.name} closes after its epoch, to open with more workers" for room in self.growing]
        if self.opened:
            joined = f"{count(self.joined, 'node')} joined: " if self.joined else ""
            opens = "opens" if len(self.opened) == 1 else "open"
            lines.append(f"{joined}{count(len(self.opened), 'classroom')} {opens}, {count(seats, 'seat')} in all")
        return lines + self.incomplete(plan)

    def incomplete(self, plan: Plan) -> list[str]:
        """A line for each classroom that opens with fewer workers than it should have."""
        return [
            f"{room.name} has {len(room.nodes)} of {plan.workers} workers until there are more nodes"
            for room in self.opened
            if len(room.nodes) < plan.workers
        ]


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
    """Classrooms that will not be opened again, because of their own faults."""
    _open: dict[str, PlacedClassroom] = field(default_factory=dict)
    _closing: set[str] = field(default_factory=set)
    _known_nodes: frozenset[str] = frozenset()
    _busy_until: dict[str, float] = field(default_factory=dict)
    _names_used: int = 0
    _wanted: int = 1

    @property
    def open(self) -> tuple[PlacedClassroom, ...]:
        """All that are open or opening."""
        return tuple(self._open.values())

    @property
    def exhausted(self) -> bool:
        """Whether no classroom is open, and as many have been given up as there should be: none will open again."""
        return not self._open and self.given_up >= self._wanted

    @property
    def seats(self) -> int:
        """Of all open classrooms together."""
        return len(self._open) * self.plan.seats

    def update(self, nodes: Nodes, now: float) -> Changes:
        """Compare the classrooms with the nodes that there are, at a monotonic time in seconds.

        A classroom that is returned as opened or lost counts so from now on; one that is growing stays open until
        `ended`. While one is closing to grow, no other opens, so that nobody takes the room that it needs.
        """
        left, joined = self._known_nodes - nodes.keys(), nodes.keys() - self._known_nodes
        self._known_nodes = frozenset(nodes)
        plan = self.plan
        self._wanted = wanted_classrooms(self.settings, plan.gpus_per_worker, nodes.values(), plan.students)
        lost = [room for room in self.open if not nodes.keys() >= set(room.nodes)]
        for room in lost:
            self._remove(room.name)
        # Complete classrooms first, so that the room of one that closed to grow is used at once; incomplete ones
        # last, in room that helps no other to become complete.
        least = self.settings.least_workers or plan.workers
        opened = self._open_with(plan.workers, nodes, now)
        growing = self._grow(nodes, now)
        for workers in range(plan.workers - 1, least - 1, -1):
            opened += self._open_with(workers, nodes, now)
        return Changes(len(joined), len(left), tuple(opened), tuple(lost), tuple(growing))

    def ended(self, name: str, *, given_up: bool = False, busy: bool = False, now: float = 0.0) -> bool:
        """Record that a classroom's workers are gone.

        Args:
            name: Of the classroom.
            given_up: It is not to be opened again.
            busy: It did not get the resources that its nodes should have.
            now: A monotonic time in seconds.

        Returns:
            Whether it counted as open until now; one that was lost with its node did not.
        """
        room = self._remove(name)
        if room is None:
            return False
        self.given_up += given_up
        if busy:
            self._busy_until |= dict.fromkeys(room.nodes, now + BUSY_SECONDS)
        return True

    def _remove(self, name: str) -> PlacedClassroom | None:
        self._closing.discard(name)
        return self._open.pop(name, None)

    def _open_with(self, workers: int, nodes: Nodes, now: float) -> list[PlacedClassroom]:
        """As many new classrooms of so many workers as there is room for and are still wanted."""
        opened: list[PlacedClassroom] = []
        while not self._closing and len(self._open) < self._wanted - self.given_up:
            chosen = nodes_for(workers, self._free(nodes, now, self.open))
            if not chosen:
                break
            room = PlacedClassroom(f"classroom-{self._names_used}", chosen)
            self._names_used += 1
            self._open[room.name] = room
            opened.append(room)
        return opened

    def _grow(self, nodes: Nodes, now: float) -> list[PlacedClassroom]:
        """The first of the incomplete classrooms that could have all of its workers, unless one is closing already."""
        for room in self.open:
            others = [other for other in self.open if other is not room]
            incomplete = len(room.nodes) < self.plan.workers
            if incomplete and not self._closing and nodes_for(self.plan.workers, self._free(nodes, now, others)):
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
            if self._busy_until.get(node, now) <= now
        }


def nodes_for(workers: int, free: Mapping[str, int]) -> tuple[str, ...]:
    """The node of each worker of a classroom, or nothing where they do not fit.

    All go to the emptiest node if it has room for them, else as many as possible to the emptiest ones: workers on few
    nodes exchange gradients faster, and classrooms spread over the cluster.

    Args:
        workers: How many.
        free: Room for workers on each node.
    """
    chosen: list[str] = []
    for node, room in sorted(free.items(), key=lambda item: -item[1]):
        chosen += [node] * min(room, workers - len(chosen))
    return tuple(chosen) if len(chosen) == workers else ()
