"""Gloo is told of the network interface that has the node's address, and of no other."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from raykd.cluster.gloo import interface_of

ASK = "from raykd.cluster.gloo import interface_of as of; print(of('10.9.8.7'), of('10.9.8.6'), of('127.0.0.1'))"


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
