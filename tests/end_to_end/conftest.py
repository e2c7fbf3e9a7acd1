"""One real Ray cluster for all tests that need one: processes are dear."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from raykd.cluster.session import NAMESPACE, RAY_ENVIRONMENT
from tests.helpers.paths import ROOT


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a local cluster of 4 logical CPUs, joined by this process."""
    # In the environment and not in `runtime_env`: so Ray may start processes ahead and use them again.
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.update(RAY_ENVIRONMENT, PYTHONPATH=python_path)
    context = ray.init(num_cpus=4, namespace=NAMESPACE, log_to_driver=False)
    yield context.address_info["address"]
    ray.shutdown()


@pytest.fixture(scope="session")
def cluster_logs(cluster: str) -> Path:
    """The folder of the logs of all of the cluster's processes."""
    return Path(ray._private.worker._global_node.get_logs_dir_path())
