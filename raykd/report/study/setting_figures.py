"""The figures of a study's searched settings: each by itself, and all side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from raykd.places import trial_name
from raykd.report.study.curves import is_logarithmic, is_numeric, value_of
from raykd.report.study.facts import StudyFacts
from raykd.report.study.style import FAINT, GREY, LINES
from raykd.report.study.ticks import PERCENT, ticks

STOPPED = "stopped"
"""What stands in place of the accuracy of a trial that was stopped: after fewer epochs it compares with no other."""


def one_slice(facts: StudyFacts, name: str) -> go.Figure:
    """Accuracy against one setting: a point a finished trial that has it, and below a cross a stopped one."""
    finished, stopped = ([each for each in trials if _has(each, name)] for trials in (facts.finished, facts.stopped))
    accuracies = [100 * facts.accuracy(trial) for trial in facts.finished]
    spread = max(accuracies) - min(accuracies) or 2.0
    low, high = min(accuracies) - 0.08 * spread, max(accuracies) + 0.08 * spread  # the same for all settings
    below = low - 0.08 * spread
    figure = go.Figure()
    figure.add_scatter(
        x=[_place(trial, name) for trial in finished],
        y=[100 * facts.accuracy(trial) for trial in finished],
        mode="markers",
        text=[_said(facts, trial, name) for trial in finished],
        marker={"color": [trial.number for trial in finished], "colorscale": LINES, "size": 7},
    )
    figure.add_scatter(
        x=[_place(trial, name) for trial in stopped],
        y=[below] * len(stopped),
        mode="markers",
        text=[_said(facts, trial, name) for trial in stopped],
        marker={"color": GREY, "size": 6, "symbol": "x-thin-open"},
    )
    figure.update_traces(hoverinfo="text")
    edge = below if stopped else low
    figure.update_layout(showlegend=False, yaxis=PERCENT | {"range": [edge - 0.05 * spread, high]})
    return figure.update_layout(xaxis=_axis(facts, name))


def parallel_coordinates(facts: StudyFacts, names: Sequence[str], labels: Mapping[str, str]) -> go.Figure:
    """A line a trial through its settings, faint if it was stopped; one that it does not have is at a dash, below.

    Not Optuna's, which makes a trace of each trial: a thousand of them hold a browser up.
    """
    finished, stopped = sorted(facts.finished, key=facts.accuracy), facts.stopped  # the best on top
    accuracies = [100 * facts.accuracy(trial) for trial in finished]
    low, high = min(accuracies), max(accuracies)
    at = ticks(low, high)
    below = min(low, *at) - 0.12 * (high - low or 1.0)
    shown = [below] * len(stopped) + accuracies
    texts = ({below: STOPPED} if stopped else {}) | {place: f"{text} %" for place, text in at.items()}
    scales = {name: _Scale.of([*stopped, *finished], name) for name in names}
    settings = [
        {"label": labels[name], "values": scale.values, "tickvals": scale.ticks, "ticktext": scale.texts}
        for name, scale in scales.items()
    ]
    first = {"label": "accuracy", "values": shown, "tickvals": list(texts), "ticktext": list(texts.values())}
    # Stopped trials have the faint lower part of the colours for themselves.
    span = (high - low) or 1.0
    colours = [(0.0, FAINT), (0.2, FAINT), *((0.2 + 0.8 * part, colour) for part, colour in LINES)]
    faintest = low - 0.25 * span
    line = {
        "color": [faintest] * len(stopped) + accuracies,
        "colorscale": colours,
        "cmin": faintest,
        "cmax": low + span,
    }
    return go.Figure(go.Parcoords(line=line, dimensions=[first, *settings], labelangle=-18))


def _has(trial: FrozenTrial, name: str) -> bool:
    return value_of(trial, name) is not None


def _place(trial: FrozenTrial, name: str) -> float | str:
    value = value_of(trial, name)
    return float(value) if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def _said(facts: StudyFacts, trial: FrozenTrial, name: str) -> str:
    value = value_of(trial, name)
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    if trial in facts.finished:
        reached = f"{facts.accuracy(trial):.2%}"
    else:
        epoch = max(trial.intermediate_values)
        reached = f"stopped after epoch {epoch} at {trial.intermediate_values[epoch]:.2%}"
    return f"{trial_name(trial.number)}: {reached}<br>{name} {shown}"


def _axis(facts: StudyFacts, name: str) -> dict[str, Any]:
    """The horizontal axis of a slice: the searched range, and start points that lie outside."""
    trials = [*facts.finished, *facts.stopped]
    values = [value for trial in trials if (value := value_of(trial, name)) is not None]
    if not is_numeric(trials, name):
        return {"type": "category", "categoryorder": "array", "categoryarray": sorted({str(each) for each in values})}
    searched: Any = next(trial.distributions[name] for trial in reversed(trials) if name in trial.distributions)
    low, high = min(searched.low, *values), max(searched.high, *values)
    logarithmic = is_logarithmic(trials, name) and low > 0
    place: Callable[[float], float] = math.log10 if logarithmic else float
    edge = (place(high) - place(low) or 1.0) * 0.04
    at = ticks(low, high, logarithmic)
    return {
        "type": "log" if logarithmic else "linear",
        "range": [place(low) - edge, place(high) + edge],
        "tickvals": list(at),
        "ticktext": list(at.values()),
    }


class _Scale(NamedTuple):
    """A setting's axis side by side with others: the place of each trial on it, and its ticks."""

    values: list[float]
    ticks: list[float]
    texts: list[str]

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], name: str) -> _Scale:
        present = [value for trial in trials if (value := value_of(trial, name)) is not None]
        place: Callable[[Any], float]
        if is_numeric(trials, name):
            low, high = min(present), max(present)
            logarithmic = is_logarithmic(trials, name) and low > 0
            place = math.log10 if logarithmic else float
            at = {place(value): text for value, text in ticks(low, high, logarithmic).items()}
            first, last = place(low), place(high)
        else:
            choices = sorted(set(present), key=str)
            place = choices.index
            at = {float(i): str(choice) for i, choice in enumerate(choices)}
            first, last = min(at), max(at)
        below = min(first, *at) - ((last - first) or 1.0) * 0.2
        if len(present) < len(trials):
            at = {below: "-"} | at
        found = [value_of(trial, name) for trial in trials]
        return cls([below if value is None else place(value) for value in found], list(at), list(at.values()))
