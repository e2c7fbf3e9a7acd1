"""What a study optimises (`study.objectives`). A goal in this code: an objective is a student's loss here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from optuna.study import Study

from raykd.config import Goal
from raykd.errors import RaykdError
from raykd.search.names import METRIC
from raykd.search.space import SearchSpace


class GoalFacts(NamedTuple):
    """How one goal is recorded.

    - key: its name in Optuna, as an attribute of trials and as a metric in MLflow
    - direction: whether more is better
    """

    key: str
    direction: Literal["maximize", "minimize"]


GOALS: dict[Goal, GoalFacts] = {
    "accuracy": GoalFacts(METRIC, "maximize"),
    "parameters": GoalFacts("parameters", "minimize"),
    "latency": GoalFacts("latency_ms", "minimize"),
}

STUDENT = "student."
"""The settings that decide a student's size begin with this."""


def values_of(goals: Sequence[Goal], accuracy: float, attributes: Mapping[str, Any]) -> list[float]:
    """The values of a finished trial, in the order of the study's goals.

    Args:
        goals: The study's.
        accuracy: Of the last epoch.
        attributes: The trial's, which hold its student's size.
    """
    return [accuracy if goal == "accuracy" else float(attributes[GOALS[goal].key]) for goal in goals]


def goals_of(study: Study) -> tuple[Goal, ...]:
    """The goals of a study as Optuna has it. One without names for its values has the accuracy alone."""
    by_key = {facts.key: goal for goal, facts in GOALS.items()}
    return tuple(by_key[key] for key in study.metric_names or [METRIC])


def check_goals(goals: Sequence[Goal], space: SearchSpace) -> None:
    """Make sure that the search can improve all goals.

    Raises:
        RaykdError: students' size is a goal, and the space leaves it as it is.
    """
    if len(goals) > 1 and not any(name.startswith(STUDENT) for name in space.names):
        raise RaykdError(
            f"study.objectives {' '.join(goals)}: {space.source} searches nothing of the student, so all are equally "
            "large:\nadd student.name or student.arguments.width to it, or take --study.space student_size"
        )
