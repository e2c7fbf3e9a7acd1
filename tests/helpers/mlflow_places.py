"""Places to log to on this machine: SQLite, `mlflow server` with or without accounts, PostgreSQL; and what is there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.tracking import Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIGITS = Dataset(
    name="digits train",
    context="training",
    fingerprint="0123456789abcdef" * 4,
    images=1150,
    classes=10,
    shape=(1, 8, 8),
    split_sizes={"train": 1150, "validation": 288, "test": 359},
    settings={"data.name": "digits"},
)

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine itself, whatever proxy the environment names."""

ADMIN, ADMIN_PASSWORD = "admin", "a-long-admin-password"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """`mlflow server` on a free port of this machine, over a SQLite database in its folder or another one."""

    def __init__(self, folder: Path, backend: str | None = None, accounts: bool = False) -> None:
        self.port = free_port()
        self.folder = folder
        self.backend = backend or f"sqlite:///{folder}/mlflow.db"
        self.accounts = accounts
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if self.accounts:
            command += ["--app-name", "basic-auth"]
            settings = self.folder / "accounts.ini"
            settings.write_text(
                "[mlflow]\ndefault_permission = READ\n"
                f"database_uri = sqlite:///{self.folder}/accounts.db\n"
                f"admin_username = {ADMIN}\nadmin_password = {ADMIN_PASSWORD}\n"
            )
            environment |= {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, env=environment
            )
        for _ in range(1800):
            try:
                DIRECT.open(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.kill()
        raise TimeoutError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def postgresql_programs() -> Path | None:
    """The folder of PostgreSQL's own programs: in the path, or where Debian keeps them."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class PostgreSQL:
    """A PostgreSQL server of its own on a free port of this machine, which asks for a password."""

    USER, PASSWORD = "student", "its-password"

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = free_port()
        # It refuses to run as root.
        account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if account:
            shutil.chown(folder, *account.values())
        secret = folder / "password"
        secret.write_text(self.PASSWORD)
        secret.chmod(0o644)
        data = folder / "data"
        options = ["--no-sync", "--auth=scram-sha-256", f"--username={self.USER}", f"--pwfile={secret}"]
        subprocess.run([programs / "initdb", *options, data], check=True, capture_output=True, cwd=folder, **account)
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(self.port), "-k", folder, "-h", "127.0.0.1", "-F"],
                stdout=log,
                stderr=log,
                cwd=folder,
                **account,
            )
        for _ in range(600):
            if b"ready to accept" in (folder / "log").read_bytes():
                return
            time.sleep(0.1)
        self.stop()
        raise TimeoutError((folder / "log").read_text())

    def uri(self, password: str | None = PASSWORD) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://{self.USER}{secret}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # its fast shutdown
        self._process.wait()


def client_of(folder: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def runs(client: MlflowClient, study: str) -> dict[str, Run]:
    """Runs of a study by name; the parent has the study's name."""
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    names = [str(run.info.run_name) for run in found]
    assert len(set(names)) == len(names), "a run was created twice"
    return dict(zip(names, found, strict=True))


def history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def datasets(run: Run) -> dict[str, str]:
    """The names of a run's data sets, and what they are for."""
    assert run.inputs is not None
    found = [(each.dataset.name, each.tags[0].value) for each in run.inputs.dataset_inputs]
    assert len(dict(found)) == len(found), "a data set was logged twice"
    return dict(found)
