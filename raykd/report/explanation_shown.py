"""A method explained on a terminal."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

from raykd.report.combinations import DENOMINATORS, NO_SAY, SCHEDULES, YES, Combinations
from raykd.report.explanation import NEEDED, Explanation

INDENT = 2
NAMES = 20
"""Columns of the names in the table of combinations."""
KINDS = {
    "answers": "compares the networks' answers, each sample for itself",
    "batch": "compares the networks' answers, samples among each other",
    "features": "compares features; its term stands beside that of a method of answers",
    "no teacher": "needs no teacher",
}
"""The kinds of `raykd.report.combinations` in words."""


def show_explanation(found: Explanation, console: Console) -> None:
    """Print all that is to be said of a method."""
    page = _Page(console)
    page.line(f"{found.name} - {KINDS[found.combinations.kind]}", style="bold")
    for paragraph in (found.summary, *filter(None, found.details.split("\n\n"))):
        page.line(paragraph, INDENT)
    for title, text in (("formula", found.formula), ("source", found.source)):
        if text:
            page.title(title)
            page.line(text, INDENT)
    if found.layers:
        page.title("listens to")
        page.line(f"{found.layers}; method.student_layers and method.teacher_layers name others", INDENT)
    page.title("settings")
    for setting in found.settings:
        default = setting.default if setting.default == NEEDED else f"default {setting.default}"
        page.line(f"{setting.name}  {', '.join(filter(None, (default, setting.range)))}", INDENT)
        page.line(setting.help, 2 * INDENT)
    if not found.settings:
        page.line("none of its own", INDENT)
    page.title("combines with")
    for name, text in _combinations(found.combinations).items():
        page.line(f"{name:<{NAMES}}{text}", INDENT, hanging=NAMES)
    page.title("as published" if found.published else "to run it")
    page.command(shell_lines(found.command, console.width))


class _Page:
    """Wrapped lines on a console, without the trailing blanks that rich leaves."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str) -> None:
        """Begin a section."""
        self._console.print()
        self.line(text, style="bold")

    def line(self, text: str, indent: int = 0, hanging: int = 0, style: str = "") -> None:
        """Print a text below its own beginning; nothing of an empty one."""
        first = " " * indent
        rest = " " * (indent + hanging)
        wrapped = textwrap.wrap(
            text, self._console.width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        )
        for line in wrapped:
            self._console.print(Text(line, style=style), soft_wrap=True)

    def command(self, text: str) -> None:
        """Print lines as they are."""
        self._console.print(Text(text), soft_wrap=True)


def shell_lines(words: tuple[str, ...], width: int) -> str:
    """A command over several lines, each but the last ending in a backslash, options kept with their values."""
    options: list[str] = []
    for word in words:
        if word.startswith("--") or not options:
            options.append(word)
        else:
            options[-1] += f" {word}"
    lines = [" " * INDENT + options[0]]
    for option in options[1:]:
        if len(lines[-1]) + len(option) + 3 > width:
            lines[-1] += " \\"
            lines.append(" " * 2 * INDENT + option)
        else:
            lines[-1] += f" {option}"
    return "\n".join(lines)


def _combinations(what: Combinations) -> dict[str, str]:
    """What a method combines with, by setting."""
    if what.kind == "no teacher":
        return {"no teacher": "temperature, bias and schedule have no say"}
    rows = {
        "temperature.policy": _words(what.policies),
        "bias.form": _words(what.forms),
        "schedule.form": ", ".join(SCHEDULES),
        "bias.denominator": ", ".join(DENOMINATORS),
        "several workers": _workers(what.workers),
        "learned parts": "yes: trained, saved and resumed with the student" if what.learned else "none",
    }
    if what.kind == "features":
        beside = {
            "method.beside": "any method of answers; what follows applies to it, if objective.kd_weight is above 0"
        }
        return beside | rows
    return rows


def _workers(word: str) -> str:
    if word == "as one":
        return "learn as one: means are taken over the whole batch"
    return "each compares its own samples; their losses are averaged"


def _words(cells: dict[str, str]) -> str:
    return ", ".join(name if cell in (YES, NO_SAY) else f"{name} ({cell})" for name, cell in cells.items())
