"""Process trees in namespaces of their own, which neither see nor disturb what else runs on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

ISOLATED = ("unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")
"""A network and a process tree of its own; killing `unshare` kills all of it."""


def refusal() -> str | None:
    """Why namespaces cannot be had here; None: they can. Without them, two Ray clusters on one host get confused."""
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)} here"
    tried = subprocess.run([*ISOLATED, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


def isolated(command: Sequence[str]) -> list[str]:
    """The command in namespaces of its own, with a loopback device.

    A shell is the first process there: it takes over processes whose parents have ended.
    """
    return [*ISOLATED, "bash", "-c", 'ip link set lo up; "$@" & wait $!', "_", *command]
