"""Commands in the pages of the documentation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`((?:raykd|python experiments/\w+\.py) [^`]+)`(?!`)")
COMMAND = re.compile(r"(?:^|-- |&& )(raykd|python experiments/\w+\.py)(?= |$)")


def commands(page: Path, inline: bool = True) -> Iterator[list[str]]:
    """The words of each command of raykd, or of a script of experiments/, on a page.

    Args:
        page: A Markdown file.
        inline: Also those inside of sentences.
    """
    text = page.read_text()
    lines = [line for block in FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    if inline:
        lines += [found.replace("\n", " ") for found in INLINE.findall(text)]
    for line in map(str.strip, lines):
        if (found := COMMAND.search(line)) is not None:
            yield shlex.split(line[found.start(1) :], comments=True)
