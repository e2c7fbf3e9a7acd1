"""The page of a study: one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

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


def page(facts: StudyFacts, parts: Sequence[Section]) -> str:
    """The whole page as HTML.

    Args:
        facts: The study's.
        parts: Its sections.
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
        name=facts.name,
        sentences=headline(facts),
        sections=parts,
        look=facts.result.place.look,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        plotly=get_plotlyjs(),
    )


def _figure(plot: Plot) -> str:
    """A plot as JSON that may stand in HTML."""
    content = json.loads(plot.figure.to_json())
    content["layout"].pop("template", None)  # the page has a look of its own
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
