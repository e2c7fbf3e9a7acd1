"""Where the files and sockets of a Ray lie that is started here."""

from __future__ import annotations

import os
from pathlib import Path

from ray._common.utils import get_default_system_temp_dir

from raykd.sockets import short_folder

LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_{pid}/sockets/dash_TaskEventsHead"
"""Of all of Ray's sockets in the folder for temporary files, the one with the longest path."""


def ray_folder() -> tuple[Path, str | None]:
    """Ray's folder, and a sentence if it does not lie where Ray would put it (RAY_TMPDIR, TMPDIR or /tmp).

    Raises:
        RaykdError: there is none that will do.
    """
    setting = next((f"{name} " for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "")
    wanted = Path(get_default_system_temp_dir()).absolute()  # type: ignore[no-untyped-call]
    folder, trouble = short_folder(wanted, LONGEST_SOCKET.format(pid=os.getpid()))
    return folder / "ray", trouble and f"Ray's files lie in {folder / 'ray'}: {setting}{wanted} {trouble}"
