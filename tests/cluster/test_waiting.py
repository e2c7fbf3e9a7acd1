"""Waiting for nodes that a run needs: with words, with the autoscaler asked, and not for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from raykd.cluster import resources
from raykd.cluster.resources import Bundles, Resources, fitting
from raykd.config import ClusterSettings
from raykd.errors import RaykdError

SMALL = Resources.of([{"CPU": 4.0}])
LARGE = Resources.of([{"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}])


class Cluster:
    """Grows after some looks; remembers what was said and asked."""

    def __init__(self, looks: int) -> None:
        self.said: list[str] = []
        self.asked: list[Bundles] = []
        self._states: Iterator[Resources] = iter([SMALL] * looks)

    def look(self) -> Resources:
        return next(self._states, LARGE)

    def request(self, cpus: None, bundles: Bundles) -> None:
        self.asked.append(bundles)

    def fitting(self, **settings: Any) -> Any:
        return fitting(ClusterSettings(**settings), 8, self.look, self.said.append, self.request)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "LOOK_SECONDS", 0.01)


def test_nobody_waits_where_the_workers_fit() -> None:
    cluster = Cluster(looks=0)
    have, plan = cluster.fitting(gpus_per_worker=1, classrooms=2)
    assert (have, plan.classrooms) == (LARGE, 2)
    assert (cluster.said, cluster.asked) == ([], [])


def test_a_run_waits_for_nodes_says_so_and_asks_for_them_once() -> None:
    cluster = Cluster(looks=5)
    have, plan = cluster.fitting(gpus_per_worker=1, classrooms=2, wait_seconds=60)
    assert (have, plan.gpus_per_worker) == (LARGE, 1.0)
    assert cluster.asked == [[{"CPU": 0.9, "GPU": 1.0}] * 2, []]
    assert cluster.said == [
        "waiting for nodes, 60 s more at the most: 1 node, 4 CPUs, 0 GPUs; asked for 2 x 0.9 CPU and 1 GPU"
    ]


def test_a_word_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "WORD_SECONDS", 0.05)
    cluster = Cluster(looks=20)
    cluster.fitting(gpus_per_worker=1, wait_seconds=60)
    assert 2 <= len(cluster.said) <= 15


def test_waiting_ends_in_two_lines() -> None:
    cluster = Cluster(looks=1000)
    with pytest.raises(RaykdError) as failure:
        cluster.fitting(gpus_per_worker=0.5, workers=3, wait_seconds=0.1)
    first, second = str(failure.value).splitlines()
    assert re.match("after 0.1 s of waiting, 3 workers of 0.9 CPU and 0.5 GPU do not fit into this cluster", first)
    assert "cluster.wait_seconds" in second
    assert cluster.asked == [[{"CPU": 0.9, "GPU": 0.5}] * 3, []]


def test_nobody_waits_unasked() -> None:
    cluster = Cluster(looks=1)
    with pytest.raises(RaykdError, match=r"^1 worker of 0\.9 CPU and 1 GPU do not fit"):
        cluster.fitting(gpus_per_worker=1)
    assert (cluster.said, cluster.asked) == ([], [])
