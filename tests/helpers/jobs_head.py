"""A Ray head node with token authentication, in a network and a process tree of its own, and a client's commands."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.helpers.namespaces import ISOLATED
from tests.helpers.paths import ROOT

PATIENCE = 90.0
"""Seconds within which a node is up, on a busy machine."""


class Head:
    """A head node below a folder, which holds its token, its logs and its users' home."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._token = folder / "token"
        self._token.write_text(secrets.token_hex(32))
        # A shell as first process: it takes leave of processes whose parents are gone. Without --block: that would
        # end the node on a machine so busy that Ray's client server, which nobody needs here, is late.
        start = "ip link set lo up; ray start --head --num-cpus=4 --node-ip-address=127.0.0.1 --port=6379 "
        start += f"--dashboard-host=127.0.0.1 --object-store-memory=100000000 --temp-dir={folder / 'ray'}"
        self._log = folder / "head.log"
        with self._log.open("w") as log:
            self._unshare = subprocess.Popen(
                [*ISOLATED, "bash", "-c", f"{start}; sleep infinity & wait"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        ends = time.monotonic() + PATIENCE
        while not psutil.Process(self._unshare.pid).children() or self.ask("list").returncode != 0:
            assert time.monotonic() < ends, self._log.read_text()
            time.sleep(0.5)

    def environment(self, **changes: str) -> dict[str, str]:
        """What a user's shell has set."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._token), "RAY_USAGE_STATS_ENABLED": "0"}
        return clean | {"HOME": str(self.home), "PATH": path} | ray | changes

    def run(self, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """A user's command on the head node, with changes to the environment; its standard error is in its output."""
        (shell,) = psutil.Process(self._unshare.pid).children()
        inside = ["nsenter", "--target", str(shell.pid), "--net", "--pid", "--mount", f"--wd={ROOT}", "--", *command]
        return subprocess.run(
            inside,
            env=self.environment(**changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=480,
        )

    def ask(self, *request: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """A request of `jobs_client.py`, which speaks to the HTTP API."""
        return self.run(sys.executable, str(Path(__file__).with_name("jobs_client.py")), *request, **changes)

    def processes(self) -> list[str]:
        """The command lines of all processes of the node."""
        found = []
        for process in psutil.Process(self._unshare.pid).children(recursive=True):
            try:
                found.append(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue
        return found

    def end(self) -> None:
        """Kill the node with all its processes, and nothing else."""
        self._unshare.kill()
        self._unshare.wait()
