"""Notices when Ray itself has died: the raylet of this machine, or the GCS of the head node.

Ray's own client then ends the process with its raw log, or waits for a minute and does the same; neither says that the
run can be resumed. Here a connection to each is kept open: the kernel closes it when its process dies.
"""

from __future__ import annotations

import _thread
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import ray

from raykd.errors import SaidError

CONNECT_SECONDS = 5.0
LAST_SECONDS = 30.0
RESUME = "nothing is lost: when Ray is back, the same command with --resume goes on"
LOOK_SECONDS = 0.5
"""How often a watch looks whether it is over."""


@dataclass(frozen=True)
class Service:
    """One of Ray's processes.

    - name: what it is, for users
    - host, port: where it listens
    - patience: seconds after which it is given up when nothing listens there any more
    """

    name: str
    host: str
    port: int
    patience: float


def services() -> list[Service]:
    """Those without which the connected driver cannot go on."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    own = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]  # type: ignore[no-untyped-call]
    # A head node that keeps its state elsewhere may start its GCS again.
    return [Service("Ray's head (its GCS)", host.strip("[]"), int(port), 20.0)] + [
        Service("Ray on this machine (its raylet)", node["NodeManagerAddress"], node["NodeManagerPort"], 1.0)
        for node in own
    ]


@contextmanager
def ended_with(find: Callable[[], list[Service]], disconnect: Callable[[], object]) -> Iterator[None]:
    """End a run, to be resumed, when one of its services dies; that is printed at once.

    The run ends as by Ctrl-C; if it does not within `LAST_SECONDS`, as it waits for what is dead, its process ends.

    Args:
        find: Gives the services, see `services`.
        disconnect: Called at the end, when they are watched no more.

    Raises:
        SaidError: one of them has died.
    """
    said: list[str] = []
    last = threading.Timer(LAST_SECONDS, os._exit, (1,))
    last.daemon = True

    def end(sentence: str) -> None:
        if not said:
            said.append(f"{sentence}, and so has this run\n{RESUME}")
            os.write(2, f"error: {said[0]}\n".encode())
            last.start()
            _thread.interrupt_main()

    try:
        try:
            with watched(find(), end):
                yield
        finally:
            disconnect()
    except (Exception, KeyboardInterrupt):
        if not said:
            raise
        raise SaidError(said[0]) from None
    finally:
        last.cancel()


@contextmanager
def watched(watched_services: list[Service], on_death: Callable[[str], object]) -> Iterator[None]:
    """Watch services as long as this is open.

    Args:
        watched_services: From `services`.
        on_death: Called in a thread of its own, once for each that has died, with a sentence.
    """
    over = threading.Event()
    for service in watched_services:
        name = f"watch {service.name}"
        threading.Thread(target=_watch, args=(service, on_death, over), name=name, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(service: Service, on_death: Callable[[str], object], over: threading.Event) -> None:
    last_seen = time.monotonic()
    while not over.is_set():
        with suppress(OSError):
            with socket.create_connection((service.host, service.port), CONNECT_SECONDS) as connection:
                last_seen = time.monotonic()
                _wait_for_end(connection, over)
                last_seen = time.monotonic()
            continue
        if time.monotonic() - last_seen > service.patience and not over.is_set():
            on_death(f"{service.name} at {service.host}:{service.port} has ended")
            return
        over.wait(LOOK_SECONDS / 2)


def _wait_for_end(connection: socket.socket, over: threading.Event) -> None:
    """Return when the other side has closed a connection, as gRPC also does where nothing is said for long."""
    connection.settimeout(LOOK_SECONDS)
    while not over.is_set():
        with suppress(TimeoutError):
            if not connection.recv(4096):
                return
