"""Process groups across nodes: Gloo listens on the address by which Ray knows a node.

By default Gloo takes the address to which the machine's own name resolves. On Debian that is 127.0.1.1 (`/etc/hosts`),
and in containers the name often has no address: then workers on two nodes never find each other.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import Any

import ray
from ray.train.torch import TorchConfig

SIOCGIFADDR = 0x8915
"""Linux's request for the IPv4 address of a network interface."""

INTERFACE = "GLOO_SOCKET_IFNAME"


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Ray Train's own backend, which sets the process group up, after the interface is chosen."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


class ClusterTorchConfig(TorchConfig):
    """Ray Train's `TorchConfig`; on each worker Gloo uses the cluster's network interface."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


def choose_interface() -> None:
    """Set Gloo's interface for this process, unless the environment names one or none has the node's address."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
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
