"""The token of a local cluster: whoever has it may run anything as its user. Ray's own would be readable by all."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

TOKEN = Path(".ray") / "auth_token"
"""Where Ray looks for the token, below the home folder."""

ELSEWHERE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Variables that hold the token, or name its file."""


def make_private_token() -> None:
    """Make the token, with mode 600, where `ray.init` would make one with mode 644, as none is known.

    Only for a cluster that is to be started: one that runs has its token, or none; a new one in the home folder would
    lock this user out of it.

    Where the home folder cannot be written, the token is in this process's environment alone: its own cluster has it,
    and nobody else can join that one.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(map(os.environ.get, ELSEWHERE)):
        return
    token = secrets.token_hex(32)
    try:
        file = Path.home() / TOKEN
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, whole = tempfile.mkstemp(dir=file.parent)  # of mode 600
        with os.fdopen(descriptor, "w") as opened:
            opened.write(token)
        with suppress(FileExistsError):  # another process has just made one
            os.link(whole, file)
        os.unlink(whole)
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = token
