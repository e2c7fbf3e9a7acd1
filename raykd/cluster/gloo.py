"""Process groups across nodes: Gloo listens on the address that Ray knows a node by.

By itself Gloo takes the address that the machine's own name resolves to. Debian's ``/etc/hosts`` says 127.0.1.1 there,
and containers often know nothing of their name: then workers on two nodes never find each other.
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
    """Ray Train's own, which sets the process group up."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(name_interface)
        super().on_start(worker_group, backend_config)


class ClusterTorchConfig(TorchConfig):
    """Ray Train's `TorchConfig`, with Gloo told on each worker which network interface is the cluster's."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


def name_interface() -> None:
    """Set Gloo's interface for this process, unless the environment names one or none has the node's address."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if INTERFACE not in os.environ and (name := interface_of(address)) is not None:
        os.environ[INTERFACE] = name


def interface_of(address: str) -> str | None:
    """The network interface with this IPv4 address, on Linux."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no IPv4 address
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return None
