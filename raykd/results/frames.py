"""A study as pandas tables, and results as short texts for a prompt and a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from raykd.results.trial_summary import TrialSummary

if TYPE_CHECKING:
    import pandas


COLUMNS = ("name", "state", "accuracy", "best_accuracy", "best_epoch", "epochs", "seconds", "parameters", "latency_ms")
"""Those of every trial, as `raykd.results.trial_summary.TrialSummary` has them."""


def trials_frame(trials: Sequence[TrialSummary]) -> pandas.DataFrame:
    """A row a trial, indexed by number: `COLUMNS`, a column a searched setting by dotted name, and the error last.

    Args:
        trials: All of a study's, in order.

    Returns:
        The frame; what a trial does not have is missing (NaN or None).
    """
    import pandas

    settings = dict.fromkeys(name for trial in trials for name in trial.values)
    rows = [
        {name: getattr(trial, name) for name in COLUMNS}
        | {name: trial.values.get(name) for name in settings}
        | {"error": trial.error}
        for trial in trials
    ]
    index = pandas.RangeIndex(len(rows), name="number")
    return pandas.DataFrame(rows, index=index, columns=[*COLUMNS, *settings, "error"])


def epochs_frame(epochs: Mapping[str, Mapping[int, Mapping[str, float]]]) -> pandas.DataFrame:
    """A row an epoch of a trial: its name, the epoch (from 1), and a column a metric.

    Args:
        epochs: Metrics by trial and epoch, see `raykd.tracking.outbox`.
    """
    import pandas

    rows = [
        {"name": trial, "epoch": epoch, **metrics}
        for trial, by_epoch in epochs.items()
        for epoch, metrics in by_epoch.items()
    ]
    return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=["name", "epoch"])


def html_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A small table for a notebook; everything is escaped."""

    def line(tag: str, cells: Sequence[Any]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        f"<table><caption>{escape(caption)}</caption><thead>{line('th', headings)}</thead><tbody>{body}</tbody></table>"
    )


def text_table(caption: str, rows: Sequence[Sequence[Any]]) -> str:
    """The same as lines for a prompt, in columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n  ".join([caption, *lines])
