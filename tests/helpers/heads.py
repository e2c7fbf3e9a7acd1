"""A real GCS, which is all of a head node that a driver asks first; it starts in a second."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray._private.services import GCS_SERVER_EXECUTABLE
from ray.util import get_node_ip_address

HOST = get_node_ip_address()
"""This machine's own, which Ray takes 127.0.0.1 for."""


@dataclass
class Head:
    """A GCS that runs: its port, and its process."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def freeze(self) -> None:
        """It still accepts connections, which the kernel does for it, and answers nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server((HOST, 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def head(folder: Path, environment: Mapping[str, str]) -> Iterator[Head]:
    """Start a GCS that writes its logs below a folder."""
    port = free_port()
    command = [GCS_SERVER_EXECUTABLE, f"--gcs_server_port={port}", f"--node-ip-address={HOST}", "--session-name=x"]
    command += [f"--log_dir={folder}", f"--session-dir={folder}", f"--config_list={base64.b64encode(b'{}').decode()}"]
    command += ["--metrics-agent-port=-1", f"--node-id={'0' * 56}", "--ray-commit=x"]
    with (folder / "gcs.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
    try:
        ends = time.monotonic() + 30
        while time.monotonic() < ends and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                break
            time.sleep(0.05)
        yield Head(port, process)
    finally:
        process.kill()
        process.wait()
