"""The figures of the page docs/claims.md, as SVG files, from the study's record alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.results.claims import ClaimsRecord, Finding, Outcome
from raykd.results.questions import QUESTIONS, TEACHER, Comparison
from raykd.results.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLOURS: dict[Finding, str] = {
    "shown": "#1b7837",
    "refuted": "#b2182b",
    "not shown": "#777777",
    "seeds missing": "#c7c7c7",
}
AGAINST_WRONG_SHARE = (("drop", "kd"), ("pair 0.5", "kd"), ("paper", "kd"), ("honest", "kd"))
"""What is drawn against the share of training images that the standard teacher answers wrongly."""
CONDITIONS = 4
"""Beside each other in the forest plot; more stand below them."""
LINEAR = 2.0
"""Points of difference up to which the forest plot's scale is linear."""
TICKS = (-30.0, -10.0, -3.0, -1.0, 0.0, 1.0, 3.0, 10.0, 30.0)
MARKERS = "osD^v<>Pp*Xh8H"
"""One for each condition, in their order."""


def figure_files(beside: Path) -> dict[str, Path]:
    """Where the figures of a record are, by name."""
    return {name: beside.with_name(f"{beside.stem}_{name}.svg") for name in ("differences", "wrong_share")}


def draw(record: ClaimsRecord, beside: Path) -> dict[str, Path]:
    """Write the figures beside the record; from the same record, the same matplotlib makes the same bytes.

    Args:
        record: What was measured.
        beside: The record's file, as `docs/claims/fashion_mnist.json`.

    Returns:
        The files: `differences`: every comparison under every condition; `wrong_share`: what repairs and honest
        teachers gain, by how often the standard teacher is wrong.
    """
    import matplotlib as mpl

    files = figure_files(beside)
    with mpl.rc_context({"svg.hashsalt": "raykd", "svg.fonttype": "none", "font.size": 9.0}):
        differences(record).savefig(files["differences"], metadata={"Date": None})
        wrong_share(record).savefig(files["wrong_share"], metadata={"Date": None})
    return files


def differences(record: ClaimsRecord) -> Figure:
    """A forest plot of students' accuracy on all test images: comparisons in rows, conditions in columns.

    Conditions that stand beside each other have the same rows.
    """
    from matplotlib.figure import Figure

    outcomes = [
        each
        for each in record.outcomes()
        if each.comparison.figure == "accuracy" and not each.comparison.than.startswith(TEACHER)
    ]
    names = record.variants
    blocks = [names[first : first + CONDITIONS] for first in range(0, len(names), CONDITIONS)]
    rows = [_rows([each for each in outcomes if each.variant in block]) for block in blocks]
    heights = [0.8 + 0.19 * len(block_rows) for block_rows in rows]
    across = min(len(names), CONDITIONS)
    figure = Figure(figsize=(3.2 + 2.0 * across, 0.4 + sum(heights)), layout="constrained")
    # One method that fails would leave the others a line; means are all inside, the ends of a wide interval are not.
    widest = max((100 * abs(each.difference.mean) for each in outcomes), default=1.0)
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, block, block_rows in zip(parts, blocks, rows, strict=True):
        columns = part.subplots(1, across, sharex=True, sharey=True, squeeze=False)[0]
        for axes in columns[len(block) :]:
            axes.remove()
        for axes, variant in zip(columns, block, strict=False):
            found = {each.comparison: each for each in outcomes if each.variant == variant}
            for place, (_, comparison) in enumerate(block_rows):
                if comparison in found:
                    _interval(axes, place, found[comparison])
            axes.set_title(variant, fontsize=9)
            axes.axvline(0.0, color="black", linewidth=0.8)
            axes.grid(axis="x", alpha=0.3)
        columns[0].set_yticks(range(len(block_rows)), [label for label, _ in block_rows])
        columns[0].set_ylim(len(block_rows) - 0.5, -0.5)
        columns[0].set_xscale("symlog", linthresh=LINEAR, subs=range(2, 10))
        columns[0].set_xlim(-1.3 * max(widest, LINEAR), 1.3 * max(widest, LINEAR))
        ticks = [tick for tick in TICKS if abs(tick) < 1.3 * widest]
        columns[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.supxlabel(
        f"difference of test accuracy, points, with its 95 % interval; beyond {LINEAR:g} on a logarithmic scale",
        fontsize=9,
    )
    figure.legend(handles=_findings(), loc="outside upper right", ncols=len(COLOURS), fontsize=8)
    return figure


def _rows(outcomes: Sequence[Outcome]) -> list[tuple[str, Comparison]]:
    """The comparisons that were made, with their questions, in the order of these."""
    measured = {each.comparison for each in outcomes}
    return [
        (f"{name}: {each.better} over {each.than}", each)
        for name, question in QUESTIONS.items()
        for each in question.comparisons
        if each in measured
    ]


def wrong_share(record: ClaimsRecord) -> Figure:
    """What is gained over plain distillation under every condition, by how often its teacher is wrong."""
    from matplotlib.figure import Figure

    outcomes = {
        (each.variant, each.comparison.better, each.comparison.than): each
        for each in record.outcomes()
        if each.comparison.figure == "accuracy"
    }
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    conditions = dict(zip(record.variants, MARKERS, strict=False))
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (better, than) in zip(panels.flat, AGAINST_WRONG_SHARE, strict=True):
        for variant, marker in conditions.items():
            shares = [each.wrong_share for each in record.of(variant, than).values() if each.wrong_share is not None]
            outcome = outcomes.get((variant, better, than))
            if outcome is None or not shares:
                continue
            share, difference = 100 * sum(shares) / len(shares), 100 * outcome.difference.mean
            colour = COLOURS[outcome.finding]
            axes.errorbar(share, difference, yerr=_beside(outcome.difference), fmt=marker, color=colour, capsize=2)
        axes.set_title(f"{better} over {than}", fontsize=9)
        axes.axhline(0.0, color="black", linewidth=0.8)
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("training images that the standard teacher answers wrongly, %", fontsize=8)
    figure.supylabel("difference of test accuracy, points", fontsize=9)
    markers = [_key(marker, "black", variant) for variant, marker in conditions.items()]
    figure.legend(handles=[*_findings(), *markers], loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _interval(axes: Axes, place: int, outcome: Outcome) -> None:
    """One comparison's mean and interval, in points."""
    mean = 100 * outcome.difference.mean
    axes.errorbar(
        mean, place, xerr=_beside(outcome.difference), fmt="o", color=COLOURS[outcome.finding], markersize=3, capsize=2
    )


def _beside(estimate: Estimate) -> list[Sequence[float]] | None:
    """How far the 95 % interval reaches to both sides of the mean, in points; None where it is not known."""
    if estimate.low is None or estimate.high is None:
        return None
    return [[100 * (estimate.mean - estimate.low)], [100 * (estimate.high - estimate.mean)]]


def _findings() -> list[Line2D]:
    """What the colours mean."""
    return [_key("o", colour, finding) for finding, colour in COLOURS.items()]


def _key(marker: str, colour: str, label: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, linestyle="", color=colour, label=label)
