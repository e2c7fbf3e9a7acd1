"""How busy a node is, held against what the kernel says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from raykd.cluster.usage import gpu_usage, node_usage

GIB = 2**30


def memory() -> dict[str, float]:
    """Linux's own figures, in megabytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {name.rstrip(":"): float(value) * 1024 / 1e6 for name, value, *_ in lines}


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs Linux")
def test_memory_and_cpu_are_those_of_the_node() -> None:
    node_usage()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    found = node_usage()
    assert found.keys() == {
        "cpu_utilization_percentage",
        "system_memory_usage_percentage",
        "system_memory_usage_megabytes",
    }
    assert 0 < found["cpu_utilization_percentage"] <= 100
    kernel = memory()
    total = kernel["MemTotal"]
    assert found["system_memory_usage_percentage"] == pytest.approx(100 * (1 - kernel["MemAvailable"] / total), abs=5)
    assert 0 < found["system_memory_usage_megabytes"] < total


def test_a_worker_without_gpu_tells_of_none() -> None:
    assert gpu_usage(torch.device("cpu")) == {}


@pytest.mark.parametrize(
    ("visible", "number"), [(None, "1"), ("4,6", "6"), ("GPU-a,GPU-b", "GPU-b")], ids=["all", "numbers", "names"]
)
def test_a_gpu_has_the_nodes_name_and_its_own_figures(
    visible: str | None, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", {device: (6 * GIB, 8 * GIB)}.__getitem__)
    monkeypatch.setattr(torch.cuda, "utilization", {device: 70}.__getitem__)
    monkeypatch.setattr(torch.cuda, "power_draw", {device: 250_000}.__getitem__)
    expected = {"memory_usage_percentage": 25.0, "memory_usage_megabytes": 2 * GIB / 1e6}
    busy = {"utilization_percentage": 70.0, "power_usage_watts": 250.0}
    assert gpu_usage(device) == {f"gpu_{number}_{name}": value for name, value in (expected | busy).items()}

    def missing(device: torch.device) -> int:
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    assert gpu_usage(device) == {f"gpu_{number}_{name}": value for name, value in expected.items()}
