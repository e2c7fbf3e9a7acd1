"""Several machines on one: network and process namespaces, joined by a bridge. What is killed here is really gone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import psutil

from tests.helpers.paths import ROOT

NETWORK = "10.77.0"
PATIENCE = 120
"""Seconds within which a node is up, on a busy machine."""

SWIFT = {
    # A silent node is given up after a quarter of a minute instead of one.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_raylet_start_wait_time_s": str(PATIENCE),
}


def refusal() -> str | None:
    """Why namespaces cannot be had here; None: they can."""
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)} here"
    attempt = "ip link set lo up && ip link add br0 type bridge && ip link add v0 type veth peer name v1"
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", attempt], **_CAPTURED)
    return None if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


_CAPTURED: dict[str, object] = {"capture_output": True, "text": True}


@dataclass
class Namespace:
    """A network and a process tree of their own; `pid` is its first process, seen from outside."""

    process: subprocess.Popen[bytes]
    pid: int

    def enter(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--net", "--pid", "--mount", "--uts", "--", *command]

    def end(self) -> None:
        """Kill every process in it, at once: its first process takes all others with it."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()


def namespace(hostname: str, outer: Namespace | None = None) -> Namespace:
    isolated = ["unshare", "--net", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
    command = [*isolated, "sh", "-c", f"hostname {hostname}; exec sleep infinity"]
    process = subprocess.Popen(command if outer is None else outer.enter(*command), stdin=subprocess.DEVNULL)
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.name() == "sleep":
                return Namespace(process, child.pid)
        time.sleep(0.02)
    raise TimeoutError("no namespace")


@dataclass
class Machines:
    """A Ray cluster of machines `10.77.0.N`, each with its own address and processes; the head is number 1."""

    folder: Path = field(default_factory=lambda: Path(mkdtemp(prefix="rk-")))
    nodes: dict[str, Namespace] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    _started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self._switch = namespace("switch")
        self._run(f"ip link set lo up; ip link add br0 type bridge; ip addr add {NETWORK}.254/24 dev br0")
        self._run("ip link set br0 up")
        self.add("head", cpus=0)

    @property
    def environment(self) -> dict[str, str]:
        return (
            os.environ
            | SWIFT
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": self.token,
                "RAY_USAGE_STATS_ENABLED": "0",
                "OMP_NUM_THREADS": "1",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            }
        )

    def add(self, name: str, cpus: int, hidden: Path | None = None) -> None:
        """Switch a machine on, and wait until the cluster knows it; in place of a hidden folder it has an empty one."""
        self._count += 1
        address, veth = f"{NETWORK}.{self._count}", f"veth{self._count}"
        node = self.nodes[name] = namespace(name, self._switch)
        self._run(f"ip link add {veth} type veth peer name eth0 netns {node.pid}")
        self._run(f"ip link set {veth} master br0 up")
        self._run(f"ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up", node)
        if hidden is not None:
            subprocess.run(node.enter("mount", "-t", "tmpfs", "tmpfs", str(hidden)), check=True)
        role = ["--head", "--port=6379"] if name == "head" else [f"--address={NETWORK}.1:6379"]
        command = ["ray", "start", *role, f"--node-ip-address={address}", f"--num-cpus={cpus}", "--block"]
        command += [f"--temp-dir={self.folder / name}", "--object-store-memory=100000000", "--disable-usage-stats"]
        log = self.folder / f"{name}.log"
        with log.open("w") as shown:
            self._started[name] = subprocess.Popen(
                node.enter(*command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=shown,
                stderr=subprocess.STDOUT,
            )
        ends = time.monotonic() + PATIENCE
        while "Ray runtime started" not in log.read_text():
            if time.monotonic() > ends:
                raise TimeoutError(f"{name} is not up: {log.read_text()[-2000:]}")
            time.sleep(0.2)

    def start(self, script: Path, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Run a Python script on the head, as a driver of this cluster."""
        with log.open("w") as shown:
            return subprocess.Popen(
                self.nodes["head"].enter(sys.executable, str(script), *arguments),
                env=self.environment | {"RAY_ADDRESS": f"{NETWORK}.1:6379"},
                stdin=subprocess.DEVNULL,
                stdout=shown,
                stderr=subprocess.STDOUT,
            )

    def leave(self, name: str) -> None:
        """Switch a machine off in order: it says goodbye to the cluster."""
        node = self.nodes.pop(name)
        ray = psutil.Process(self._started[name].pid).children()[0]  # below nsenter
        ray.terminate()
        ray.wait(PATIENCE)
        node.end()

    def kill(self, name: str) -> None:
        """Pull a machine's plug."""
        self.nodes.pop(name).end()

    def end(self) -> None:
        """Kill all that was started here, and nothing else."""
        self._switch.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command: str, where: Namespace | None = None) -> None:
        target = (where or self._switch).pid
        subprocess.run(["nsenter", "--target", str(target), "--net", "sh", "-ec", command], check=True)
