"""What a lesson is, apart from where and how its data is read. Importing this costs no torch."""

from __future__ import annotations

from typing import Any

from raykd.config import TrainingSpec

LOCAL_SETTINGS = ("root", "download", "cache", "loader_processes")
"""Settings of the data that decide where and how it is read, not what it is."""

LATER_SETTINGS = {"view_seed": None, "held_out": "validation"}
"""Settings of the data that say nothing at these values: without them lessons are the same as before there were any."""


def identity(spec: TrainingSpec) -> dict[str, Any]:
    """The settings that decide a network's weights, as JSON data: equal ones are the same lesson on any machine.

    Of the methods' settings only those that have a part in the lesson are in it.
    """
    content = spec.model_dump(mode="json")
    for name in LOCAL_SETTINGS:
        del content["data"][name]
    for name, silent in LATER_SETTINGS.items():
        if content["data"][name] == silent:
            del content["data"][name]
    for name in spec.method.idle:
        content["method"].pop(name, None)
    return content
