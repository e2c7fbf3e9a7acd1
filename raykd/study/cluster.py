"""The Ray cluster: joining or starting it, and how many classrooms, workers and seats it carries."""

from __future__ import annotations

import logging
import os
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
        yield
    finally:
        ray.shutdown()


def plan(settings: ClusterSettings, have: Resources, students: int) -> Plan:
    """Sizes that suit a cluster, where the settings leave them open.

    Args:
        settings: The cluster's settings.
        have: What the cluster has.
        students: How many students there are to teach, at the most.

    Raises:
        RaykdError: the workers do not fit into the cluster.
    """
    cpus_of_node = int(min(node.get("CPU", 1) for node in have.nodes))
    gpus_per_worker = settings.gpus_per_worker
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if have.gpus >= 1 else 0.0
    if settings.classrooms is not None:
        classrooms = settings.classrooms
    else:
        on_gpus = int(have.gpus / gpus_per_worker) if gpus_per_worker else 0
        on_cpus = len(have.nodes) * min(cpus_of_node, CLASSROOMS_OF_NODE)
        classrooms = min(max((on_gpus or on_cpus) // settings.workers, 1), students)
    _check_fit(settings, classrooms * settings.workers, gpus_per_worker, have)
    workers_of_node = -(-classrooms * settings.workers // len(have.nodes))
    threads = settings.threads_per_worker or (4 if gpus_per_worker else max(cpus_of_node // workers_of_node, 1))
    seats = SEATS if gpus_per_worker else max(SEATS * len(have.nodes) // classrooms, 1)
    return Plan(
        classrooms=classrooms,
        workers=settings.workers,
        seats=settings.seats or min(seats, -(-students // classrooms)),
        cpus_per_worker=settings.cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        threads_per_worker=threads,
    )


def _check_fit(settings: ClusterSettings, workers: int, gpus: float, have: Resources) -> None:
    """Ray Train retries a worker group that does not fit for ever; say so before instead."""
    room = sum(
        min(
            int(node.get("CPU", 0) / settings.cpus_per_worker),
            int(node.get("GPU", 0) / gpus) if gpus else workers,
        )
        for node in have.nodes
    )
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
