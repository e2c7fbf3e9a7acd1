"""What holds for all tests: set before anything imports Ray, torch or MLflow, which read it when they are imported."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.helpers.object_store import ObjectStore, running

if TYPE_CHECKING:
    from tests.helpers.mlflow_places import Server

# No cluster, server, account, proxy or cache of the user's: what runs here depends on this checkout alone.
KEPT = re.compile(
    r"PATH|PYTHON\w*|VIRTUAL_ENV|LD_\w+|TMPDIR|OMP_NUM_THREADS|CUDA_\w+|NVIDIA_\w+"  # programs, and what they run on
    r"|PYTEST_\w+|COVERAGE_\w+|RAYKD_KUBERAY_CRDS|RAY_TMPDIR|RAY_worker_niceness"  # what is said to the tests
)
for name in [name for name in os.environ if not KEPT.fullmatch(name)]:
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"
HOME = tempfile.TemporaryDirectory(prefix="raykd-home-")
os.environ["HOME"] = HOME.name

# Ray with token authentication, whatever this machine's home folder holds.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# Credentials for the object store of these tests, which takes any; Ray's processes have them from this one.
os.environ |= {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
    "AWS_EC2_METADATA_DISABLED": "true",
}

# Shells ignore Ctrl-C for what they start in the background, and processes that are started from there inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples take as long as a busy machine makes them.
hypothesis.settings.register_profile("raykd", deadline=None)
hypothesis.settings.load_profile("raykd")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much the tests of faults break."""
    parser.addoption("--faults", type=int, default=4, help="faults that are injected into a study")
    parser.addoption("--fault-seed", type=int, default=8, help="decides which faults, when, and for how long")


@pytest.fixture(scope="session", autouse=True)
def _empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests start in an empty folder: `outputs/` of the checkout, as the demo leaves it, is nothing to them."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("start"))
    yield
    os.chdir(before)


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


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's migrations take seconds: once for all tests."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    from tests.helpers.mlflow_places import Server

    server = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(empty_database, server.folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(_server: Server) -> Server:
    """An MLflow server, one for all tests: each has a study of its own there. It runs, whatever was done to it."""
    if _server.process.poll() is not None:
        _server.start()
    return _server


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a local cluster of 4 logical CPUs, joined by this process: one for all tests, as they are dear."""
    import ray

    from raykd.cluster.session import NAMESPACE, RAY_ENVIRONMENT
    from tests.helpers.paths import ROOT

    # In the environment and not in `runtime_env`: so Ray may start processes ahead and use them again.
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.update(RAY_ENVIRONMENT, PYTHONPATH=python_path)
    context = ray.init(num_cpus=4, namespace=NAMESPACE, log_to_driver=False)
    yield context.address_info["address"]
    ray.shutdown()
