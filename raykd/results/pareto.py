"""The Pareto front of a study with several goals: its students kept, its table, and its page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.study import Study
from rich.table import Table

from raykd.config import Goal
from raykd.places import TRIALS
from raykd.results.trial_summary import TrialSummary
from raykd.search.goals import goals_of
from raykd.storage import below
from raykd.training.folder import keep_model

FRONT = "pareto"
"""Folder of the front's students below the study's, and the name of its page."""

AXES: dict[Goal, str] = {
    "accuracy": "accuracy on the validation split",
    "parameters": "parameters",
    "latency": "latency of one image on one CPU thread, ms",
}


def keep_front(front: Sequence[TrialSummary], study_folder: Path, shared: str) -> None:
    """Copy the front's students out of the study's shared folder, in place of those of an earlier front."""
    folder = study_folder / FRONT
    temporary = folder.with_name(f"{FRONT}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for trial in front:
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


def draw_front(study: Study, folder: Path) -> Path:
    """Draw the front: a page with Optuna's plot, ``pareto.html``.

    Args:
        study: Has several goals, and finished trials.
        folder: Where the page goes.
    """
    page = folder / f"{FRONT}.html"
    figure = optuna.visualization.plot_pareto_front(study, target_names=[AXES[goal] for goal in goals_of(study)])
    figure.write_html(page)
    return page
