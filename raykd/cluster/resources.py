"""The Ray cluster's resources, how many classrooms, workers and seats they carry, and waiting until they are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import ray
from ray.autoscaler.sdk import request_resources
from rich.console import Console

from raykd.config import ClusterSettings
from raykd.errors import RaykdError

SEATS = 8
"""Students on each GPU, or on each node without GPUs: enough to share a teacher's cost. Each is a process of Tune."""

CLASSROOMS_OF_NODE = 4
"""Classrooms on a node without GPUs: small networks gain more from classrooms than from threads."""

TRIAL_CPUS = 0.001
"""Ray refuses a trial that asks for nothing; this little never breaks an exact fit of the workers."""

CHECK_SECONDS = 2.0
"""How often the cluster's resources are read while a run waits for nodes."""

MESSAGE_SECONDS = 15.0
"""How often a line says what is there and what is missing, besides when it changes."""

Bundles = list[dict[str, float]]
"""Ray's resources of each worker that is asked for."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a run: classrooms x workers x seats, and what each worker may use.

    `students` is how many there are to train, at the most: no cluster gets more classrooms than that.
    """

    classrooms: int
    workers: int
    seats: int
    cpus_per_worker: float
    gpus_per_worker: float
    threads_per_worker: int
    students: int

    def __str__(self) -> str:
        device = (
            f"{self.gpus_per_worker:g} GPU" if self.gpus_per_worker else count(self.threads_per_worker, "CPU thread")
        )
        return (
            f"{count(self.classrooms, 'classroom')} x {count(self.workers, 'worker')} x "
            f"{count(self.seats, 'seat')}, {device} per worker"
        )


@dataclass(frozen=True)
class Resources:
    """What the connected cluster has: CPUs and GPUs in all, and Ray's resources of each living node."""

    cpus: float
    gpus: float
    nodes: tuple[dict[str, float], ...]

    @classmethod
    def now(cls) -> Resources:
        """As Ray sees them at this moment."""
        return cls.of(living_nodes().values())

    @classmethod
    def of(cls, nodes: Iterable[dict[str, float]]) -> Resources:
        """Of these nodes."""
        alive = tuple(nodes)
        return cls(sum(n.get("CPU", 0) for n in alive), sum(n.get("GPU", 0) for n in alive), alive)

    def __str__(self) -> str:
        return f"{count(len(self.nodes), 'node')}, {self.cpus:g} CPUs, {self.gpus:g} GPUs"


