"""The metrics of every epoch, as a study's outbox has them: the only place where all trials' lie together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from raykd.tracking.outbox import FILE


def logged_epochs(folder: Path) -> dict[str, dict[int, Mapping[str, float]]]:
    """Metrics by trial and epoch, both in order. Reads only, so a study may be running; empty without an outbox.

    Args:
        folder: The study's.
    """
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a study that is running, or damage
            continue
        # Epoch 0 holds what is known of a student before it is taught.
        if event.get("kind") == "metrics" and "trial" in event and event["step"] > 0:
            found.setdefault(event["trial"], {}).setdefault(event["step"], event["metrics"])
    return {trial: dict(sorted(found[trial].items())) for trial in sorted(found)}
