"""Process groups of classrooms: none for a single worker, and otherwise one that listens only where workers need it.

Ray Train's own backend has torch's store listen on all addresses of the first worker's machine, also where that worker
is alone; whoever can write to it can lead the workers' connections, whose messages are unpickled, to himself. Here the
workers of one machine meet in a file that only their user can read, and Gloo listens on the loopback device; workers on
several machines use the address by which Ray knows each. By default Gloo takes the address to which the machine's own
name resolves. On Debian that is 127.0.1.1 (`/etc/hosts`), and in containers the name often has no address: then workers
on two nodes never find each other.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from torch import distributed as dist
from torch._C._distributed_c10d import FileStore, Store, TCPStore

SIOCGIFADDR = 0x8915
"""Linux's request for the IPv4 address of a network interface."""

INTERFACE = "GLOO_SOCKET_IFNAME"

LOOPBACK = "127.0.0.1"

Meeting = Path | tuple[str, int]
"""Where the workers of a classroom meet: a file, or host and port."""

_opened: list[Store] = []
"""Stores that this process serves; they live as long as it."""


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Ray Train's own backend, with another process group."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        count = len(worker_group)
        if count == 1:
            return
        addresses = worker_group.execute(node_address)
        meeting = worker_group.execute_single(0, open_meeting, len(set(addresses)) == 1)
        seconds = backend_config.timeout_s
        ray.get(
            [
                worker_group.execute_single_async(rank, join, meeting, rank, count, backend_config.backend, seconds)
                for rank in range(count)
            ]
        )


class ClusterTorchConfig(TorchConfig):
    """Ray Train's `TorchConfig` with the process group of this module."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


def node_address() -> str:
    """The address by which Ray knows this node."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def open_meeting(on_one_machine: bool) -> Meeting:
    """Called by the first worker: make the place where all meet.

    Args:
        on_one_machine: Whether all workers see this machine's files, and no other machine must reach it.
    """
    if on_one_machine:
        # A folder of mode 700.
        return Path(tempfile.mkdtemp(prefix="raykd-workers-")) / "store"
    address = node_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port: int = listener.getsockname()[1]
        # torch itself listens on all addresses, unless it is given a socket.
        descriptor = listener.detach()
    _opened.append(TCPStore(address, port, is_master=True, wait_for_workers=False, master_listen_fd=descriptor))
    return address, port


def join(meeting: Meeting, rank: int, count: int, backend: str, seconds: float) -> None:
    """Called by each worker: set the process group up.

    Args:
        meeting: From `open_meeting`.
        rank: Of this worker.
        count: Of workers.
        backend: gloo or nccl.
        seconds: How long an operation may take.
    """
    choose_interface(LOOPBACK if isinstance(meeting, Path) else node_address())
    store: Store
    if isinstance(meeting, Path):
        store = FileStore(str(meeting), count)
    else:
        store = _opened[-1] if rank == 0 else TCPStore(*meeting, is_master=False)
    limit = timedelta(seconds=seconds)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=limit)


def choose_interface(address: str) -> None:
    """Set Gloo's interface for this process, unless the environment names one or none has this address."""
    if INTERFACE not in os.environ and (name := interface_of(address)) is not None:
        os.environ[INTERFACE] = name


def interface_of(address: str) -> str | None:
    """The network interface with this IPv4 address, on Linux."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no IPv4 address
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None
