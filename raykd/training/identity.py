"""The identity of a training: its settings, except for where and how its data is read. Importing costs no torch."""

from __future__ import annotations

from typing import Any

from raykd.config import TrainingSpec

LOCAL_SETTINGS = ("root", "download", "cache", "loader_processes")
"""Settings of the data that decide where and how it is read, not what it is."""

LATER_SETTINGS = {"view_seed": None, "held_out": "validation"}
"""Settings of the data left out at these values, so that trainings keep the identity from before these settings."""


def identity(spec: TrainingSpec) -> dict[str, Any]:
    """The settings that decide a network's weights, as JSON data: equal ones are the same training on any machine.

    Of the methods' settings only those that are in use are in it.
    """
    content = spec.model_dump(mode="json")
    for name in LOCAL_SETTINGS:
        del content["data"][name]
    for name, neutral in LATER_SETTINGS.items():
        if content["data"][name] == neutral:
            del content["data"][name]
    for name in spec.method.idle:
        content["method"].pop(name, None)
    return content
