"""Explanations, printed on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from raykd.report.combinations import KIND_DESCRIPTIONS
from raykd.report.explanation import NEEDED, Explanation, SettingExplanation
from raykd.report.topics import Topic

INDENT, LONGEST_RULE = 2, 60


def print_found(found: Sequence[Explanation | Topic], console: Console) -> None:
    """Print all explanations of a name, with a rule between them."""
    for number, each in enumerate(found):
        if number:
            console.print()
            console.print(Text("-" * min(console.width, LONGEST_RULE)), soft_wrap=True)
            console.print()
        if isinstance(each, Topic):
            print_topic(each, console)
        else:
            print_explanation(each, console)


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
    page.settings(method.settings)
    if not method.settings:
        page.line("none of its own", INDENT)
    page.title("combines with")
    for sentence in method.combinations:
        page.line(sentence, INDENT)
    page.title("as published" if method.published else "to run it")
    page.command(shell_lines(method.command, console.width))


def print_topic(topic: Topic, console: Console) -> None:
    """Print the whole explanation of an idea, a setting or a section."""
    page = _Page(console)
    page.line(f"{topic.name} - {topic.title}", style="bold")
    for paragraph in topic.paragraphs:
        page.line(paragraph, INDENT)
    for title, text in (
        ("formula", topic.idea.formula),
        ("source", topic.idea.source),
        ("when to use it", topic.idea.when),
    ):
        if text:
            page.title(title)
            page.line(text, INDENT)
    if topic.settings:
        page.title("settings")
        page.settings(topic.settings)
    if topic.notes:
        page.title("notes")
        for note in topic.notes:
            page.line(note, INDENT)
    if topic.usage:
        page.title("how to set it")
        for way, text in topic.usage:
            page.line(f"{way:<14}{text}", INDENT)


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

    def settings(self, settings: Iterable[SettingExplanation]) -> None:
        """Print settings with their defaults, values and help."""
        for setting in settings:
            default = setting.default if setting.default == NEEDED else f"default {setting.default}"
            self.line(f"{setting.name}  {', '.join(filter(None, (default, setting.range)))}", INDENT)
            self.line(setting.help, 2 * INDENT)

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
