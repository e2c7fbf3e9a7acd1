"""The loop of a classroom's workers under Ray Train: poll the broker, do as it asks, report, poll again.

A worker ends by an error, which ends the others, too, and Ray Train starts all of them anew. Before, it tells the
broker why, unless that may be a student's own fault.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from raykd.cluster.session import NAMESPACE
from raykd.cluster.usage import gpu_usage, node_usage
from raykd.cluster.watchdog import start_watchdog
from raykd.imports import work_in
from raykd.training.classroom import Classroom
from raykd.training.messages import Fault, Report, WorkerCommands, WorkerPoll
from raykd.training.team import Team
from raykd.training.watch import Watch

HEARTBEAT_SECONDS = 5.0

FAULT_SECONDS = 30.0
"""How long a worker that ends waits for the broker to hear why."""


@dataclass(frozen=True)
class WorkerConfig:
    """Which broker and classroom a worker belongs to, and what it may use: Ray Train's config of the train loop.

    - stall_seconds: see `ClusterSettings`
    - folder: the driver's, from which the user's own code sees relative paths
    - usage_seconds: between two measurements of how busy its node is; 0: none are made
    """

    broker: str
    classroom: str
    seats: int
    threads: int
    stall_seconds: float
    folder: str
    usage_seconds: float = 0.0


def work_until_closed(config: dict[str, Any]) -> None:
    """Run one worker of a classroom until the broker closes it; `config` holds the fields of `WorkerConfig`."""
    worker = WorkerConfig(**config)
    torch.set_num_threads(worker.threads)
    # Ray Train has just put it into a folder of its own.
    work_in(worker.folder)
    # Results travel as reports; a worker's own lines would only disturb the user's.
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    team = Team.of_process_group(ray.train.torch.get_device())
    if worker.usage_seconds:
        threading.Thread(target=_report_usage, args=(worker, team.device), name="usage", daemon=True).start()
    classroom = Classroom(team)
    connection = _BrokerConnection(worker)
    if team.rank == 0:
        connection.start_heartbeat(team.watch)
        logging.getLogger("raykd").addHandler(connection)
    start_watchdog(team.watch, worker.stall_seconds, connection.tell)
    reports: tuple[Report, ...] = ()
    while True:
        received = connection.poll(classroom.seated, reports) if team.rank == 0 else None
        commands: WorkerCommands = team.broadcast(received)
        if commands.close:
            return
        try:
            reports = classroom.follow(commands)
        except Exception as error:
            if (fault := classroom.fault(error, commands)) is not None:
                connection.tell(fault)
            raise


class _BrokerConnection(logging.Handler):
    """A worker's connection to the broker; the first one has a heartbeat beside it while an epoch runs.

    As a handler it passes raykd's warnings on, which only the driver can show to the user.
    """

    def __init__(self, worker: WorkerConfig) -> None:
        super().__init__(logging.WARNING)
        self._worker = worker
        self._broker: Any = ray.get_actor(worker.broker, namespace=NAMESPACE)

    def start_heartbeat(self, watch: Watch) -> None:
        """Send heartbeats from a thread of their own, as long as the process lives."""
        threading.Thread(target=self._beat, args=(watch,), name="heartbeat", daemon=True).start()

    def poll(self, seated: tuple[str, ...], reports: tuple[Report, ...]) -> WorkerCommands:
        worker_poll = WorkerPoll(self._worker.classroom, self._worker.seats, seated, reports)
        commands: WorkerCommands = ray.get(self._broker.poll.remote(worker_poll))
        return commands

    def tell(self, fault: Fault) -> None:
        """Say why this worker ends. A broker that does not hear it takes it for a death like any other."""
        with suppress(Exception):
            ray.get(self._broker.record_fault.remote(self._worker.classroom, fault), timeout=FAULT_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a warning on."""
        self._broker.record_notice.remote(record.getMessage())

    def _beat(self, watch: Watch) -> None:
        while True:
            self._broker.heartbeat.remote(self._worker.classroom, watch.epoch_seconds)
            time.sleep(HEARTBEAT_SECONDS)


def _report_usage(worker: WorkerConfig, device: torch.device) -> None:
    """Report to the broker how busy this worker's node and GPU are, as long as the process lives."""
    broker = ray.get_actor(worker.broker, namespace=NAMESPACE)
    node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    node_usage()  # the first measurement of a CPU gives nothing
    while True:
        time.sleep(worker.usage_seconds)
        broker.record_usage.remote(node, node_usage() | gpu_usage(device))
