"""Whether a head node answers: asked before Ray's own client asks, which knocks for minutes and hears no Ctrl-C."""

from __future__ import annotations

import os
import re
import socket

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray._private.utils import read_ray_address
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # type: ignore[attr-defined]
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError

from raykd.errors import RaykdError

CONNECT_SECONDS = 10.0
"""How long a host may take to accept a connection."""
ANSWER_SECONDS = 10.0
"""How long what listens there may take to answer."""

TOKEN_HELP = "set RAY_AUTH_MODE=token, and the cluster's token in RAY_AUTH_TOKEN or its file in RAY_AUTH_TOKEN_PATH"
_CHECK = "check cluster.address or RAY_ADDRESS"


class HeadAway(RaykdError):
    """No head node answers at an address.

    Attributes:
        reason: Why, without what to do.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}\n{advice}")
        self.reason = reason


class HeadRefuses(RaykdError):
    """A head node does not take this process's token."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} refuses this driver: its token is missing or wrong\n{TOKEN_HELP}")


def started_here(address: str | None) -> str | None:
    """The address of the cluster that `ray start` has begun or joined on this machine, dead or alive; None: of none.

    Args:
        address: None, or ``auto``, which also finds others whose raylet runs here, as Ray does.

    Raises:
        RaykdError: there is none, and ``auto`` asks for one.
    """
    try:
        known = address or read_ray_address()
        return known and canonicalize_bootstrap_address(known)
    except ConnectionError:
        raise RaykdError(
            "cluster.address auto: no Ray runs on this machine\n"
            "start it by `ray start`, give HOST:6379 of a head node, or leave cluster.address out to start a local one"
        ) from None


def check_head(address: str) -> None:
    """Make sure that a head node of this version of Ray answers at HOST:PORT, or Ray's client server at ray://HOST:PORT.

    Addresses of Ray's plugins, KIND://..., are not looked at. It takes as long as the two limits above together.

    Raises:
        HeadAway: nothing answers, or it is something else.
        HeadRefuses: the token is missing or wrong.
        RaykdError: this is no such address, or Ray there is of another version.
    """
    match = re.fullmatch(r"(ray://)?(\[?([\w.:-]+?)\]?:(\d+))", address)
    if match is None and (address.startswith(("http://", "https://", "ray://")) or "://" not in address):
        raise RaykdError(
            f"{address!r} is no cluster's address (cluster.address or RAY_ADDRESS)\n"
            "give HOST:6379 of the head node, or ray://HOST:10001; the http address is the one that jobs are sent to"
        )
    if match is None:
        return
    client, place, host, port = match.groups()
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        advice = f"{_CHECK}, and that the head node runs and can be reached from here"
        raise HeadAway(f"nothing answers at {address}: {error}", advice) from error
    version = _version(address, place, client=client is not None)
    if version not in (None, ray.__version__):
        raise RaykdError(
            f"the cluster at {address} runs Ray {version}, but this process Ray {ray.__version__}\n"
            f"install the same here (pip install 'ray=={version}') or there"
        )


def _version(address: str, place: str, *, client: bool) -> str | None:
    """The version of Ray at HOST:PORT, as its GCS says; None where only Ray's client server answers."""
    # As Ray's own processes do, past any proxy.
    channel = init_grpc_channel(place, [("grpc.enable_http_proxy", 0)])
    try:
        if client:
            grpc.channel_ready_future(channel).result(ANSWER_SECONDS)
            return None
        gcs = NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        reply = gcs.CheckAlive(CheckAliveRequest(), timeout=ANSWER_SECONDS)
        return str(reply.ray_version)
    except AuthenticationError:  # the token's file cannot be read
        raise HeadRefuses(address) from None
    except (grpc.RpcError, grpc.FutureTimeoutError) as error:
        code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.DEADLINE_EXCEEDED
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise HeadRefuses(address) from None
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            reason = f"what listens at {address} does not answer within {ANSWER_SECONDS:g} s: it hangs, or is no Ray"
        else:
            reason = f"what listens at {address} is no head node of Ray, or is just ending ({code.name.lower()})"
        raise HeadAway(reason, f"{_CHECK}: HOST:6379 of the head node, or ray://HOST:10001") from None
    finally:
        channel.close()


def named_by_user(address: str | None) -> str | None:
    """The address in the settings, or else in RAY_ADDRESS, which Ray also takes for ``auto``; None: neither."""
    return address if address not in (None, "auto") else os.environ.get("RAY_ADDRESS") or address
