"""Waiting for nodes that a run needs: it is announced, the autoscaler is asked, and it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from raykd.cluster.resources import CHECK_SECONDS, Bundles, Resources, wait_until_workers_fit
from raykd.config import ClusterSettings
from raykd.errors import RaykdError
from tests.helpers.virtual_time import VirtualClock

SMALL = Resources.of([{"CPU": 4.0}])
LARGE = Resources.of([{"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}])


class Cluster:
    """Grows after it was asked for its resources so often; records the lines and the requests."""

    def __init__(self, checks: int) -> None:
        self.lines: list[str] = []
        self.requests: list[Bundles] = []
        self.clock = VirtualClock()
        self._states: Iterator[Resources] = iter([SMALL] * checks)

    def resources(self) -> Resources:
        return next(self._states, LARGE)

    def request(self, cpus: None, bundles: Bundles) -> None:
        self.requests.append(bundles)

    def wait(self, **settings: Any) -> Any:
        cluster = ClusterSettings(**settings)
        return wait_until_workers_fit(
            cluster, 8, self.resources, self.lines.append, self.request, self.clock.time, self.clock.sleep
        )


def test_a_run_does_not_wait_where_the_workers_fit() -> None:
    cluster = Cluster(checks=0)
    have, plan = cluster.wait(gpus_per_worker=1, classrooms=2)
    assert (have, plan.classrooms) == (LARGE, 2)
    assert (cluster.lines, cluster.requests, cluster.clock.now) == ([], [], 0.0)


def test_a_run_waits_for_nodes_says_so_and_asks_for_them_once() -> None:
    cluster = Cluster(checks=5)
    have, plan = cluster.wait(gpus_per_worker=1, classrooms=2, wait_seconds=60)
    assert (have, plan.gpus_per_worker) == (LARGE, 1.0)
    assert cluster.clock.now == 5 * CHECK_SECONDS
    assert cluster.requests == [[{"CPU": 0.9, "GPU": 1.0}] * 2, []]
    assert cluster.lines == [
        "waiting for nodes, 60 s more at the most: 1 node, 4 CPUs, 0 GPUs; asked for 2 x 0.9 CPU and 1 GPU"
    ]


def test_a_line_comes_now_and_then() -> None:
    cluster = Cluster(checks=20)
    cluster.wait(gpus_per_worker=1, wait_seconds=60)
    assert [re.search(r"nodes, (\d+) s", line)[1] for line in cluster.lines] == ["60", "44", "28"]


def test_waiting_ends_in_two_lines() -> None:
    cluster = Cluster(checks=1000)
    with pytest.raises(RaykdError) as failure:
        cluster.wait(gpus_per_worker=0.5, workers=3, wait_seconds=5)
    first, second = str(failure.value).splitlines()
    assert re.match("after 5 s of waiting, 3 workers of 0.9 CPU and 0.5 GPU do not fit into this cluster", first)
    assert "cluster.wait_seconds" in second
    assert cluster.clock.now == 5.0
    assert cluster.requests == [[{"CPU": 0.9, "GPU": 0.5}] * 3, []]


def test_a_run_does_not_wait_unless_it_is_asked_to() -> None:
    cluster = Cluster(checks=1)
    with pytest.raises(RaykdError, match=r"^1 worker of 0\.9 CPU and 1 GPU do not fit"):
        cluster.wait(gpus_per_worker=1)
    assert (cluster.lines, cluster.requests, cluster.clock.now) == ([], [], 0.0)
