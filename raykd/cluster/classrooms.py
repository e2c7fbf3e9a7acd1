"""The classrooms of a run: long-lived Ray Train worker groups on the cluster's nodes, and the broker they poll."""

from __future__ import annotations

import _thread
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.train import ControllerError
from rich.console import Console

from raykd.cluster.broker import start_broker
from raykd.cluster.node_checks import NodeChecks
from raykd.cluster.placement import Nodes, PlacedClassroom, Placement
from raykd.cluster.resources import Plan, living_nodes
from raykd.cluster.trainer import classroom_trainer, lacked_resources, reason_of
from raykd.cluster.watchdog import HEALTH_CHECK_TIMEOUT, HEALTH_CHECKS
from raykd.config import ClusterSettings

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 30.0
"""How long classrooms get to finish their epoch when a run ends."""

NODE_CHECK_SECONDS = 2.0
"""How often the classrooms are compared with the living nodes."""

NODE_WAIT_SECONDS = 600.0
"""How long a run without any classroom waits for a node, unless `cluster.wait_seconds` says otherwise."""


@dataclass(frozen=True)
class Usage:
    """Monitoring of how busy the workers' nodes are.

    - seconds: between two measurements; 0: none are made
    - on_usage: called with each node's figures, by node; see `raykd.cluster.usage`
    """

    seconds: float
    on_usage: Callable[[Mapping[str, Mapping[str, float]]], object]


class Classrooms:
    """Classrooms that train students as long as the context is open, on the nodes that there are.

    A classroom that lost a node is closed, and opened again where there is room for it.

    Attributes:
        name: Name of the broker.
        broker: Its actor handle; see `raykd.cluster.client.StudentClient`.

    Args:
        plan: How many, and how large.
        settings: Restarts, leases, and how to react as nodes join and leave.
        storage: Folder for Ray Train's own files, a path or URL, seen by all nodes.
        console: Where changes of the classrooms are printed. None: nowhere.
        usage: How busy their nodes are is reported there. None: it is not measured.
        node_checks: Decides which nodes may carry a classroom, also of those that join. None: all may.
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
        # A worker whose threads do not run, as it is stopped, for instance, can be seen to hang by Ray Train alone.
        os.environ[HEALTH_CHECK_TIMEOUT] = str(HEALTH_CHECKS * self._settings.stall_seconds)
        self.broker = start_broker(self.name, self._settings.lease_seconds)
        first = self._placement.update(self._nodes(), time.monotonic())
        self.broker.expect.remote(len(first.opened))
        self._open(first.opened)
        for line in first.incomplete(self._plan):
            self._say(line)
        threading.Thread(target=self._follow_nodes, name="nodes", daemon=True).start()
        if self._usage:
            threading.Thread(target=self._pass_usage_on, args=(self._usage,), name="usage", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closing.set()
            if self._node_checks is not None:
                self._node_checks.close()
        try:
            ray.get(self.broker.close.remote("the run ended"), timeout=CLOSING_SECONDS)
            self._tell_notices()
        except RayError:  # Ray itself has died; what is raised already says so
            logger.debug("the broker could not be closed", exc_info=True)
            return
        end = time.monotonic() + CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
        ray.kill(self.broker)

    @property
    def ended(self) -> bool:
        """Whether the run ends, to be resumed, although the context is open: no classroom is left, or none comes."""
        return self._closing.is_set()

    @property
    def seats(self) -> int:
        """How many students can be trained at once, as the cluster is now."""
        with self._lock:
            return self._placement.seats

    def _follow_nodes(self) -> None:
        """Adapt the classrooms to the nodes that join and leave, until the run ends."""
        while not self._closing.wait(NODE_CHECK_SECONDS):
            try:
                self._update()
                self._tell_notices()
            except Exception:
                logger.debug("the classrooms could not be compared with the nodes", exc_info=True)

    def _tell_notices(self) -> None:
        for line in ray.get(self.broker.notices.remote()):
            self._say(line)

    def _pass_usage_on(self, usage: Usage) -> None:
        while not self._closing.wait(usage.seconds):
            try:
                usage.on_usage(ray.get(self.broker.usage.remote()))
            except Exception:
                logger.debug("the usage of the nodes could not be passed on", exc_info=True)

    def _update(self) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            changes = self._placement.update(self._nodes(), time.monotonic())
            for room in changes.growing:
                self.broker.close_classroom.remote(room.name)
            self._open(changes.opened)
            moved: int = sum(ray.get([self.broker.remove_lost_classroom.remote(room.name) for room in changes.lost]))
            for line in changes.messages(self._plan, moved, self._placement.seats):
                self._say(line)
            self._wait_for_any()

    def _nodes(self) -> Nodes:
        """The living nodes, without those that cannot use the shared folders, or have not answered yet."""
        if self._node_checks is None:
            return living_nodes()
        nodes, lines = self._node_checks.usable(living_nodes())
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
        trainer = classroom_trainer(
            room,
            self._plan,
            self._settings,
            broker=self.name,
            storage=str(self._storage),
            usage_seconds=self._usage.seconds if self._usage else 0.0,
        )
        try:
            trainer.fit()
        except Exception as error:
            logger.debug("%s is gone", room.name, exc_info=True)
            self._end(room, error)
        else:
            self._end(room, None)

    def _end(self, room: PlacedClassroom, error: Exception | None) -> None:
        """A classroom's workers are gone: for want of resources, because of faults, or because it was closed."""
        with self._lock:
            if self._closing.is_set():
                return
            busy = lacked_resources(error)
            self._failed_starts += isinstance(error, ControllerError) and not busy
            refused: str | None = ray.get(self.broker.refused.remote(room.name))
            failed = error is not None and not busy and not self._may_start_again(room, error)
            given_up = failed or refused is not None
            if not self._placement.ended(room.name, given_up=given_up, busy=busy, now=time.monotonic()):
                return
            self.broker.remove_classroom.remote(room.name)
            if busy:
                self._say(f"{room.name} cannot open: its nodes' resources are taken; tried again later")
            if given_up:
                self._say(f"{room.name} is given up: {refused if error is None else reason_of(error)}")
                if self._placement.exhausted:
                    self.interrupt(f"no classroom {'can use its storage' if refused else 'is left'}: the run ends here")

    def _may_start_again(self, room: PlacedClassroom, error: Exception) -> bool:
        """Faults count anew after progress: a run of days sees more of them than one classroom may have in a row."""
        if isinstance(error, ControllerError) and self._failed_starts <= self._settings.restarts:
            return True
        progressed: bool = ray.get(self.broker.progressed.remote(room.name))
        return progressed

    def _wait_for_any(self) -> None:
        """Without a single classroom, wait for a node as long as the settings say; then end the run, to be resumed."""
        if self._placement.open:
            self._empty_since = None
            return
        now, limit = time.monotonic(), self._settings.wait_seconds
        limit = NODE_WAIT_SECONDS if limit is None else limit
        if self._empty_since is None:
            self._empty_since = now
            self._say(f"no classroom is left: waiting for a node that can carry one, {limit:g} s at the most")
        if now - self._empty_since < limit:
            return
        self.interrupt(f"no node has come within {limit:g} s (cluster.wait_seconds): the run ends here")

    def interrupt(self, reason: str) -> None:
        """End the run so that it can be resumed, and say why; only the first call counts."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._say(reason)
        if self._in_main_thread:
            # As Ctrl-C does: trials stay open for --resume, instead of failing one after the other.
            _thread.interrupt_main()
        else:
            self.broker.close.remote(reason)

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)
