"""The figures of a study's page as PNGs, for papers and mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from raykd.report.study.beyond import Beyond
from raykd.report.study.curves import Curve, Importances, Weights, is_logarithmic, short_names
from raykd.report.study.facts import BestSoFar, StudyFacts
from raykd.report.study.style import BEST, COLOURS, GREY, REFERENCES, SCALE

DASHES = {"dash": "--", "dot": ":"}
COLUMNS = 3


def best_so_far(over: Mapping[str, BestSoFar], references: Mapping[str, float]) -> Figure:
    """A panel for each of what the horizontal axes count."""
    figure, panels = _panels(len(over))
    for panel, (along, found) in zip(panels, over.items(), strict=True):
        panel.scatter(found.along, found.accuracies, color=GREY, s=14, label="a trial")
        panel.step(found.along, found.best, where="post", color=BEST, linewidth=2, label="best so far")
        _finish(panel, along, references)
    return figure


def learning_curves(highlighted: Sequence[Curve], others: Sequence[Curve], references: Mapping[str, float]) -> Figure:
    """All trials, the best of them in colour."""
    figure, (panel,) = _panels(1, width=7.5)
    for curve in others:
        panel.plot(curve.epochs, curve.accuracies, color=GREY, alpha=0.4, linewidth=0.8)
    for curve, colour in zip(highlighted, COLOURS, strict=False):
        panel.plot(curve.epochs, curve.accuracies, color=colour, linewidth=2, label=curve.name)
    _finish(panel, "epoch", references)
    return figure


def importance(found: Importances, labels: Mapping[str, str]) -> Figure:
    """A bar a setting for each evaluator."""
    names = list(reversed(found.names))
    figure = Figure(figsize=(7.5, 1.2 + 0.42 * len(names)), layout="constrained")
    panel = figure.subplots()
    height = 0.8 / len(found.by_evaluator)
    for i, (evaluator, values) in enumerate(found.by_evaluator.items()):
        places = [place + i * height for place in range(len(names))]
        panel.barh(places, [values[name] for name in names], height, color=COLOURS[i], label=evaluator)
    panel.set_yticks([place + height / 2 for place in range(len(names))], [labels[name] for name in names])
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.set_xlabel("share of importance")
    panel.legend(frameon=False)
    return figure


def slices(facts: StudyFacts, names: Sequence[str]) -> Figure:
    """Accuracy of the finished trials against each setting."""
    figure, panels = _panels(len(names), width=3.6, height=2.8)
    labels = short_names(names)
    for panel, name in zip(panels, names, strict=True):
        having = [trial for trial in facts.finished if name in trial.params]
        values: list[Any] = [trial.params[name] for trial in having]
        if any(isinstance(value, (str, bool)) or value is None for value in values):
            values = [str(value) for value in values]
        panel.scatter(values, [facts.accuracy(trial) for trial in having], color=COLOURS[1], s=14)
        if is_logarithmic(having, name):
            panel.set_xscale("log")
        _finish(panel, labels[name], {})
    return figure


def schedules(found: Sequence[Weights]) -> Figure:
    """Share of wrong answers, and weights, over the epochs."""
    figure, (left, right) = _panels(2)
    for each, colour in zip(found, COLOURS, strict=False):
        epochs: list[float] = [float(epoch) for epoch in each.epochs]
        left.plot(epochs, _numbers(each.wrong), color=colour, label=each.name)
        right.plot(epochs, _numbers(each.right), color=colour, linewidth=2, label=f"{each.name}: right")
        right.plot(epochs, _numbers(each.kd), color=colour, linestyle=":", label=f"{each.name}: kd_weight")
    _finish(left, "epoch", {})
    _finish(right, "epoch", {})
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    left.set_ylabel("teacher wrong")
    right.set_ylabel("weight")
    for panel in (left, right):
        panel.set_ylim(bottom=0)
    return figure


def confusions(found: Beyond) -> Figure:
    """Labels against answers of teacher and student where the teacher is wrong."""
    size = 2.2 + 0.36 * len(found.of_teacher.classes)
    figure = Figure(figsize=(2 * size, size), layout="constrained")
    pairs = (("teacher's answer", found.of_teacher), ("student's answer", found.of_student))
    for panel, (answer, matrix) in zip(figure.subplots(1, 2), pairs, strict=True):
        panel.imshow(matrix.counts, cmap=SCALE.lower())
        ticks = range(len(matrix.classes))
        panel.set_xticks(ticks, matrix.classes, rotation=45, ha="right")
        panel.set_yticks(ticks, matrix.classes)
        middle = matrix.counts.max() / 2
        for row in ticks:
            for column in ticks:
                if count := matrix.counts[row, column]:
                    colour = "black" if count > middle else "white"
                    panel.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
        panel.set_xlabel(answer)
        panel.set_ylabel("label")
    return figure


def _panels(count: int, width: float = 5.2, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]


def _finish(panel: Axes, along: str, references: Mapping[str, float]) -> None:
    for name, accuracy in references.items():
        style = REFERENCES[name]
        panel.axhline(accuracy, color=style["color"], linestyle=DASHES[style["dash"]], label=f"{name} {accuracy:.2%}")
    panel.set_xlabel(along)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.grid(alpha=0.25)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=8)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
