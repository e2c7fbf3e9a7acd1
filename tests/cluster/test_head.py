"""What listens at a cluster's address is found out in seconds; a head that has died is told of, and not knocked at."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import ray
from ray._private import services
from ray._private.utils import write_ray_address

from raykd.cluster import head as head_module
from raykd.cluster.head import HeadAway, check_head
from raykd.cluster.session import find_head
from raykd.errors import RaykdError
from tests.helpers.heads import HOST, Head, free_port, head
from tests.helpers.paths import ROOT

SECONDS = 30.0
"""Much less than a minute, which Ray's client takes at least, also on a machine that is busy."""
TOKENS = {"right": "ab" * 32, "wrong": "cd" * 32}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cluster is named, or was started here."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(services, "find_gcs_addresses", frozenset)  # nor by anybody else on this machine


@pytest.fixture
def _soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(head_module, "CONNECT_SECONDS", 1.0)


soon_given_up = pytest.mark.usefixtures("_soon_given_up")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head node with the tests' own token."""
    with head(tmp_path_factory.mktemp("head"), {}) as started:
        yield started


@contextmanager
def hangs() -> Iterator[int]:
    """A port that accepts connections and says nothing, as that of a frozen process."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def full() -> Iterator[int]:
    """A port that takes no more connections, as of a host that does not answer."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@contextmanager
def hangs_up() -> Iterator[int]:
    """A port that closes each connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


class Silent(http.server.SimpleHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[int]:
    """Somebody's web server, such as Ray's dashboard."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def nobody() -> Iterator[int]:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield port


OTHERS = {
    "nobody": (nobody, "nothing answers at {}: "),
    "takes no connection": (full, "nothing answers at {}: timed out"),
    "hangs": (hangs, "what listens at {} does not answer within 1 s"),
    "hangs up": (hangs_up, "what listens at {} is no head node of Ray"),
    "web server": (web_server, "what listens at {} is no head node of Ray"),
}


@soon_given_up
@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize(("listener", "says"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_head_node_is_found_out_in_seconds(
    listener: Callable[[], AbstractContextManager[int]], says: str, scheme: str
) -> None:
    with listener() as port:
        address, began = f"{scheme}127.0.0.1:{port}", time.monotonic()
        with pytest.raises(HeadAway) as away:
            check_head(address)
    assert time.monotonic() - began < SECONDS
    # A channel of gRPC that never becomes ready does not say why.
    assert str(away.value).startswith(says.format(address) if not scheme else f"{says.partition(' ')[0]} ")
    assert address in away.value.reason
    assert len(str(away.value).splitlines()) == 2


def test_a_head_node_answers(running: Head) -> None:
    check_head(running.address)
    assert find_head(running.address, pytest.fail) == running.address


def test_neither_proxy_is_asked_for_it(running: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    check_head(running.address)


@soon_given_up
def test_a_head_node_that_is_frozen_is_given_up(tmp_path: Path) -> None:
    with head(tmp_path, {}) as frozen:
        frozen.freeze()
        began = time.monotonic()
        with pytest.raises(HeadAway, match="it hangs, or is no Ray"):
            check_head(frozen.address)
        assert time.monotonic() - began < SECONDS


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head node with a token of its own."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKENS["right"]}
    with head(tmp_path_factory.mktemp("guarded"), token) as started:
        yield started


@pytest.mark.parametrize(
    ("token", "right"),
    [
        ({"RAY_AUTH_TOKEN": TOKENS["right"]}, True),
        ({"RAY_AUTH_TOKEN": TOKENS["wrong"]}, False),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, False),
        ({}, False),
        ({"RAY_AUTH_TOKEN": TOKENS["right"], "RAY_AUTH_MODE": "disabled"}, False),
    ],
    ids=["right", "wrong", "no such file", "none", "not sent"],
)
def test_a_wrong_token_is_refused_in_two_lines(
    token: dict[str, str], right: bool, guarded: Head, tmp_path: Path
) -> None:
    # Each in a process of its own, as Ray keeps the first token that it has found.
    script = "import sys; from raykd.command_line import ended_well; from raykd.cluster.head import check_head\n"
    script += "ended_well(lambda: check_head(sys.argv[1]))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)} | token
    command = [sys.executable, "-c", script, guarded.address]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if right:
        assert (shown.returncode, shown.stderr) == (0, "")
        return
    first, second = shown.stderr.splitlines()
    assert first == f"error: {guarded.address} refuses this driver: its token is missing or wrong"
    assert second.startswith("set RAY_AUTH_MODE=token")
    assert shown.returncode == 2


def test_another_version_of_ray_is_named(running: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ray.__version__
    monkeypatch.setattr(ray, "__version__", "2.1.0")
    with pytest.raises(RaykdError) as refused:
        check_head(running.address)
    assert f"runs Ray {version}, but this process Ray 2.1.0" in str(refused.value)
    assert f"pip install 'ray=={version}'" in str(refused.value)


# What `ray start` has begun on this machine.


def test_a_cluster_that_was_started_here_is_joined(running: Head) -> None:
    write_ray_address(running.address)
    assert find_head(None, pytest.fail) == running.address


def test_nothing_was_started_here() -> None:
    assert find_head(None, pytest.fail) is None
    assert find_head("local", pytest.fail) is None


@soon_given_up
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_head_that_has_died_is_told_of_and_a_local_one_started(how: str, tmp_path: Path) -> None:
    with head(tmp_path, {}) as started:
        write_ray_address(started.address)
        if how == "killed":
            started.kill()
        else:
            started.freeze()
        lines: list[str] = []
        began = time.monotonic()
        assert find_head(None, lines.append) is None
        assert time.monotonic() - began < SECONDS
    (line,) = lines
    assert started.address in line
    assert str(tmp_path / "ray" / "ray_current_cluster") in line
    assert "--cluster.address local" in line


def test_auto_and_an_address_do_not_start_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = f"{HOST}:{free_port()}"
    write_ray_address(dead)
    with pytest.raises(RaykdError, match=rf"auto: nothing answers at {dead}.*\n.*start a local one"):
        find_head("auto", pytest.fail)
    with pytest.raises(HeadAway):
        find_head(dead, pytest.fail)
    monkeypatch.setenv("RAY_ADDRESS", dead)
    for address in (None, "auto"):
        with pytest.raises(HeadAway):
            find_head(address, pytest.fail)
    assert find_head("local", pytest.fail) is None


def test_auto_without_any_cluster_says_so() -> None:
    with pytest.raises(RaykdError, match="no Ray runs on this machine"):
        find_head("auto", pytest.fail)


def test_ctrl_c_ends_the_waiting_for_an_answer() -> None:
    script = """
import sys
from raykd.cluster import head
from raykd.command_line import ended_well
head.ANSWER_SECONDS = 100.0
print("asks", flush=True)
ended_well(lambda: head.check_head(sys.argv[1]))
"""
    with hangs() as port:
        command = [sys.executable, "-c", script, f"127.0.0.1:{port}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None and process.stdout.readline() == b"asks\n"
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            code = process.wait(60)
    assert code == 130
    assert time.monotonic() - began < SECONDS
