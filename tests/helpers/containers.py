"""A container as clusters have them: a user without a name, and one folder that can be written.

As a script it runs command lines of `raykd` and of experiments/, and prints as JSON how each ended.
"""

from __future__ import annotations

import functools
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from raykd.cli import main
from tests.helpers.bad_input import SCRIPTS
from tests.helpers.read_only import ended

ONE_FOLDER = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec unshare --user --map-user=12345 "$@"'


def in_container(folder: Path, command: Sequence[str]) -> list[str]:
    """The command as a user without an entry in the list of users, where one folder (and /dev, /proc) can be written.

    The test is skipped where this machine allows no such thing.
    """
    if not _can_be_had():
        pytest.skip("no namespaces of users and mounts here")
    return _command(folder, command)


def _command(folder: Path, command: Sequence[str]) -> list[str]:
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", ONE_FOLDER, str(folder), *command]


@functools.cache
def _can_be_had() -> bool:
    return subprocess.run(_command(Path("/tmp"), ["true"]), capture_output=True, check=False).returncode == 0


def _run(line: str) -> None:
    first, *rest = line.split()
    script = SCRIPTS.get("tune_dkd" if first == "tune" else first)
    if script is None:
        main([first, *rest])
        return
    sys.argv = [str(script), *rest]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    print(json.dumps([ended(functools.partial(_run, line)) for line in sys.argv[1:]]))
