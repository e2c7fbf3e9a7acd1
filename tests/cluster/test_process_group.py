"""A process group listens where its workers need it, and a worker alone has none."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import distributed as dist

from raykd.cluster import process_group
from raykd.cluster.process_group import ClusterTorchConfig, interface_of, join, open_meeting

MODULE = "raykd.cluster.process_group"
ASK = f"from {MODULE} import interface_of as of; print(of('10.9.8.7'), of('10.9.8.6'), of('127.0.0.1'))"
NODE = "127.0.0.2"
"""An address of this machine that is neither all of them nor the one that workers of one machine use."""


def test_no_interface_is_made_up() -> None:
    assert interface_of("203.0.113.77") is None  # an address set aside for documentation


def test_the_interface_is_the_one_with_the_address() -> None:
    links = "ip link set lo up; ip link add first type veth peer name second; ip addr add 10.9.8.7/24 dev second"
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("no unshare or ip here")
    isolated = ["unshare", "--net", "sh", "-ec", f'{links} || exit 77; "$0" -c "$1"', sys.executable, ASK]
    found = subprocess.run(isolated, capture_output=True, text=True)
    if found.returncode in (1, 77) and "Traceback" not in found.stderr:
        pytest.skip(f"no network namespace here: {found.stderr.strip()}")
    assert found.stdout.split() == ["second", "None", "lo"]


def worker(rank: int, on_one_machine: bool, others: Connection) -> None:
    """One of two: join the other, add something up, and send the sum and the addresses on which this one listens."""
    process_group.node_address = lambda: NODE
    if rank == 0:
        others.send(open_meeting(on_one_machine))
    meeting = others.recv()
    if not on_one_machine:
        process_group.choose_interface("127.0.0.1")
    join(meeting, rank, 2, "gloo", 60.0)
    group = dist.new_group(backend="gloo")
    total = torch.tensor([float(rank + 1)])
    dist.all_reduce(total, group=group)
    listening = [each.laddr.ip for each in psutil.Process().net_connections() if each.status == psutil.CONN_LISTEN]
    mode = meeting.parent.stat().st_mode & 0o777 if isinstance(meeting, Path) else None
    others.send((total.item(), sorted(set(listening)), mode))
    others.recv()


@pytest.mark.parametrize("on_one_machine", [True, False])
def test_two_workers_listen_on_one_address_only(on_one_machine: bool) -> None:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    workers = [
        context.Process(target=worker, args=(rank, on_one_machine, pipes[rank][1]), daemon=True) for rank in range(2)
    ]
    for each in workers:
        each.start()
    meeting = pipes[0][0].recv()
    for ours, _ in pipes:
        ours.send(meeting)
    found: list[Any] = [ours.recv() for ours, _ in pipes]
    for ours, _ in pipes:
        ours.send("done")
    for each in workers:
        each.join(60)
    assert [total for total, _, _ in found] == [3.0, 3.0]
    addresses = {address for _, listening, _ in found for address in listening}
    if on_one_machine:
        assert addresses == {"127.0.0.1"}
        assert {mode for *_, mode in found} == {0o700}
    else:
        assert addresses == {"127.0.0.1", NODE}, "Gloo's, as told above, and the store's"
        assert meeting[0] == NODE


class Alone:
    """A worker group of one, as far as a backend that wants nothing of it can see."""

    def __len__(self) -> int:
        return 1


def test_a_single_worker_has_no_process_group() -> None:
    config = ClusterTorchConfig(backend="gloo")
    config.backend_cls().on_start(Alone(), config)
    assert not dist.is_initialized()
