"""The page of a study: one file that needs no network, and PNGs beside it."""

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
from raykd.storage import replacing

DPI = 130


def write_page(facts: StudyFacts, file: Path) -> list[Path]:
    """Write a study's page, and its figures as PNGs beside it, named after it.

    Args:
        facts: The study's.
        file: Where the page goes; its folder is made.

    Returns:
        The files, the page first.

    Raises:
        RaykdError: the files cannot be written.
    """
    parts = list(sections(facts))
    text = page(facts, parts)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        drawn = []
        for part in parts:
            picture = file.with_name(f"{file.stem}-{part.key}.png")
            if part.draw is None:
                # Of an earlier report, when there was something to draw.
                picture.unlink(missing_ok=True)
                continue
            with replacing(picture) as temporary:
                part.draw().savefig(temporary, dpi=DPI, format="png")
            drawn.append(picture)
    except OSError as error:
        raise RaykdError(f"{file} cannot be written: {error.strerror or error}") from error
    return [file, *drawn]


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
        said=headline(facts),
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
