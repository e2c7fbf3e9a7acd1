"""What holds for all tests: set before anything imports Ray, torch or MLflow, which read it when they are imported."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import hypothesis
import pytest

from tests.helpers.object_store import ObjectStore, running

# Ray with token authentication, whatever this machine's home folder holds.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# Credentials for the object store of these tests, which takes any; Ray's processes have them from this one.
os.environ |= {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_EC2_METADATA_DISABLED": "true"}

# Examples take as long as a busy machine makes them.
hypothesis.settings.register_profile("raykd", deadline=None)
hypothesis.settings.load_profile("raykd")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads that wait for each other on a busy machine are ten times slower than one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A server of S3's protocol."""
    with running() as store:
        yield store
