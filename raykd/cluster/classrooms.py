"""The classrooms of a run: long-lived Ray Train worker groups on the cluster's nodes, and the broker they attend."""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import ray
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from rich.console import Console

from raykd.cluster.broker import start_broker
from raykd.cluster.gloo import ClusterTorchConfig
from raykd.cluster.node_checks import NodeChecks
from raykd.cluster.placement import Nodes, PlacedClassroom, Placement
from raykd.cluster.resources import Plan, living_nodes, worker_resources
from raykd.cluster.worker import work_until_closed
from raykd.config import ClusterSettings
from raykd.storage import StorageError

logger = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait must not spin: on a busy machine that made an epoch ten times slower."""

NODE_ID_LABEL = "ray.io/node-id"
"""The label that Ray gives every node."""

GOODBYE_SECONDS = 30.0
"""How long classrooms get to finish their epoch when a run ends."""

LOOK_SECONDS = 2.0
"""How often the nodes are looked at."""

NODE_SECONDS = 600.0
"""How long a run without any classroom waits for a node, unless `cluster.wait_seconds` says otherwise."""


@dataclass(frozen=True)
class Usage:
    """Who hears how busy the workers' nodes are.

    - seconds: between two looks; 0: nobody looks
    - told: called with each node's figures, by node; see `raykd.cluster.usage`
    """

    seconds: float
    told: Callable[[Mapping[str, Mapping[str, float]]], object]


class Classrooms:
    """Classrooms that teach as long as the context is open, on the nodes that there are.

    A classroom that lost a node is closed, and opened again where there is room for it.

    Attributes:
        name: Name of the broker.
        broker: Its actor handle; see `raykd.cluster.client.StudentClient`.

    Args:
        plan: How many, and how large.
        settings: Restarts, leases, and what becomes of them as nodes come and go.
        storage: Folder for Ray Train's own files, a path or URL, seen by all nodes.
        console: Where it is said what became of them. None: nobody hears of it.
        usage: Hears how busy their nodes are. None: nobody looks.
        sight: Tells which nodes see what they need, also of those that join. None: all do.
    """

    def __init__(
        self,
        plan: Plan,
        settings: ClusterSettings,
        storage: str | Path,
        console: Console | None = None,
        usage: Usage | None = None,
        node_checks: NodeChecks | None = None,
    ) -> None:
        self.name = f"broker-{uuid4().hex[:8]}"
        self.broker: Any = None
        self._plan = plan
        self._settings = settings
        self._storage = storage
        self._console = console or Console(quiet=True)
        self._usage = usage if usage and usage.seconds else None
        self._node_checks = node_checks
        self._placement = Placement(plan, settings)
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failed_starts = 0
        self._empty_since: float | None = None
        self._in_main_thread = False

    def __enter__(self) -> Self:
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self.broker = start_broker(self.name, self._settings.lease_seconds)
        first = self._placement.update(self._nodes(), time.monotonic())
        self._open(first.opened)
        for line in first.incomplete(self._plan):
            self._say(line)
        threading.Thread(target=self._look_after, name="look-after", daemon=True).start()
        if self._usage:
            threading.Thread(target=self._pass_on, args=(self._usage,), name="usage", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closing.set()
            if self._node_checks is not None:
                self._node_checks.close()
        ray.get(self.broker.close.remote("the run ended"))
        patience_ends = time.monotonic() + GOODBYE_SECONDS
        for thread in self._threads:
            thread.join(max(patience_ends - time.monotonic(), 0.0))
        ray.kill(self.broker)

    @property
    def seats(self) -> int:
        """How many students can be taught at once, as the cluster is now."""
        with self._lock:
            return self._placement.seats

    def _look_after(self) -> None:
        """Follow the nodes that come and go, until the run ends."""
        while not self._closing.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception:
                logger.debug("the nodes could not be looked at", exc_info=True)

    def _pass_on(self, usage: Usage) -> None:
        while not self._closing.wait(usage.seconds):
            try:
                usage.told(ray.get(self.broker.usage.remote()))
            except Exception:
                logger.debug("it could not be heard how busy the nodes are", exc_info=True)

    def _look(self) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            changes = self._placement.update(self._nodes(), time.monotonic())
            for room in changes.growing:
                self.broker.recall.remote(room.name)
            self._open(changes.opened)
            moved: int = sum(ray.get([self.broker.lose.remote(room.name) for room in changes.lost]))
            for line in changes.messages(self._plan, moved, self._placement.seats):
                self._say(line)
            self._wait_for_any()

    def _nodes(self) -> Nodes:
        """The living nodes, without those that do not see what they need, or have not answered yet."""
        if self._node_checks is None:
            return living_nodes()
        nodes, lines = self._node_checks.admitted(living_nodes())
        for line in lines:
            self._say(line)
        return nodes

    def _open(self, rooms: tuple[PlacedClassroom, ...]) -> None:
        for room in rooms:
            thread = threading.Thread(target=self._keep_open, args=(room,), name=room.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _keep_open(self, room: PlacedClassroom) -> None:
        """Run one classroom until the broker closes it; Ray Train restarts it after faults."""
        plan = self._plan
        trainer = TorchTrainer(
            work_until_closed,
            train_loop_config={
                "broker": self.name,
                "classroom": room.name,
                "seats": plan.seats,
                "threads": plan.threads_per_worker,
                "usage_seconds": self._usage.seconds if self._usage else 0.0,
            },
            scaling_config=ScalingConfig(  # type: ignore[call-arg]
                num_workers=len(room.nodes),
                use_gpu=plan.gpus_per_worker > 0,
                resources_per_worker=worker_resources(plan.cpus_per_worker, plan.gpus_per_worker),
                label_selector=[{NODE_ID_LABEL: node} for node in room.nodes],
            ),
            run_config=RunConfig(
                # A name of its own for every launch: what to resume is the students' business, not Ray Train's.
                name=f"{self.name}-{room.name}",
                storage_path=str(self._storage),
                # Where its resources are gone, Train would try for ever; here it is opened elsewhere.
                failure_config=FailureConfig(  # type: ignore[call-arg]
                    max_failures=self._settings.restarts, controller_failure_limit=0
                ),
                worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},
            ),
            # NCCL refuses two workers on one GPU, as fractions may put them.
            torch_config=ClusterTorchConfig(backend="nccl" if plan.gpus_per_worker >= 1 else "gloo"),
        )
        try:
            trainer.fit()
        except Exception as error:
            logger.debug("%s is gone", room.name, exc_info=True)
            self._end(room, error)
        else:
            self._end(room, None)

    def _end(self, room: PlacedClassroom, error: Exception | None) -> None:
        """A classroom's workers are gone: for want of resources, for faults, or because they were sent home."""
        with self._lock:
            if self._closing.is_set():
                return
            starved = _starved(error)
            self._failed_starts += isinstance(error, ControllerError) and not starved
            given_up = error is not None and not starved and not self._may_start_again(error)
            if not self._placement.ended(room.name, given_up=given_up, busy=starved, now=time.monotonic()):
                return
            self.broker.dismiss.remote(room.name)
            if starved:
                self._say(f"{room.name} cannot open: its nodes' resources are taken; tried again later")
            if given_up:
                self._say(f"{room.name} is given up: {_reason(error)}")
                if self._placement.exhausted and _cut_off(error):
                    self._interrupt("no classroom reaches cluster.storage: the run ends here")
                elif self._placement.exhausted:
                    self._closing.set()
                    self.broker.close.remote(f"no classroom is left ({_reason(error)})")

    def _may_start_again(self, error: Exception) -> bool:
        return isinstance(error, ControllerError) and self._failed_starts <= self._settings.restarts

    def _wait_for_any(self) -> None:
        """Without a single classroom, wait for a node as long as the settings say; then end the run, to be resumed."""
        if self._placement.open:
            self._empty_since = None
            return
        now, patience = time.monotonic(), self._settings.wait_seconds
        patience = NODE_SECONDS if patience is None else patience
        if self._empty_since is None:
            self._empty_since = now
            self._say(f"no classroom is left: waiting for a node that can carry one, {patience:g} s at the most")
        if now - self._empty_since < patience:
            return
        self._interrupt(f"no node has come within {patience:g} s (cluster.wait_seconds): the run ends here")

    def _interrupt(self, reason: str) -> None:
        """End the run so that it can be resumed."""
        self._closing.set()
        self._say(reason)
        if self._in_main_thread:
            # As Ctrl-C does: trials stay open for --resume, instead of failing one after the other.
            _thread.interrupt_main()
        else:
            self.broker.close.remote(reason)

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def _starved(error: Exception | None) -> bool:
    """Whether a classroom never got its workers' resources. Ray Train exports the outer error only."""
    cause = error.controller_failure if isinstance(error, ControllerError) else None
    return type(cause).__name__ == "WorkerGroupStartupTimeoutError"


def _cut_off(error: Exception | None) -> bool:
    """Whether a worker could not reach the storage. Ray Train tells of its workers' errors by text."""
    return StorageError.__name__ in str(error)


def _reason(error: Exception | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
