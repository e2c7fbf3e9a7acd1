"""The page of a study: one file that needs no network."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from raykd.errors import RaykdError
from raykd.report.study.facts import StudyFacts
from raykd.report.study.sections import Plot, Section, sections
from raykd.report.study.words import headline
from raykd.storage import write

PICTURES_OF_EARLIER_RELEASES = (
    "best_so_far",
    "learning_curves",
    "importance",
    "slices",
    "schedule",
    "beyond_teacher",
)
"""They lay beside the page as PNGs, which would be out of date beside a newer page."""


@dataclass(frozen=True)
class Live:
    """What a page that follows its study needs.

    - version: of what it shows
    - said: what the study is doing
    - asked: the address that gives the present version
    - plotly: the address of plotly.js
    - every: milliseconds between two questions
    """

    version: str
    said: str
    asked: str
    plotly: str
    every: int


class Packed(NamedTuple):
    """A script, deflated and written in base 85; `size`: of the deflated bytes."""

    text: str
    size: int


def write_page(facts: StudyFacts, file: Path) -> None:
    """Write a study's page.

    Args:
        facts: The study's.
        file: Where the page goes; its folder is made.

    Raises:
        RaykdError: the page cannot be written.
    """
    text = page(facts, list(sections(facts)))
    try:
        write(file.parent, file.name, text.encode())
        for picture in PICTURES_OF_EARLIER_RELEASES:
            file.with_name(f"{file.stem}-{picture}.png").unlink(missing_ok=True)
    except OSError as error:
        raise RaykdError(f"{file} cannot be written: {error.strerror or error}") from error


def page(facts: StudyFacts, parts: Sequence[Section], live: Live | None = None) -> str:
    """The whole page as HTML.

    Args:
        facts: The study's.
        parts: Its sections.
        live: For a page that is served and follows its study. None: one that needs no network.
    """
    return rendered(facts.name, headline(facts), parts, facts.result.place.look, live)


def rendered(name: str, sentences: Sequence[str], parts: Sequence[Section], look: str, live: Live | None = None) -> str:
    """A page as HTML.

    Args:
        name: The study's.
        sentences: What stands first.
        parts: Its sections.
        look: How to look at the study in MLflow.
        live: See `page`.
    """
    environment = Environment(
        loader=PackageLoader("raykd.report.study", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("page.html.j2").render(
        name=name,
        sentences=sentences,
        sections=parts,
        look=look,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        live=live,
        plotly=None if live else _packed_plotly(),
    )


@cache
def _packed_plotly() -> Packed:
    deflated = zlib.compress(get_plotlyjs().encode(), 9)
    # In a script "<" may begin a tag, and base 85 has no ",".
    return Packed(base64.b85encode(deflated, pad=True).decode().replace("<", ","), len(deflated))


def _figure(plot: Plot) -> str:
    """A plot as JSON that may stand in HTML."""
    content = json.loads(plot.figure.to_json())
    content["layout"].pop("template", None)  # the page has a look of its own
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
