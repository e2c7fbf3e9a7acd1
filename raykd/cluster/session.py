"""Connecting to a Ray cluster, or starting a local one, and disconnecting in order."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import AuthenticationError

from raykd.cluster.authentication import make_private_token
from raykd.cluster.watch import ended_with, services
from raykd.config import ClusterSettings
from raykd.errors import RaykdError

NAMESPACE = "raykd"
"""Ray's namespace of the broker."""

RAY_ENVIRONMENT = {
    # Reports travel through the broker, but Train notices the end of a classroom only at a health check.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # The study's record and MLflow hold every result; Tune need not write them in three more formats.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Nor need it write snapshots of all its trials while a study runs, which is resumed from its own record.
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    # Students go on from their last epoch elsewhere: being warned of a node's end is not worth a process a classroom.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Only Tune's older output can be silenced.
    "RAY_AIR_NEW_OUTPUT": "0",
    # A classroom that does not get its resources is opened elsewhere by `Classrooms`; Train would retry for ever.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    # All trials' processes start at once, and Ray would warn of that.
    "RAY_worker_maximum_startup_concurrency": "16",
}

CONNECT_SECONDS = 10.0
"""How long a head node may take to answer; Ray itself retries for many minutes."""

TOKEN_HELP = "set RAY_AUTH_MODE=token, and the cluster's token in RAY_AUTH_TOKEN or its file in RAY_AUTH_TOKEN_PATH"


@contextmanager
def ray_session(settings: ClusterSettings) -> Iterator[None]:
    """Connect to the cluster, or start a local one and stop it afterwards. An open connection is used as it is.

    Raises:
        RaykdError: the cluster does not answer, refuses this driver, or has died.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _connect(settings.address)
    with ended_with(services, ray.shutdown), _sigterm_as_interrupt():
        yield


def _connect(address: str | None) -> None:
    """Connect to the cluster at an address, or that of RAY_ADDRESS, or start a local one.

    Raises:
        RaykdError: it does not answer, or refuses this driver.
    """
    head = address or os.environ.get("RAY_ADDRESS")
    _check_reachable(head)
    if head is None:
        make_private_token()
    with _captured_stderr(head is not None) as captured:
        try:
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # of many kinds, down to this one where Ray does not start in time
            # Ray says only that it failed, and why on standard error.
            refused = isinstance(error, AuthenticationError) or "InvalidAuthToken" in captured()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
    if refused:
        raise RaykdError(f"{head or 'Ray'} refuses this driver: its token is missing or wrong\n{TOKEN_HELP}")
    if head is None:
        raise RaykdError(
            f"Ray does not start here: {reason}\ntry again when this machine is less busy, or join a cluster by "
            "cluster.address"
        )
    raise RaykdError(
        f"cannot connect to {head}: {reason}\n"
        "check cluster.address or RAY_ADDRESS: HOST:6379 of the head node, not the http address that jobs are sent to"
    )


def _check_reachable(address: str | None) -> None:
    """Make sure that something listens at HOST:PORT; other forms of address are left to Ray.

    Raises:
        RaykdError: nothing does.
    """
    if address is None or address in ("auto", "local"):
        return
    match = re.fullmatch(r"(?:ray://)?\[?([\w.:-]+?)\]?:(\d+)", address)
    if match is None and (address.startswith(("http://", "https://", "ray://")) or "://" not in address):
        raise RaykdError(
            f"{address!r} is no cluster's address (cluster.address or RAY_ADDRESS)\n"
            "give HOST:6379 of the head node, or ray://HOST:10001; the http address is the one that jobs are sent to"
        )
    if match is None:  # Ray's plugins have addresses of their own
        return
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RaykdError(
            f"nothing answers at {address}: {error}\n"
            "check cluster.address or RAY_ADDRESS, and that the head node runs and can be reached from here"
        ) from error


@contextmanager
def _captured_stderr(wanted: bool) -> Iterator[Callable[[], str]]:
    """Capture what Ray's C++ core writes to standard error while it connects; yields a function that returns it."""
    if not wanted:
        yield str
        return
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def captured() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield captured
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let the first SIGTERM, which `ray job stop` sends, end a run as Ctrl-C does: in order, and resumable.

    Jobs of a Ray that was started in the background of a script inherit an ignored SIGINT, and Ray's own processes
    block it: neither may keep a run from ending.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted, terminated = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if not callable(interrupted):
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would break the orderly end
        # Said at once, as Ray may kill a stopped job 3 s later; not printed, which a handler must not do.
        os.write(2, b"stopping: all epochs reached are kept, and the same command with --resume goes on\n")
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminated)
        signal.signal(signal.SIGINT, interrupted)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
