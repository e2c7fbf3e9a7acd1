"""The figures of a study's page, for plotly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from raykd.report.study.beyond import Confusion
from raykd.report.study.curves import Curve, Importances, Weights, is_logarithmic, is_numeric
from raykd.report.study.facts import BestSoFar, StudyFacts
from raykd.report.study.style import BEST, COLOURS, GREY, LINES, REFERENCES, SCALE
from raykd.results.pareto import AXES

PERCENT = ".1%"


def best_so_far(data: BestSoFar, references: Mapping[str, float], along: str) -> go.Figure:
    """Accuracy of each finished trial, and the best one up to it.

    Args:
        data: The trials.
        references: Accuracies to hold them against, by name.
        along: What the horizontal axis counts.
    """
    figure = go.Figure()
    text = [f"{name}: {accuracy:.2%}" for name, accuracy in zip(data.names, data.accuracies, strict=True)]
    figure.add_scatter(
        x=data.along,
        y=data.accuracies,
        mode="markers",
        name="a trial",
        text=text,
        hoverinfo="text",
        marker={"color": GREY, "size": 6},
    )
    figure.add_scatter(
        x=data.along, y=data.best, mode="lines", name="best so far", line={"color": BEST, "width": 2.5, "shape": "hv"}
    )
    _add_references(figure, references, data.along)
    return figure.update_layout(xaxis_title=along, yaxis_tickformat=PERCENT)


def learning_curves(
    highlighted: Sequence[Curve], others: Sequence[Curve], references: Mapping[str, float]
) -> go.Figure:
    """Accuracy over the epochs of all trials, the best of them in colour."""
    figure = go.Figure()
    # One line with gaps: hundreds of lines of their own would freeze a phone.
    across = [x for curve in others for x in (*curve.epochs, None)]
    up = [y for curve in others for y in (*curve.accuracies, None)]
    if others:
        line = {"color": GREY, "width": 1}
        figure.add_scatter(x=across, y=up, mode="lines", name="other trials", line=line, opacity=0.45, hoverinfo="skip")
    for curve, colour in zip(highlighted, COLOURS, strict=False):
        figure.add_scatter(
            x=curve.epochs,
            y=curve.accuracies,
            mode="lines+markers" if len(curve.epochs) < 40 else "lines",
            name=curve.name,
            line={"color": colour, "width": 2.5},
        )
    epochs = [epoch for curve in (*highlighted, *others) for epoch in curve.epochs]
    _add_references(figure, references, epochs)
    return figure.update_layout(xaxis_title="epoch", yaxis_tickformat=PERCENT)


def importance(data: Importances, labels: Mapping[str, str]) -> go.Figure:
    """A bar a setting for each evaluator, the most important one on top."""
    names = list(reversed(data.names))
    figure = go.Figure()
    for (evaluator, values), colour in zip(data.by_evaluator.items(), COLOURS, strict=False):
        figure.add_bar(
            y=[labels[name] for name in names],
            x=[values[name] for name in names],
            name=evaluator,
            orientation="h",
            marker_color=colour,
            hovertext=names,
        )
    return figure.update_layout(barmode="group", xaxis_title="share of importance", xaxis_tickformat=".0%")


def parallel_coordinates(facts: StudyFacts, names: Sequence[str], labels: Mapping[str, str]) -> go.Figure:
    """A line a finished trial through its settings; one that it does not have is below the axis, at a dash.

    Not Optuna's, which makes a trace of each trial: a thousand of them hold a browser up.
    """
    finished = sorted(facts.finished, key=facts.accuracy)  # the best on top
    accuracies = [facts.accuracy(trial) for trial in finished]
    scales = {name: _Scale.of(finished, name) for name in names}
    settings = [
        {"label": labels[name], "values": scale.values, "tickvals": scale.ticks, "ticktext": scale.texts}
        for name, scale in scales.items()
    ]
    return go.Figure(
        go.Parcoords(
            line={"color": accuracies, "colorscale": LINES},
            dimensions=[{"label": "accuracy", "values": accuracies, "tickformat": PERCENT}, *settings],
            labelangle=-18,
        )
    )


def one_slice(facts: StudyFacts, name: str) -> go.Figure:
    """Optuna's plot of accuracy against one setting, over the finished trials that have it."""
    figure = optuna.visualization.plot_slice(
        facts.recorded.study, params=[name], target=facts.accuracy, target_name="accuracy"
    )
    figure.update_traces(marker={"colorscale": LINES, "showscale": False, "line": {"width": 0}, "size": 7})
    having = [trial for trial in facts.finished if name in trial.params]
    if is_numeric(having, name):
        searched: Any = having[-1].distributions[name]
        place = math.log10 if is_logarithmic(having, name) else float
        low, high = place(searched.low), place(searched.high)
        edge = (high - low or 1.0) * 0.04
        figure.update_xaxes(range=[low - edge, high + edge], dtick="D2" if place is math.log10 else None)
    else:
        for trace in figure.data:  # Optuna quotes choices
            trace.x = [str(value).strip("'") for value in trace.x]
        figure.update_xaxes(categoryorder="category ascending", categoryarray=None, tickvals=None, ticktext=None)
    accuracies = [facts.accuracy(trial) for trial in facts.finished]
    edge = (max(accuracies) - min(accuracies) or 0.02) * 0.08
    range_ = [min(accuracies) - edge, max(accuracies) + edge]  # the same for all settings
    return figure.update_layout(
        title=None, xaxis_title=None, yaxis={"title": None, "tickformat": PERCENT, "range": range_}
    )


