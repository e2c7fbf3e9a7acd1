"""The Pareto front of a study with several goals: its students kept, its table, and its plots."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.study import Study
from rich.table import Table

from raykd.config import Goal
from raykd.places import TRIALS
from raykd.search.goals import goals_of
from raykd.storage import below
from raykd.training.folder import keep_model

if TYPE_CHECKING:
    from raykd.results.study import StudyResult, TrialSummary

FRONT = "pareto"
"""Folder of the front's students below the study's, and the name of its plots."""

AXES: dict[Goal, str] = {
    "accuracy": "accuracy on the validation split",
    "parameters": "parameters",
    "latency": "latency of one image on one CPU thread, ms",
}


def keep_front(result: StudyResult, shared: str) -> None:
    """Copy the front's students out of the study's shared folder, in place of those of an earlier front."""
    folder = result.folder / FRONT
    temporary = folder.with_name(f"{FRONT}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for trial in result.pareto:
        keep_model(below(shared, TRIALS, trial.name), temporary / trial.name)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def front_table(front: Sequence[TrialSummary], goals: Sequence[Goal]) -> Table:
    """The front, most accurate first: what each student reaches, and with which settings."""
    table = Table(title="Pareto front: no other student is better in all of these", title_justify="left")
    table.add_column("")
    for goal in goals:
        table.add_column("latency ms" if goal == "latency" else goal, justify="right")
    table.add_column("settings")
    for trial in front:
        cells = {
            "accuracy": f"{trial.accuracy:.2%}",
            "parameters": f"{trial.parameters:,}",
            "latency": f"{trial.latency_ms:.2f}" if trial.latency_ms is not None else "",
        }
        table.add_row(trial.name, *(cells[goal] for goal in goals), trial.settings)
    return table


def draw_front(study: Study, folder: Path) -> list[Path]:
    """Draw the front: a page with Optuna's plot, and a picture of accuracy against each of the other goals.

    Args:
        study: Has several goals, and finished trials.
        folder: Where both go.

    Returns:
        The files, ``pareto.html`` and ``pareto.png``.
    """
    goals = goals_of(study)
    page, picture = folder / f"{FRONT}.html", folder / f"{FRONT}.png"
    figure = optuna.visualization.plot_pareto_front(study, target_names=[AXES[goal] for goal in goals])
    figure.write_html(page)
    _draw_picture(study, goals, picture)
    return [page, picture]


def _draw_picture(study: Study, goals: Sequence[Goal], file: Path) -> None:
    from matplotlib.figure import Figure  # not pyplot, whose state is the process's

    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    best = {trial.number for trial in study.best_trials}
    rows = [(trial.values, trial.number in best) for trial in finished]
    costs = [goal for goal in goals if goal != "accuracy"]
    figure = Figure(figsize=(5.5 * len(costs), 4.2), layout="constrained")
    for panel, cost in zip(figure.subplots(1, len(costs), squeeze=False)[0], costs, strict=True):
        for on_front, style in ((False, {"c": "0.7", "label": "others"}), (True, {"c": "C3", "label": "Pareto front"})):
            points = [values for values, front in rows if front == on_front]
            across = [values[goals.index(cost)] for values in points]
            panel.scatter(across, [100 * values[goals.index("accuracy")] for values in points], **style)
        if cost == "parameters":
            panel.set_xscale("log")
        panel.set_xlabel(AXES[cost])
        panel.set_ylabel(f"{AXES['accuracy']}, %")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(file, dpi=150)
