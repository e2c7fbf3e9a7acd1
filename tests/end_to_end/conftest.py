"""What tests of whole studies look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray


@pytest.fixture(scope="session")
def cluster_logs(cluster: str) -> Path:
    """The folder of the logs of all of the cluster's processes."""
    return Path(ray._private.worker._global_node.get_logs_dir_path())
