"""One classroom as a Ray Train run: how it is started, and why it ended."""

from __future__ import annotations

import os
from dataclasses import asdict

from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from raykd.cluster.placement import PlacedClassroom
from raykd.cluster.process_group import ClusterTorchConfig
from raykd.cluster.resources import Plan, worker_resources
from raykd.cluster.worker import WorkerConfig, work_until_closed
from raykd.config import ClusterSettings
from raykd.errors import plain

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait must not spin: on a busy machine that made an epoch ten times slower."""

NODE_ID_LABEL = "ray.io/node-id"
"""The label that Ray gives every node."""


def classroom_trainer(
    room: PlacedClassroom, plan: Plan, settings: ClusterSettings, *, broker: str, storage: str, usage_seconds: float
) -> TorchTrainer:
    """The trainer whose `fit` runs a classroom until the broker closes it; Ray Train restarts its workers after faults.

    Args:
        room: Its name and nodes.
        plan: What each worker may use.
        settings: How often Ray Train restarts the workers, and when one hangs.
        broker: The broker's name.
        storage: Folder for Ray Train's own files, a path or URL, seen by all nodes.
        usage_seconds: See `WorkerConfig`.
    """
    worker = WorkerConfig(
        broker, room.name, plan.seats, plan.threads_per_worker, settings.stall_seconds, os.getcwd(), usage_seconds
    )
    return TorchTrainer(
        work_until_closed,
        train_loop_config=asdict(worker),
        scaling_config=ScalingConfig(  # type: ignore[call-arg]
            num_workers=len(room.nodes),
            use_gpu=plan.gpus_per_worker > 0,
            resources_per_worker=worker_resources(plan.cpus_per_worker, plan.gpus_per_worker),
            label_selector=[{NODE_ID_LABEL: node} for node in room.nodes],
        ),
        run_config=RunConfig(
            # A name of its own for every start: students resume from their checkpoints, not from Ray Train's.
            name=f"{broker}-{room.name}",
            storage_path=storage,
            # Without its resources Ray Train would retry for ever; `Classrooms` opens it elsewhere instead.
            failure_config=FailureConfig(  # type: ignore[call-arg]
                max_failures=settings.restarts, controller_failure_limit=0
            ),
            worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},
        ),
        # NCCL refuses two workers on one GPU, as fractions may place them.
        torch_config=ClusterTorchConfig(backend="nccl" if plan.gpus_per_worker >= 1 else "gloo"),
    )


def lacked_resources(error: Exception | None) -> bool:
    """Whether a classroom never got its workers' resources. Ray Train exports the outer error only."""
    cause = error.controller_failure if isinstance(error, ControllerError) else None
    return type(cause).__name__ == "WorkerGroupStartupTimeoutError"


def reason_of(error: Exception) -> str:
    """The last line of an error, which names it."""
    lines = plain(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
