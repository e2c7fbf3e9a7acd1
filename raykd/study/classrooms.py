"""The classrooms of a run: long-lived Ray Train worker groups, and the broker they attend."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raykd.config import ClusterSettings
from raykd.study.broker import start_broker
from raykd.study.cluster import Plan
from raykd.training.worker import attend_until_closed

logger = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait must not spin: on a busy machine that made an epoch ten times slower."""

GOODBYE_SECONDS = 30.0
"""How long classrooms get to finish their epoch when a run ends."""


class Classrooms:
    """Classrooms that teach as long as the context is open.

    Attributes:
        name: Name of the broker.
        broker: Its actor handle; see `raykd.study.seat.Seat`.

    Args:
        plan: How many, and how large.
        settings: Restarts and leases.
        storage: Folder for Ray Train's own files, seen by all nodes.
    """

    def __init__(self, plan: Plan, settings: ClusterSettings, storage: Path) -> None:
        self.name = f"broker-{uuid4().hex[:8]}"
        self.broker: Any = None
        self._plan = plan
        self._settings = settings
        self._storage = storage
        self._threads: dict[str, threading.Thread] = {}

    def __enter__(self) -> Self:
        self.broker = start_broker(self.name, self._settings.lease_seconds)
        for number in range(self._plan.classrooms):
            name = f"classroom-{number}"
            self._threads[name] = threading.Thread(target=self._keep_open, args=(name,), name=name, daemon=True)
            self._threads[name].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.get(self.broker.close.remote("the run ended"))
        for thread in self._threads.values():
            thread.join(GOODBYE_SECONDS)
        ray.kill(self.broker)

    def _keep_open(self, classroom: str) -> None:
        """Run one classroom until the broker closes it; Ray Train restarts it after faults."""
        plan = self._plan
        resources = {"CPU": plan.cpus_per_worker}
        if plan.gpus_per_worker:
            resources["GPU"] = plan.gpus_per_worker
        trainer = TorchTrainer(
            attend_until_closed,
            train_loop_config={
                "broker": self.name,
                "classroom": classroom,
                "seats": plan.seats,
                "threads": plan.threads_per_worker,
            },
            scaling_config=ScalingConfig(
                num_workers=plan.workers, use_gpu=plan.gpus_per_worker > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(
                # A name of its own for every launch: what to resume is the students' business, not Ray Train's.
                name=f"{self.name}-{classroom}",
                storage_path=str(self._storage),
                failure_config=FailureConfig(max_failures=self._settings.restarts),
                worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},  # type: ignore[call-arg]
            ),
            torch_config=TorchConfig(backend="nccl" if plan.gpus_per_worker else "gloo"),
        )
        try:
            trainer.fit()
        except Exception as error:
            logger.debug("%s is gone", classroom, exc_info=True)
            self._mourn(classroom, error)

    def _mourn(self, classroom: str, error: Exception) -> None:
        """A classroom is gone for good: the others take its students, or nobody is left to teach."""
        others = [thread for name, thread in self._threads.items() if name != classroom and thread.is_alive()]
        if others:
            self.broker.dismiss.remote(classroom)
        else:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            self.broker.close.remote(f"no classroom is left ({reason})")
