"""A service that has died is noticed at once, one that only closes its connections is not."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from queue import Empty, SimpleQueue

import pytest

from raykd.cluster.watch import RESUME, Service, watched
from tests.helpers.paths import ROOT

SERVE = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
kept = []
while True:
    connection, _ = listener.accept()
    print("accepted", flush=True)
    if sys.argv[1] == "closes":
        connection.close()
    else:
        kept.append(connection)
"""


@pytest.mark.parametrize("kind", ["keeps", "closes"])
def test_a_killed_process_is_noticed(kind: str) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVE, kind], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    said: SimpleQueue[str] = SimpleQueue()
    with watched([Service("the server", "127.0.0.1", port, 0.5)], said.put):
        for _ in range(3 if kind == "closes" else 1):
            assert server.stdout.readline() == "accepted\n"
        with pytest.raises(Empty):
            said.get(timeout=1.0)
        server.kill()
        server.wait()
        server.stdout.close()
        assert said.get(timeout=10.0) == f"the server at 127.0.0.1:{port} has ended"


def test_nothing_is_said_when_the_watch_is_over() -> None:
    said: SimpleQueue[str] = SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with watched([Service("the server", "127.0.0.1", port, 0.0)], said.put):
            time.sleep(0.2)
    with pytest.raises(Empty):
        said.get(timeout=2.0)


RUN = """
import sys, time
from raykd.cluster import watch
from raykd.command_line import ended_well
watch.LAST_SECONDS = 1.0
def job():
    with watch.ended_with(lambda: [watch.Service("Ray", "127.0.0.1", int(sys.argv[1]), 0.5)], lambda: None):
        print("begun", flush=True)
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                if sys.argv[2] == "in order":
                    raise
ended_well(job)
"""


@pytest.mark.parametrize("end", ["in order", "stuck"])
def test_a_run_without_its_cluster_says_how_to_go_on_and_ends(end: str) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVE, "keeps"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    command = [sys.executable, "-c", RUN, str(port), end]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    assert server.stdout.readline() == "accepted\n"
    server.kill()
    server.wait()
    server.stdout.close()
    _, shown = run.communicate(timeout=120)
    assert run.returncode == 1
    assert shown == f"error: Ray at 127.0.0.1:{port} has ended, and so has this run\n{RESUME}\n"
    assert "--resume" in RESUME
