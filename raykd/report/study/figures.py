"""The figures of a study's page, for plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
import plotly.graph_objects as go

from raykd.report.study.beyond import Confusion
from raykd.report.study.curves import Curve, Importances, Weights
from raykd.report.study.facts import BestSoFar, Span, StudyFacts
from raykd.report.study.style import BEST, COLOURS, GREY, OUTCOMES, REFERENCES, SCALE
from raykd.report.study.ticks import PERCENT, whole_step
from raykd.results.pareto import AXES

UNITS = {"days": 86400, "hours": 3600, "minutes": 60}
"""Of time, in seconds, the largest first."""
TRIAL = "trial"
"""What an axis of trials' numbers counts."""


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
        y=_percents(data.accuracies),
        mode="markers",
        name="a trial",
        text=text,
        hoverinfo="text",
        marker={"color": GREY, "size": 6},
    )
    figure.add_scatter(
        x=data.along,
        y=_percents(data.best),
        mode="lines",
        name="best so far",
        line={"color": BEST, "width": 2.5, "shape": "hv"},
    )
    _add_references(figure, references, data.along)
    axis = {"title": along} | (_whole(data.along) if along == TRIAL else {})
    return figure.update_layout(xaxis=axis, yaxis=PERCENT)


def learning_curves(
    highlighted: Sequence[Curve], others: Sequence[Curve], references: Mapping[str, float]
) -> go.Figure:
    """Accuracy over the epochs of all trials, the best of them in colour."""
    figure = go.Figure()
    # One line with gaps: hundreds of lines of their own would freeze a phone.
    across = [x for curve in others for x in (*curve.epochs, None)]
    up = [y for curve in others for y in (*_percents(curve.accuracies), None)]
    if others:
        line = {"color": GREY, "width": 1}
        figure.add_scatter(x=across, y=up, mode="lines", name="other trials", line=line, opacity=0.45, hoverinfo="skip")
    for curve, colour in zip(highlighted, COLOURS, strict=False):
        figure.add_scatter(
            x=curve.epochs,
            y=_percents(curve.accuracies),
            mode="lines+markers" if len(curve.epochs) < 40 else "lines",
            name=curve.name,
            line={"color": colour, "width": 2.5},
        )
    epochs = [epoch for curve in (*highlighted, *others) for epoch in curve.epochs]
    _add_references(figure, references, epochs)
    return figure.update_layout(xaxis=_whole(epochs) | {"title": "epoch"}, yaxis=PERCENT)


def importance(data: Importances, labels: Mapping[str, str]) -> go.Figure:
    """A bar a setting for each evaluator, the most important one on top."""
    names = list(reversed(data.names))
    figure = go.Figure()
    for (evaluator, values), colour in zip(data.by_evaluator.items(), COLOURS, strict=False):
        figure.add_bar(
            y=[labels[name] for name in names],
            x=_percents([values[name] for name in names]),
            name=evaluator,
            orientation="h",
            marker_color=colour,
            hovertext=names,
        )
    return figure.update_layout(barmode="group", xaxis=PERCENT | {"title": "share of importance"})


def shares(weights: Sequence[Weights]) -> go.Figure:
    """Share of the training images, as the student sees them, that the teacher answers wrongly, over the epochs."""
    figure = go.Figure()
    for each, colour in zip(weights, COLOURS, strict=False):
        wrong = [None if share is None else 100 * share for share in each.wrong]
        figure.add_scatter(x=each.epochs, y=wrong, mode="lines", name=each.name, line={"color": colour})
    epochs = _whole([epoch for each in weights for epoch in each.epochs])
    return figure.update_layout(
        xaxis=epochs | {"title": "epoch"}, yaxis=PERCENT | {"rangemode": "tozero", "title": "teacher wrong"}
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
    epochs = _whole([epoch for each in weights for epoch in each.epochs])
    return figure.update_layout(xaxis=epochs | {"title": "epoch"}, yaxis={"title": "weight", "rangemode": "tozero"})


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


def timeline(spans: Sequence[Span]) -> go.Figure:
    """A bar a trial, from its start to its end; its colour says how it ended."""
    figure = go.Figure()
    total = max(span.end for span in spans)
    unit, seconds = next(((name, each) for name, each in UNITS.items() if total > 2 * each), ("seconds", 1))
    for state, colour in OUTCOMES.items():
        bars = [span for span in spans if span.state == state]
        if bars:
            lengths = [(span.end - span.begin) / seconds for span in bars]
            figure.add_bar(
                y=[span.number for span in bars],
                base=[span.begin / seconds for span in bars],
                x=lengths,
                name=state,
                orientation="h",
                marker={"color": colour, "line": {"width": 0}},
                text=[f"{b.name}: {b.state}, {length:.3g} {unit}" for b, length in zip(bars, lengths, strict=True)],
                textposition="none",
                hoverinfo="text",
            )
    numbers = _whole([span.number for span in spans])
    return figure.update_layout(
        barmode="overlay",
        bargap=0.3,
        showlegend=True,
        xaxis={"title": f"{unit} since the first trial began", "rangemode": "tozero"},
        yaxis=numbers | {"title": TRIAL, "autorange": "reversed"},
    )


def _percents(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


def _whole(numbers: Sequence[float]) -> dict[str, float]:
    """Ticks of an axis of whole numbers: at whole numbers alone."""
    return {"tick0": 0, "dtick": whole_step(min(numbers), max(numbers))} if numbers else {}


def _add_references(figure: go.Figure, references: Mapping[str, float], along: Sequence[float]) -> None:
    if not along:
        return
    ends = [min(along), max(along)] if max(along) > min(along) else [min(along) - 0.5, max(along) + 0.5]
    for name, accuracy in references.items():
        figure.add_scatter(
            x=ends,
            y=[100 * accuracy] * 2,
            mode="lines",
            name=f"{name} {accuracy:.2%}",
            line=REFERENCES[name] | {"width": 1.5},
        )