def shares(weights: Sequence[Weights]) -> go.Figure:
    """Share of the training images, as the student sees them, that the teacher answers wrongly, over the epochs."""
    figure = go.Figure()
    for each, colour in zip(weights, COLOURS, strict=False):
        figure.add_scatter(x=each.epochs, y=each.wrong, mode="lines", name=each.name, line={"color": colour})
    return figure.update_layout(
        xaxis_title="epoch", yaxis={"tickformat": ".1%", "rangemode": "tozero", "title": "teacher wrong"}
    )


def schedules(weights: Sequence[Weights]) -> go.Figure:
    """What the teacher's right answers weigh against the repaired ones (solid), and both in the loss (dotted)."""
    figure = go.Figure()
    for each, colour in zip(weights, COLOURS, strict=False):
        figure.add_scatter(
            x=each.epochs, y=each.right, mode="lines", name=f"{each.name}: right", line={"color": colour, "width": 2.5}
        )
        dotted = {"color": colour, "dash": "dot"}
        figure.add_scatter(x=each.epochs, y=each.kd, mode="lines", name=f"{each.name}: kd_weight", line=dotted)
    return figure.update_layout(xaxis_title="epoch", yaxis={"title": "weight", "rangemode": "tozero"})


def confusion(data: Confusion, answer: str) -> go.Figure:
    """Labels against answers, with the counts."""
    counts = data.counts
    text = [[str(count) if count else "" for count in row] for row in counts.tolist()]
    figure = go.Figure(
        go.Heatmap(
            z=counts.tolist(),
            x=data.classes,
            y=data.classes,
            text=text,
            texttemplate="%{text}",
            colorscale=SCALE,
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate=f"label %{{y}}<br>{answer} %{{x}}<br>%{{z}} images<extra></extra>",
        )
    )
    return figure.update_layout(
        xaxis={"title": answer, "type": "category", "tickangle": -45},
        yaxis={"title": "label", "type": "category", "autorange": "reversed"},
    )


def pareto(facts: StudyFacts) -> go.Figure:
    """Optuna's plot of the goals against each other."""
    names = [AXES[goal] for goal in facts.result.goals]
    figure = optuna.visualization.plot_pareto_front(facts.recorded.study, target_names=names)
    figure.update_traces(marker={"showscale": False})
    return figure.update_layout(title=None)


def _add_references(figure: go.Figure, references: Mapping[str, float], along: Sequence[float]) -> None:
    if not along:
        return
    ends = [min(along), max(along)] if max(along) > min(along) else [min(along) - 0.5, max(along) + 0.5]
    for name, accuracy in references.items():
        figure.add_scatter(
            x=ends,
            y=[accuracy] * 2,
            mode="lines",
            name=f"{name} {accuracy:.2%}",
            line=REFERENCES[name] | {"width": 1.5},
        )


class _Scale(NamedTuple):
    """A setting's axis: the place of each trial on it, and its ticks."""

    values: list[float]
    ticks: list[float]
    texts: list[str]

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], name: str) -> _Scale:
        present = [trial.params[name] for trial in trials if name in trial.params]
        place: Callable[[Any], float]
        if is_numeric(trials, name):
            place = math.log10 if is_logarithmic(trials, name) else float
            low, high = place(min(present)), place(max(present))
            points = [low + part * (high - low) / 4 for part in range(5)] if high > low else [low]
            ticks = {point: f"{10**point if place is math.log10 else point:.3g}" for point in points}
        else:
            choices = sorted(set(present), key=str)
            place = choices.index
            ticks = {float(i): str(choice) for i, choice in enumerate(choices)}
        first, last = min(ticks), max(ticks)
        below = first - ((last - first) or 1.0) * 0.2
        if len(present) < len(trials):
            ticks = {below: "-"} | ticks
        values = [place(trial.params[name]) if name in trial.params else below for trial in trials]
        return cls(values, list(ticks), list(ticks.values()))
