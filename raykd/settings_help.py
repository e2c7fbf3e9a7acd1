"""Help in two tiers: the settings that matter most, or that a command hears, on a page; all others on request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raykd.config import Experiment
from raykd.settings_io import resolve_setting, setting_value

MAIN_SETTINGS = (
    "data.name",
    "data.root",
    "teacher.model.name",
    "teacher.source",
    "student.name",
    "student.arguments",
    "method.name",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "study.name",
    "study.space",
    "study.trials",
    "study.output",
    "study.resume",
    "cluster.address",
    "tracking.uri",
)
"""Those that most runs set."""
NARROWEST = 60
"""Columns that a page takes at least."""


def print_help(program: str, description: str, experiment: Experiment, names: Sequence[str] = MAIN_SETTINGS) -> None:
    """Print what a command is for, and some of its settings with their defaults, as wide as the terminal is.

    Args:
        program: The command's name.
        description: What it does.
        experiment: Gives the defaults.
        names: Dotted names of the settings; a command that shows others than the main ones has no more.
    """
    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST)
    table = Table("setting", "default", "meaning", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for name in names:
        meaning = first_sentence(resolve_setting(name).description)
        table.add_row(f"--{_option(name)}", Text(_shown(setting_value(experiment, name))), Text(meaning))
    console.print(Text(f"usage: {program} [--SETTING VALUE ...]\n\n{description}\n"))
    console.print(Padding(table, (0, 0, 1, 2)))
    if names is MAIN_SETTINGS:
        console.print(Text(f"{program} --help-all shows all settings."))


def first_sentence(description: str | None) -> str:
    """The first sentence of a setting's description, on one line, without the marks of code."""
    text = " ".join((description or "").split()).replace("`", "")
    return re.split(r"(?<=[.:;]) (?=[A-Z])", text)[0].rstrip(":;")


def _option(name: str) -> str:
    """The name on the command line."""
    return name.replace("_", "-")


def _shown(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None or value == () or value == {}:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)
