"""The broker: one small named actor between the trials of a study and its classrooms.

Trials submit students and ask for epochs; classrooms poll it between epochs for what to do next. The state itself is
`Assignments`; this is only the waiting. The actor may die and restart with empty state: trials submit their students
again when they learn that these are unknown, and classrooms learn that nobody should sit there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raykd.cluster.assignments import Assignments, Awaits
from raykd.cluster.session import NAMESPACE
from raykd.training.messages import Fault, Report, TrainRequest, WorkerCommands, WorkerPoll

LOCKSTEP_SECONDS = 1.0
"""How long a classroom waits for seated students whose next epoch Tune has not asked for yet."""

IDLE_SECONDS = 10.0
"""After so long without anything to do, a classroom's seats go to students that wait for one."""

ASSEMBLY_SECONDS = 30.0
"""How long a search's first trials wait for each other's processes, and a run's first classrooms for one another."""

STORAGE_FAULTS = 2
"""A classroom that its storage has refused so often without an epoch between is closed: a new start takes long, and
finds the same."""

POLL_SECONDS = 1.0
"""How often waiting calls look at the clock, for leases that ran out."""


class Broker:
    """The actor's class; create it with `start_broker`. Its clock is the event loop's."""

    def __init__(self, lease_seconds: float) -> None:
        self._assignments = Assignments(lease_seconds)
        self._changed = asyncio.Condition()
        self._polls: Counter[str] = Counter()
        self._closing: set[str] = set()
        self._closed: str | None = None
        self._assembled: Counter[str] = Counter()
        self._usage: dict[str, dict[str, float]] = {}
        self._notices: dict[str, bool] = {}
        self._storage_faults: dict[str, dict[int, str]] = {}

    async def assemble(self, study: str, size: int) -> None:
        """Wait until so many processes of a study's trials have started, this one included; later ones need not wait.

        Tune hands the process of a finished trial to one whose own process is still starting, kills that one, and
        starts another for the trial after it. While trials are shorter than the start of their processes, that never
        ends: one process works, and all the others start for nothing.
        """
        self._assembled[study] += 1
        await self._notify()
        end = _now() + ASSEMBLY_SECONDS
        while self._assembled[study] < size and self._closed is None and _now() < end:
            await self._wait()

    async def expect(self, classrooms: int) -> None:
        """So many classrooms are starting; the first ones do not take the students of those that are slower."""
        self._assignments.expect(classrooms, _now() + ASSEMBLY_SECONDS)

    async def submit(self, request: TrainRequest) -> None:
        """Add a student; see `Assignments.submit`."""
        self._assignments.submit(request)
        await self._notify()

    async def submit_for_all_epochs(self, requests: Sequence[TrainRequest]) -> None:
        """Add students that nobody will stop: those that are seated together train in step, from first to last epoch.

        Were each requested by itself, the first would begin alone, and each see the views in another order.
        """
        for request in requests:
            self._assignments.submit(request)
            self._assignments.request_epoch(request.student, request.spec.training.epochs)
        await self._notify()

    async def withdraw(self, student: str) -> None:
        """Forget a student; its seat becomes free."""
        self._assignments.withdraw(student)
        await self._notify()

    async def report(self, student: str, epoch: int) -> Report | None:
        """Allow a student to train up to an epoch (1-based) and wait for its report. None: the student is unknown."""
        assignments = self._assignments
        await self._notify(assignments.knows(student) and assignments.request_epoch(student, epoch) is None)
        while assignments.knows(student):
            if report := assignments.request_epoch(student, epoch):
                return report
            if self._closed is not None:
                return Report(student=student, ticket="", epoch=epoch, failure=self._closed, interrupted=True)
            await self._wait()
        return None

    async def poll(self, worker_poll: WorkerPoll) -> WorkerCommands:
        """Take a classroom's reports and wait until there is something to do for it."""
        name = worker_poll.classroom
        # A restarted classroom polls while the call of its dead predecessor may still be waiting here.
        self._polls[name] += 1
        call = self._polls[name]
        if worker_poll.reports:
            self._storage_faults.pop(name, None)
        self._assignments.poll(worker_poll, _now())
        await self._notify()
        lockstep_end, idle_end = (_now() + seconds for seconds in (LOCKSTEP_SECONDS, IDLE_SECONDS))
        while self._polls[name] == call and self._closed is None and name not in self._closing:
            now = _now()
            self._assignments.heartbeat(name, now)
            self._assignments.expire_leases(now)
            if now > idle_end:
                self._assignments.make_room(name)
            if now < lockstep_end and self._assignments.awaits_requests(worker_poll):
                await self._wait(min(POLL_SECONDS, max(lockstep_end - now, 0.01)))
            elif commands := self._assignments.commands(worker_poll):
                return commands
            else:
                await self._wait()
        if name in self._closing:
            self._assignments.remove_classroom(name, count_failure=False)
            await self._notify()
        return WorkerCommands(close=True)

    async def heartbeat(self, classroom: str, epoch_seconds: float | None = None) -> None:
        """A classroom's sign of life during a long epoch; see `Assignments.heartbeat`."""
        self._assignments.heartbeat(classroom, _now(), epoch_seconds)

    async def record_fault(self, classroom: str, fault: Fault) -> None:
        """Why a worker of a classroom ends; see `Assignments.record_fault`. The user is told."""
        self._assignments.record_fault(classroom, fault)
        if fault.storage:
            faults = self._storage_faults.setdefault(classroom, {})
            # All workers that meet the same fault have followed the same call.
            faults[self._polls[classroom]] = fault.reason
            if len(faults) >= STORAGE_FAULTS:
                self._closing.add(classroom)
        becomes = "is given up" if classroom in self._closing else "starts again"
        await self.record_notice(f"{classroom} {becomes}: {fault.reason}")
        await self._notify()

    async def refused(self, classroom: str) -> str | None:
        """What the storage has said to a classroom that was closed for it; None if it was not."""
        faults = list(self._storage_faults.get(classroom, {}).values())
        return faults[-1] if len(faults) >= STORAGE_FAULTS else None

    async def remove_classroom(self, classroom: str) -> None:
        """A classroom is gone for good; its students go to the others, and its last call ends."""
        self._polls[classroom] += 1
        self._assignments.remove_classroom(classroom)
        await self._notify()

    async def progressed(self, classroom: str) -> bool:
        """See `Assignments.progressed`."""
        return self._assignments.progressed(classroom)

    async def close_classroom(self, classroom: str) -> None:
        """Close a classroom after its epoch, as it is to open again elsewhere. Its students go to the others."""
        self._closing.add(classroom)
        await self._notify()

    async def remove_lost_classroom(self, classroom: str) -> int:
        """A classroom's node has left: its students continue elsewhere from their last epoch.

        What is left of it, such as workers on other nodes, is closed at its next poll.

        Returns:
            How many students that are.
        """
        self._closing.add(classroom)
        leaving = self._assignments.remove_classroom(classroom, count_failure=False)
        await self._notify()
        return leaving

    async def close(self, reason: str) -> None:
        """Close all classrooms; whoever still waits for a report is told that the run ends, and why."""
        self._closed = reason
        await self._notify()

    async def record_usage(self, node: str, usage: Mapping[str, float]) -> None:
        """How busy a node is, from one of its workers."""
        self._usage.setdefault(node, {}).update(usage)

    async def usage(self) -> dict[str, dict[str, float]]:
        """How busy each node is that has been recorded since the last call."""
        usage, self._usage = self._usage, {}
        return usage

    async def record_notice(self, line: str) -> None:
        """What a classroom has to say to the user; the same line is told once."""
        self._notices.setdefault(line, False)

    async def notices(self) -> list[str]:
        """The lines that have not been told yet."""
        new = [line for line, told in self._notices.items() if not told]
        self._notices.update(dict.fromkeys(new, True))
        return new

    async def seated(self) -> dict[str, str]:
        """Student to classroom, of all that sit somewhere."""
        return self._assignments.seated()

    async def awaits(self, prefix: str) -> Awaits:
        """See `Assignments.awaits`."""
        return self._assignments.awaits(prefix)

    async def _notify(self, needed: bool = True) -> None:
        if needed:
            async with self._changed:
                self._changed.notify_all()

    async def _wait(self, seconds: float = POLL_SECONDS) -> None:
        async with self._changed:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()


def start_broker(name: str, lease_seconds: float) -> Any:
    """Start the named broker; it lives as long as the driver. Returns its actor handle."""
    actor = ray.remote(Broker)
    driver_node = ray.get_runtime_context().get_node_id()
    return actor.options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=0,
        # Beside the driver, without which there is no study: no other node's end takes the state with it.
        scheduling_strategy=NodeAffinitySchedulingStrategy(driver_node, soft=False),
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=10_000,
    ).remote(lease_seconds)
