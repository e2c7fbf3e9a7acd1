"""Sizes of a run that suit the cluster, and workers that Ray would wait for in vain."""

from __future__ import annotations

from typing import Any

import pytest

from raykd.cluster.resources import Resources, plan_for
from raykd.config import ClusterSettings
from raykd.errors import RaykdError


def cluster(*nodes: dict[str, float]) -> Resources:
    return Resources(sum(node.get("CPU", 0) for node in nodes), sum(node.get("GPU", 0) for node in nodes), nodes)


LAPTOP = cluster({"CPU": 2.0})
EIGHT_CPUS = cluster({"CPU": 8.0})
GPU_NODES = cluster({"CPU": 64.0, "GPU": 8.0}, {"CPU": 64.0, "GPU": 8.0})
KUBERNETES = cluster({"memory": 1e9}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 2.0})
BIG_NODES = cluster({"CPU": 32.0}, {"CPU": 16.0})


@pytest.mark.parametrize(
    ("have", "settings", "students", "expected"),
    [
        # classrooms, workers, seats, GPUs of each worker, threads of each worker
        (LAPTOP, {}, 32, (2, 1, 4, 0, 1)),
        (LAPTOP, {}, 1, (1, 1, 1, 0, 2)),
        (LAPTOP, {"workers": 2}, 32, (1, 2, 8, 0, 1)),
        (EIGHT_CPUS, {}, 32, (4, 1, 2, 0, 2)),
        (EIGHT_CPUS, {"classrooms": 1}, 32, (1, 1, 8, 0, 8)),
        (EIGHT_CPUS, {"classrooms": 8, "cpus_per_worker": 0.5}, 32, (8, 1, 1, 0, 1)),
        (EIGHT_CPUS, {"workers": 2}, 32, (2, 2, 4, 0, 2)),
        (EIGHT_CPUS, {"cpus_per_worker": 3.9}, 32, (2, 1, 4, 0, 4)),
        (EIGHT_CPUS, {"threads_per_worker": 3, "seats": 5}, 32, (4, 1, 5, 0, 3)),
        (GPU_NODES, {}, 256, (16, 1, 8, 1, 4)),
        (GPU_NODES, {}, 32, (16, 1, 2, 1, 4)),
        (GPU_NODES, {"workers": 8}, 32, (2, 8, 8, 1, 4)),
        (GPU_NODES, {"classrooms": 1, "workers": 16}, 1, (1, 16, 1, 1, 4)),
        (GPU_NODES, {"gpus_per_worker": 0.5}, 256, (32, 1, 8, 0.5, 4)),
        (GPU_NODES, {"gpus_per_worker": 0}, 256, (8, 1, 2, 0, 16)),
        # What a GPU has left over is no use to a worker that needs more of it.
        (cluster({"CPU": 16.0, "GPU": 2.0}), {"gpus_per_worker": 0.4}, 256, (4, 1, 8, 0.4, 4)),
        (cluster({"CPU": 16.0, "GPU": 3.0}, {"CPU": 16.0, "GPU": 3.0}), {"gpus_per_worker": 2}, 64, (2, 1, 8, 2, 4)),
        # A GPU without a CPU to drive it carries no worker.
        (cluster({"CPU": 4.0, "GPU": 8.0}), {}, 64, (4, 1, 8, 1, 4)),
        # The head node of a Kubernetes cluster has no CPUs: it neither teaches nor counts.
        (KUBERNETES, {}, 64, (4, 1, 8, 1, 4)),
        (KUBERNETES, {"gpus_per_worker": 0}, 64, (8, 1, 2, 0, 4)),
        (BIG_NODES, {}, 64, (8, 1, 2, 0, 4)),
        # A classroom may begin with fewer workers than it should have.
        (LAPTOP, {"workers": 4, "least_workers": 2}, 32, (1, 4, 8, 0, 1)),
    ],
)
def test_a_plan_suits_its_cluster(
    have: Resources, settings: dict[str, Any], students: int, expected: tuple[float, ...]
) -> None:
    found = plan_for(ClusterSettings(**settings), have, students)
    sizes = (found.classrooms, found.workers, found.seats, found.gpus_per_worker, found.threads_per_worker)
    assert sizes == expected
    assert found.cpus_per_worker == settings.get("cpus_per_worker", 0.9)


@pytest.mark.parametrize(
    ("have", "settings", "message"),
    [
        (LAPTOP, {"classrooms": 3}, r"3 workers of 0.9 CPU and 0 GPU do not fit into this cluster \(1 node, 2 CPUs"),
        (LAPTOP, {"workers": 4}, "4 workers of 0.9 CPU"),
        (LAPTOP, {"cpus_per_worker": 4}, "1 worker of 4 CPU"),
        (LAPTOP, {"gpus_per_worker": 1}, "1 worker of 0.9 CPU and 1 GPU do not fit"),
        (LAPTOP, {"cpus_per_worker": 1}, "2 workers would take every CPU of this cluster .* leave none for the trials"),
        (LAPTOP, {"workers": 4, "least_workers": 3}, "3 workers of 0.9 CPU"),
        (LAPTOP, {"workers": 1, "least_workers": 2}, "cluster.least_workers is 2, but cluster.workers is 1"),
        (GPU_NODES, {"workers": 17}, "17 workers of 0.9 CPU and 1 GPU do not fit"),
        (GPU_NODES, {"classrooms": 3, "workers": 6}, "18 workers"),
        # 13 CPUs in all, but each worker must fit on one node.
        (cluster({"CPU": 7.0}, {"CPU": 6.0}), {"classrooms": 2, "cpus_per_worker": 6.5}, "2 workers of 6.5 CPU"),
        (cluster({"CPU": 8.0, "GPU": 2.0}), {"classrooms": 5, "gpus_per_worker": 0.4}, "5 workers of 0.9 CPU"),
        (cluster({"memory": 1e9}), {}, "1 worker of 0.9 CPU and 0 GPU do not fit"),
    ],
)
def test_workers_that_do_not_fit_are_refused(have: Resources, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        plan_for(ClusterSettings(**settings), have, students=64)


def test_plans_and_clusters_read_as_plain_words() -> None:
    assert str(LAPTOP) == "1 node, 2 CPUs, 0 GPUs"
    assert str(plan_for(ClusterSettings(), LAPTOP, 32)) == "2 classrooms x 1 worker x 4 seats, 1 CPU thread per worker"
    assert str(plan_for(ClusterSettings(gpus_per_worker=0.5), GPU_NODES, 1)) == (
        "1 classroom x 1 worker x 1 seat, 0.5 GPU per worker"
    )