def living_nodes() -> dict[str, dict[str, float]]:
    """Ray's resources of each living node, by the node's id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def count(number: int, thing: str) -> str:
    """Such as "2 nodes"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def plan_for(settings: ClusterSettings, have: Resources, students: int) -> Plan:
    """The plan for a cluster: the settings' sizes, and where they leave any open, those that suit it.

    Args:
        settings: The cluster's settings.
        have: What the cluster has.
        students: How many students there are to train, at the most.

    Raises:
        RaykdError: the workers do not fit into the cluster.
    """
    if (settings.least_workers or 0) > settings.workers:
        raise RaykdError(
            f"cluster.least_workers is {settings.least_workers}, but cluster.workers is {settings.workers}:\n"
            "lower the one, or raise the other"
        )
    gpus_per_worker = settings.gpus_per_worker
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if have.gpus >= 1 else 0.0
    # Room for workers on each node that has any: a head node without CPUs trains nobody.
    rooms = [(node, room) for node in have.nodes if (room := room_for(node, settings.cpus_per_worker, gpus_per_worker))]
    classrooms = wanted_classrooms(settings, gpus_per_worker, have.nodes, students)
    least = classrooms * (settings.least_workers or settings.workers)
    _check_fit(settings, least, gpus_per_worker, sum(room for _, room in rooms), have)
    cpus_of_node = int(min(node["CPU"] for node, _ in rooms))
    workers_of_node = -(-classrooms * settings.workers // len(rooms))
    threads = settings.threads_per_worker or (4 if gpus_per_worker else max(cpus_of_node // workers_of_node, 1))
    seats = SEATS if gpus_per_worker else max(SEATS * len(rooms) // classrooms, 1)
    return Plan(
        classrooms=classrooms,
        workers=settings.workers,
        seats=settings.seats or min(seats, -(-students // classrooms)),
        cpus_per_worker=settings.cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        threads_per_worker=threads,
        students=students,
    )


def wanted_classrooms(
    settings: ClusterSettings, gpus_per_worker: float, nodes: Iterable[dict[str, float]], students: int
) -> int:
    """How many classrooms there should be on these nodes: as the settings ask, or as many as suit them, at least one.

    Args:
        settings: The cluster's settings.
        gpus_per_worker: What the settings say, or what suits the cluster.
        nodes: Ray's resources of each.
        students: How many there are to train, at the most.
    """
    if settings.classrooms is not None:
        return settings.classrooms
    rooms = (room_for(node, settings.cpus_per_worker, gpus_per_worker) for node in nodes)
    workers = sum(room if gpus_per_worker else min(room, CLASSROOMS_OF_NODE) for room in rooms)
    return min(max(workers // settings.workers, 1), students)


def worker_resources(cpus: float, gpus: float) -> dict[str, float]:
    """Ray's resources of a worker of so many CPUs and GPUs."""
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}


def room_for(node: dict[str, float], cpus: float, gpus: float) -> int:
    """How many workers of so many CPUs and GPUs a node carries. Ray takes a fraction of a GPU from a single one."""
    room = int(node.get("CPU", 0) / cpus)
    if gpus:
        gpus_of_node = int(node.get("GPU", 0))
        room = min(room, gpus_of_node * int(1 / gpus) if gpus < 1 else int(gpus_of_node / gpus))
    return room


def _check_fit(settings: ClusterSettings, workers: int, gpus: float, room: int, have: Resources) -> None:
    """Refuse workers that do not fit: Ray Train would retry such a worker group for ever."""
    if room < workers:
        raise RaykdError(
            f"{count(workers, 'worker')} of {settings.cpus_per_worker:g} CPU and {gpus:g} GPU do not fit into this "
            f"cluster ({have}):\nlower cluster.classrooms, cluster.workers or cluster.cpus_per_worker, or let it grow: "
            "cluster.wait_seconds"
        )
    if have.cpus <= workers * settings.cpus_per_worker:
        raise RaykdError(
            f"{count(workers, 'worker')} would take every CPU of this cluster ({have}) and leave none for the trials:"
            "\nlower cluster.cpus_per_worker, such as to 0.9"
        )


def wait_for_resources(settings: ClusterSettings, students: int, console: Console) -> tuple[Resources, Plan]:
    """The connected cluster's resources and the plan that suits it, once the workers fit; see `cluster.wait_seconds`.

    Raises:
        RaykdError: they do not fit, or not in time.
    """

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    return wait_until_workers_fit(settings, students, Resources.now, say, request_resources)


def wait_until_workers_fit(
    settings: ClusterSettings,
    students: int,
    resources: Callable[[], Resources],
    say: Callable[[str], None],
    request: Callable[[None, Bundles], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Resources, Plan]:
    """`wait_for_resources` without Ray.

    Args:
        settings: The cluster's settings.
        students: How many students there are to train, at the most.
        resources: Returns what the cluster has.
        say: Called with a line about what is there and what is missing.
        request: Asks the autoscaler, if there is one, for these bundles in sum; an empty list takes it back.
        clock: A monotonic time in seconds.
        sleep: Waits for so many seconds.
    """
    started = said = clock()
    limit = settings.wait_seconds or 0.0
    before: Resources | None = None
    try:
        while True:
            have, now = resources(), clock()
            try:
                return have, plan_for(settings, have, students)
            except RaykdError as error:
                if now - started >= limit:
                    raise _too_late(error, limit) from None
            bundles = wanted_bundles(settings)
            left = limit - (now - started)
            if before is None:
                request(None, bundles)
            if have != before or now - said >= MESSAGE_SECONDS:
                say(f"waiting for nodes, {left:.0f} s more at the most: {have}; asked for {_in_words(bundles)}")
                said = now
            before = have
            sleep(min(CHECK_SECONDS, left))
    finally:
        if before is not None:
            request(None, [])  # from now on Ray Train asks for its workers itself


def wanted_bundles(settings: ClusterSettings) -> Bundles:
    """What the autoscaler is asked for: all workers that the settings name, or those of one classroom."""
    gpus = settings.gpus_per_worker or 0.0
    workers = (settings.classrooms or 1) * settings.workers
    return [worker_resources(settings.cpus_per_worker, gpus)] * workers


def _in_words(bundles: Bundles) -> str:
    worker = " and ".join(f"{amount:g} {resource}" for resource, amount in bundles[0].items())
    return f"{len(bundles)} x {worker}"


def _too_late(error: RaykdError, limit: float) -> RaykdError:
    if not limit:
        return error
    first, _, rest = str(error).partition("\n")
    return RaykdError(f"after {limit:g} s of waiting, {first}\n{rest}")
