"""The Ray cluster: joining or starting it, and how many classrooms, workers and seats it carries."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from raykd.config import ClusterSettings
from raykd.errors import RaykdError
from raykd.training.messages import NAMESPACE

SEATS = 8
"""Students on each GPU, or on each node without GPUs: enough to share a teacher's cost. Each is a process of Tune."""

CLASSROOMS_OF_NODE = 4
"""Classrooms on a node without GPUs: small networks gain more from classrooms than from threads."""

TRIAL_CPUS = 0.001
"""Ray refuses a trial that asks for nothing; this little never breaks an exact fit of the workers."""

QUIET = {
    # Reports travel through the broker, but Train notices the end of a classroom only when it looks.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # The study's record and MLflow hold every result; Tune need not write them three times more.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    # Only Tune's older output can be silenced.
    "RAY_AIR_NEW_OUTPUT": "0",
    # All trials' processes start at once, and Ray would warn of that.
    "RAY_worker_maximum_startup_concurrency": "16",
}


@dataclass(frozen=True)
class Plan:
    """Sizes of a run: classrooms x workers x seats, and what each worker may use."""

    classrooms: int
    workers: int
    seats: int
    cpus_per_worker: float
    gpus_per_worker: float
    threads_per_worker: int

    def __str__(self) -> str:
        device = (
            f"{self.gpus_per_worker:g} GPU" if self.gpus_per_worker else _count(self.threads_per_worker, "CPU thread")
        )
        return (
            f"{_count(self.classrooms, 'classroom')} x {_count(self.workers, 'worker')} x "
            f"{_count(self.seats, 'seat')}, {device} per worker"
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
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        return cls(sum(n.get("CPU", 0) for n in alive), sum(n.get("GPU", 0) for n in alive), tuple(alive))

    def __str__(self) -> str:
        return f"{_count(len(self.nodes), 'node')}, {self.cpus:g} CPUs, {self.gpus:g} GPUs"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


@contextmanager
def connected(settings: ClusterSettings) -> Iterator[None]:
    """Join the cluster, or start a local one and stop it afterwards. An open connection is used as it is.

    Raises:
        RaykdError: the cluster does not answer, or refuses this driver.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray.init(address=settings.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        place = settings.address or os.environ.get("RAY_ADDRESS") or "a local cluster"
        raise RaykdError(
            f"cannot connect to {place}: {str(error).splitlines()[0]}\n"
            "check cluster.address; a cluster started with `ray start` needs RAY_AUTH_MODE=token and its token here"
        ) from error
    try:
        with _terminated_as_interrupted():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, as `ray job stop` sends it, end a run like Ctrl-C does: in order, and resumable."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def plan(settings: ClusterSettings, have: Resources, students: int) -> Plan:
    """Sizes that suit a cluster, where the settings leave them open.

    Args:
        settings: The cluster's settings.
        have: What the cluster has.
        students: How many students there are to teach, at the most.

    Raises:
        RaykdError: the workers do not fit into the cluster.
    """
    gpus_per_worker = settings.gpus_per_worker
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if have.gpus >= 1 else 0.0
    # Room for workers on each node that has any: a head node without CPUs teaches nobody.
    rooms = [(node, room) for node in have.nodes if (room := _room(node, settings.cpus_per_worker, gpus_per_worker))]
    if settings.classrooms is not None:
        classrooms = settings.classrooms
    else:
        workers = sum(room if gpus_per_worker else min(room, CLASSROOMS_OF_NODE) for _, room in rooms)
        classrooms = min(max(workers // settings.workers, 1), students)
    _check_fit(settings, classrooms * settings.workers, gpus_per_worker, sum(room for _, room in rooms), have)
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
    )


def _room(node: dict[str, float], cpus: float, gpus: float) -> int:
    """How many workers of so many CPUs and GPUs a node carries. Ray takes a fraction of a GPU from a single one."""
    room = int(node.get("CPU", 0) / cpus)
    if gpus:
        gpus_of_node = int(node.get("GPU", 0))
        room = min(room, gpus_of_node * int(1 / gpus) if gpus < 1 else int(gpus_of_node / gpus))
    return room


def _check_fit(settings: ClusterSettings, workers: int, gpus: float, room: int, have: Resources) -> None:
    """Ray Train retries a worker group that does not fit for ever; say so before instead."""
    if room < workers:
        raise RaykdError(
            f"{_count(workers, 'worker')} of {settings.cpus_per_worker:g} CPU and {gpus:g} GPU do not fit into this "
            f"cluster ({have}):\nlower cluster.classrooms, cluster.workers or cluster.cpus_per_worker"
        )
    if have.cpus <= workers * settings.cpus_per_worker:
        raise RaykdError(
            f"{_count(workers, 'worker')} would take every CPU of this cluster ({have}) and leave none for the trials:"
            "\nlower cluster.cpus_per_worker, such as to 0.9"
        )
