"""Connecting to a Ray cluster, or starting a local one, and disconnecting in order."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._common.utils import get_ray_address_file
from ray.exceptions import AuthenticationError
from rich.console import Console

from raykd.cluster.authentication import make_private_token
from raykd.cluster.head import HeadAway, HeadRefuses, check_head, named_by_user, started_here
from raykd.cluster.ray_folder import ray_folder
from raykd.cluster.watch import ended_with, services
from raykd.config import ClusterSettings
from raykd.errors import RaykdError, shortened
from raykd.progress import standard_output

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


@contextmanager
def ray_session(settings: ClusterSettings, console: Console | None = None) -> Iterator[None]:
    """Connect to the cluster, or start a local one and stop it afterwards. An open connection is used as it is.

    Args:
        settings: Name the cluster.
        console: Where it says what a user may not expect. None: standard output.

    Raises:
        RaykdError: the cluster does not answer, refuses this driver, or has died.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _connect(settings.address, console or standard_output())
    with ended_with(services, ray.shutdown), _sigterm_as_interrupt():
        yield


def _connect(address: str | None, console: Console) -> None:
    """Connect to the cluster at an address, or that of RAY_ADDRESS, or that runs here, or start a local one.

    Raises:
        RaykdError: it does not answer, or refuses this driver.
    """

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    head = find_head(address, say)
    start: dict[str, Any] = {"address": address}
    if head is None:
        make_private_token()
        folder, why = ray_folder()
        if why is not None:
            say(why)
        start = {"address": "local", "_temp_dir": str(folder)}
    with _captured_stderr(head is not None) as captured:
        try:
            ray.init(**start, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # of many kinds, down to this one where Ray does not start in time
            # Ray says only that it failed, and why on standard error.
            refused = isinstance(error, AuthenticationError) or "InvalidAuthToken" in captured()
            reason = shortened(error) or type(error).__name__
    if refused:
        raise HeadRefuses(head or "Ray")
    if head is None:
        raise RaykdError(
            f"Ray does not start here: {reason}\ntry again when this machine is less busy, or join a cluster by "
            "cluster.address"
        )
    raise RaykdError(
        f"cannot connect to {head}: {reason}\n"
        "check cluster.address or RAY_ADDRESS, and that Ray and Python are of the same versions here and there"
    )


def find_head(address: str | None, say: Callable[[str], object]) -> str | None:
    """The address of the cluster to join, whose head node answers; None: a local one is to be started.

    Args:
        address: As `cluster.address`.
        say: Told in a line where a cluster was begun on this machine, but has died.

    Raises:
        RaykdError: the head node does not answer, or refuses this driver.
    """
    named = named_by_user(address)
    if named == "local":
        return None
    if named not in (None, "auto"):
        check_head(named)
        return named
    head = started_here(named)
    if head is None:
        return None
    try:
        check_head(head)
    except HeadRefuses:
        if "RAY_AUTH_MODE" in os.environ:
            raise
        # Where it is not set, Ray looks for a token of its own when it joins a cluster that it has found itself.
    except HeadAway as away:
        if named == "auto":
            forget = "start it again, or leave cluster.address out to start a local one"
            raise RaykdError(f"cluster.address auto: {away.reason}\n{forget}") from None
        say(
            f"{away.reason}; `ray start` has left this address in {get_ray_address_file(None)}. A local Ray is started "
            "instead, as by --cluster.address local; `ray stop` removes that file."
        )
        return None
    return head


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
