"""The figures of the page docs/claims.md, as SVG files, from the study's record alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.results.claims import ClaimsRecord, Finding, Outcome
from raykd.results.questions import QUESTIONS, TEACHER
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
LINEAR = 2.0
"""Points of difference up to which the forest plot's scale is linear."""
TICKS = (-30.0, -10.0, -3.0, -1.0, 0.0, 1.0, 3.0, 10.0, 30.0)
MARKERS = "osD^v<>Pp*Xh8dH"
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
    """A forest plot of students' accuracy on all test images: comparisons in rows, conditions in columns."""
    from matplotlib.figure import Figure

    outcomes = [
        each
        for each in record.outcomes()
        if each.comparison.figure == "accuracy" and not each.comparison.than.startswith(TEACHER)
    ]
    measured = {each.comparison for each in outcomes}
    rows = [
        (f"{name}: {each.better} over {each.than}", each)
        for name, question in QUESTIONS.items()
        for each in question.comparisons
        if each in measured
    ]
    variants = record.variants
    figure = Figure(figsize=(3.2 + 2.0 * len(variants), 1.0 + 0.19 * len(rows)), layout="constrained")
    columns = figure.subplots(1, len(variants), sharex=True, sharey=True, squeeze=False)[0]
    for axes, variant in zip(columns, variants, strict=True):
        found = {each.comparison: each for each in outcomes if each.variant == variant}
        for place, (_, comparison) in enumerate(rows):
            if comparison in found:
                _interval(axes, place, found[comparison])
        axes.set_title(variant.replace(", ", ",\n"), fontsize=9)
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.grid(axis="x", alpha=0.3)
    columns[0].set_yticks(range(len(rows)), [label for label, _ in rows])
    columns[0].set_ylim(len(rows) - 0.5, -0.5)
    # One method that fails would leave the others a line; means are all inside, the ends of a wide interval are not.
    widest = max((100 * abs(each.difference.mean) for each in outcomes), default=1.0)
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
