"""The broker: one small named actor between the trials of a study and its classrooms.

Trials enrol students and ask for epochs; classrooms attend between epochs and are told what to do next. The book
itself is `Assignments`; here is only the waiting. The actor may die and come back with an empty book: trials enrol
again when they hear that they are unknown, and classrooms hear that nobody should sit there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raykd.cluster.assignments import Assignments
from raykd.cluster.session import NAMESPACE
from raykd.training.messages import Report, TrainRequest, WorkerCommands, WorkerPoll

LOCKSTEP_SECONDS = 1.0
"""How long a classroom waits for seated students whose next epoch Tune has not asked for yet."""

ASSEMBLY_SECONDS = 30.0
"""How long a search's first trials wait for each other's processes."""

POLL_SECONDS = 1.0
"""How often waiting calls look at the clock, for leases that ran out."""


class Broker:
    """The actor's class; create it with `start_broker`."""

    def __init__(self, lease_seconds: float) -> None:
        self._assignments = Assignments(lease_seconds)
        self._changed = asyncio.Condition()
        self._polls: dict[str, int] = {}
        self._recalled: set[str] = set()
        self._closed: str | None = None
        self._assembled: Counter[str] = Counter()
        self._usage: dict[str, dict[str, float]] = {}

    async def assemble(self, study: str, size: int) -> None:
        """Wait until so many processes of a study's trials have started, this one included; later ones need not wait.

        Tune hands the process of a finished trial to one whose own process is still starting, kills that one, and
        starts another for the trial after it. While trials are shorter than the start of their processes, that never
        ends: one process works, and all the others start for nothing.
        """
        self._assembled[study] += 1
        await self._notify()
        patience_ends = time.monotonic() + ASSEMBLY_SECONDS
        while self._assembled[study] < size and self._closed is None and time.monotonic() < patience_ends:
            await self._wait()

    async def submit(self, request: TrainRequest) -> None:
        """Take a student in; see `Assignments.enrol`."""
        self._assignments.submit(request)
        await self._notify()

    async def submit_for_all_epochs(self, requests: Sequence[TrainRequest]) -> None:
        """Take in students that nobody will stop: those that are seated together go from first to last epoch in step.

        Had each to be asked for by itself, the first would begin alone, and each see the views in another order.
        """
        for request in requests:
            self._assignments.submit(request)
            self._assignments.want(request.student, request.spec.training.epochs)
        await self._notify()

    async def withdraw(self, student: str) -> None:
        """Forget a student; its seat becomes free."""
        self._assignments.withdraw(student)
        await self._notify()

    async def report(self, student: str, epoch: int) -> Report | None:
        """Let a student learn up to an epoch (1-based) and wait for its report. None: the student is unknown."""
        await self._notify(self._assignments.knows(student) and self._assignments.want(student, epoch) is None)
        while self._assignments.knows(student):
            if found := self._assignments.want(student, epoch):
                return found
            if self._closed is not None:
                return Report(student=student, ticket="", epoch=epoch, failure=self._closed)
            await self._wait()
        return None

    async def poll(self, worker_poll: WorkerPoll) -> WorkerCommands:
        """Take a classroom's reports and wait until there is something to do for it."""
        name = worker_poll.classroom
        # A restarted classroom attends anew while the call of its dead predecessor may still be waiting here.
        call = self._polls[name] = self._polls.get(name, 0) + 1
        self._assignments.poll(worker_poll, time.monotonic())
        await self._notify()
        patience_ends = time.monotonic() + LOCKSTEP_SECONDS
        while self._polls[name] == call and self._closed is None and name not in self._recalled:
            self._assignments.heartbeat(name, time.monotonic())
            self._assignments.expire(time.monotonic())
            patient = self._assignments.undecided(worker_poll) and time.monotonic() < patience_ends
            if not patient and (commands := self._assignments.commands(worker_poll)):
                return commands
            await self._wait(
                min(POLL_SECONDS, max(patience_ends - time.monotonic(), 0.01)) if patient else POLL_SECONDS
            )
        if name in self._recalled:
            self._assignments.dismiss(name, blameless=True)
            await self._notify()
        return WorkerCommands(close=True)

    async def heartbeat(self, classroom: str) -> None:
        """A classroom's sign of life during a long epoch."""
        self._assignments.heartbeat(classroom, time.monotonic())

    async def dismiss(self, classroom: str) -> None:
        """A classroom is gone for good; its students go to the others, and its last call ends."""
        self._polls[classroom] = self._polls.get(classroom, 0) + 1
        self._assignments.dismiss(classroom)
        await self._notify()

    async def recall(self, classroom: str) -> None:
        """Send a classroom home after its epoch, as it is to open again elsewhere. Its students go to the others."""
        self._recalled.add(classroom)
        await self._notify()

    async def lose(self, classroom: str) -> int:
        """A classroom's node has left: its students go to the others from their last epoch. Returns how many they are.

        What is left of it, as workers on other nodes, hears that it is closed.
        """
        self._recalled.add(classroom)
        leaving = self._assignments.dismiss(classroom, blameless=True)
        await self._notify()
        return leaving

    async def close(self, reason: str) -> None:
        """Send all classrooms home; whoever still waits for a report hears the reason as a failure."""
        self._closed = reason
        await self._notify()

    async def note_usage(self, node: str, usage: Mapping[str, float]) -> None:
        """How busy a node is, from one of its workers."""
        self._usage.setdefault(node, {}).update(usage)

    async def usage(self) -> dict[str, dict[str, float]]:
        """How busy each node is that has been heard of since the last call."""
        found, self._usage = self._usage, {}
        return found

    async def seated(self) -> dict[str, str]:
        """Student to classroom, of all that sit somewhere."""
        return self._assignments.seated()

    async def _notify(self, needed: bool = True) -> None:
        if needed:
            async with self._changed:
                self._changed.notify_all()

    async def _wait(self, seconds: float = POLL_SECONDS) -> None:
        async with self._changed:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)


def start_broker(name: str, lease_seconds: float) -> Any:
    """Start the named broker; it lives as long as the driver. Returns its actor handle."""
    actor = ray.remote(Broker)
    here = ray.get_runtime_context().get_node_id()
    return actor.options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=0,
        # Beside the driver, without which there is no study: no other node takes the book with it.
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=10_000,
    ).remote(lease_seconds)
