"""How busy a worker's node is: CPU and memory of the whole node, and the worker's own GPU.

The names are those of MLflow's own monitors, which its pages expect. Those monitors are not used: they import all of
MLflow, which costs each worker seconds and memory.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil
import torch


def node_usage() -> dict[str, float]:
    """CPU (percent of all, the mean since this process's last call) and memory (percent; megabytes) of this node."""
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_percentage": memory.percent,
        "system_memory_usage_megabytes": memory.used / 1e6,
    }


def gpu_usage(device: torch.device) -> dict[str, float]:
    """Memory, utilization and power (watts) of a GPU, whichever process uses it; empty for any other device.

    Utilization and power need `nvidia-ml-py`, on AMD's GPUs `amdsmi`.
    """
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    usage = {
        "memory_usage_percentage": 100 * (total - free) / total,
        "memory_usage_megabytes": (total - free) / 1e6,
    }
    with suppress(Exception):  # those packages raise errors of their own
        usage["utilization_percentage"] = float(torch.cuda.utilization(device))
        usage["power_usage_watts"] = torch.cuda.power_draw(device) / 1000
    return {f"gpu_{_number(device)}_{name}": value for name, value in usage.items()}


def _number(device: torch.device) -> str:
    """The node's name for a GPU; a process numbers only the GPUs that it sees."""
    index = device.index or 0
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[index] if index < len(visible) else str(index)
