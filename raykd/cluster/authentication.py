"""The token of a local cluster: whoever has it may run anything as its user. Ray's own would be readable by all."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from ray._private.services import canonicalize_bootstrap_address

from raykd.errors import RaykdError

TOKEN = Path(".ray") / "auth_token"
"""Where Ray looks for the token, below the home folder."""

ELSEWHERE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Variables that hold the token, or name its file."""


def make_private_token() -> None:
    """Make the token, with mode 600, where `ray.init` would make one with mode 644: none is known, none is running.

    A cluster that runs already has its token, or none; a new one in the home folder would lock this user out of it.

    Raises:
        RaykdError: the home folder cannot be written.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(map(os.environ.get, ELSEWHERE)):
        return
    file = Path.home() / TOKEN
    if file.exists() or canonicalize_bootstrap_address(None) is not None:  # type: ignore[arg-type]
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, whole = tempfile.mkstemp(dir=file.parent)  # of mode 600
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # another process has just made one
            os.link(whole, file)
        os.unlink(whole)
    except OSError as error:
        raise RaykdError(
            f"Ray's token cannot be written to {file}: {error.strerror}\n"
            "name another file, which holds 64 random hexadecimal digits, by RAY_AUTH_TOKEN_PATH"
        ) from error
