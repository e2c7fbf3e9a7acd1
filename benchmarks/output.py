"""Shared by the benchmarks: rows as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import plotly.graph_objects as go
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Outputs:
    """Options of a benchmark whose rows can be kept."""

    json: Path | None = None
    """Also write the rows to this file."""
    plot: Path | None = None
    """Also draw the rows into this HTML file, or where they are lines into this SVG file."""


def write_json(rows: Sequence[Any], file: Path | None) -> None:
    """Write rows (dataclasses) as a list of objects, if a file is asked for."""
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def write_bars(series: Mapping[str, Mapping[str, float]], title: str, file: Path | None) -> None:
    """Draw bars as a page, if a file is asked for.

    Args:
        series: A name for each colour to the height of each bar, by its label.
        title: Above them, with what the height means.
        file: HTML.
    """
    if file is not None:
        bars = [go.Bar(name=name, x=list(heights), y=list(heights.values())) for name, heights in series.items()]
        go.Figure(bars, {"title": title, "barmode": "group"}).write_html(file)


def write_lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, file: Path | None) -> None:
    """Draw lines through points (x, y), if a file is asked for: a page, or a picture where it ends in .svg."""
    if file is None:
        return
    if file.suffix == ".svg":
        _draw_lines(series, title, file)
        return
    lines = [
        go.Scatter(name=name, x=[x for x, _ in points], y=[y for _, y in points]) for name, points in series.items()
    ]
    go.Figure(lines, {"title": title}).write_html(file)


def _draw_lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, file: Path) -> None:
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, points in series.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, linewidth=1.2)
    axes.set_title(title, fontsize="medium")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "raykd", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})
