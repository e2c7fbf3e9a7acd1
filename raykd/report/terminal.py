"""The explanation of a method, printed on a terminal."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

from raykd.report.combinations import KIND_DESCRIPTIONS
from raykd.report.explanation import NEEDED, Explanation

INDENT = 2


def print_explanation(method: Explanation, console: Console) -> None:
    """Print the whole explanation of a method."""
    page = _Page(console)
    page.line(f"{method.name} - {KIND_DESCRIPTIONS[method.kind]}", style="bold")
    for paragraph in (method.summary, *filter(None, method.details.split("\n\n"))):
        page.line(paragraph, INDENT)
    for title, text in (("formula", method.formula), ("source", method.source)):
        if text:
            page.title(title)
            page.line(text, INDENT)
    if method.layers:
        page.title("hint layers")
        page.line(f"{method.layers}; method.student_layers and method.teacher_layers name others", INDENT)
    page.title("settings")
    for setting in method.settings:
        default = setting.default if setting.default == NEEDED else f"default {setting.default}"
        page.line(f"{setting.name}  {', '.join(filter(None, (default, setting.range)))}", INDENT)
        page.line(setting.help, 2 * INDENT)
    if not method.settings:
        page.line("none of its own", INDENT)
    page.title("combines with")
    for sentence in method.combinations:
        page.line(sentence, INDENT)
    page.title("as published" if method.published else "to run it")
    page.command(shell_lines(method.command, console.width))


class _Page:
    """Prints wrapped lines without trailing blanks, which rich would add."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str) -> None:
        """Begin a section."""
        self._console.print()
        self.line(text, style="bold")

    def line(self, text: str, indent: int = 0, style: str = "") -> None:
        """Print a text, every line of it indented; an empty text prints nothing."""
        blank = " " * indent
        wrapped = textwrap.wrap(
            text, self._console.width, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False
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
