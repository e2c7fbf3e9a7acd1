"""The loop of a classroom's workers under Ray Train: attend, do what the agenda says, report, attend again."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from raykd.cluster.session import NAMESPACE
from raykd.cluster.usage import gpu_usage, node_usage
from raykd.training.classroom import Classroom
from raykd.training.messages import Report, WorkerCommands, WorkerPoll
from raykd.training.team import Team

HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Post:
    """Where a classroom's workers report to, and what they may use: the train loop's config.

    `usage_seconds` lie between two looks at how busy their nodes are; 0: nobody looks.
    """

    broker: str
    classroom: str
    seats: int
    threads: int
    usage_seconds: float = 0.0


def work_until_closed(config: dict[str, Any]) -> None:
    """Run one worker of a classroom until the broker closes it; `config` holds the fields of `Post`."""
    post = Post(**config)
    torch.set_num_threads(post.threads)
    # Which lines a worker prints is nobody's business but ours: results travel as reports.
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    team = Team.of_process_group(ray.train.torch.get_device())
    if post.usage_seconds:
        threading.Thread(target=_tell_usage, args=(post, team.device), name="usage", daemon=True).start()
    classroom = Classroom(team)
    line = _BrokerLine(post) if team.rank == 0 else None
    reports: tuple[Report, ...] = ()
    while True:
        heard = line.poll(classroom.seated, reports) if line else None
        commands: WorkerCommands = team.from_first(heard)
        if commands.close:
            return
        reports = classroom.follow(commands)


class _BrokerLine:
    """The first worker's line to the broker, with a heartbeat beside it while an epoch runs."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._broker: Any = ray.get_actor(post.broker, namespace=NAMESPACE)
        self._beat()
        threading.Thread(target=self._beat_for_ever, name="heartbeat", daemon=True).start()

    def poll(self, seated: tuple[str, ...], reports: tuple[Report, ...]) -> WorkerCommands:
        worker_poll = WorkerPoll(self._post.classroom, self._post.seats, seated, reports)
        commands: WorkerCommands = ray.get(self._broker.poll.remote(worker_poll))
        return commands

    def _beat(self) -> None:
        self._broker.heartbeat.remote(self._post.classroom)

    def _beat_for_ever(self) -> None:
        stopped = threading.Event()
        while not stopped.wait(HEARTBEAT_SECONDS):
            self._beat()


def _tell_usage(post: Post, device: torch.device) -> None:
    """Tell the broker how busy this worker's node and GPU are, as long as the process lives."""
    broker = ray.get_actor(post.broker, namespace=NAMESPACE)
    node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    node_usage()  # the first look at a CPU finds nothing
    stopped = threading.Event()
    while not stopped.wait(post.usage_seconds):
        broker.note_usage.remote(node, node_usage() | gpu_usage(device))
