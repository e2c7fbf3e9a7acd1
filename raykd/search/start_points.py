"""Start points: settings that a study runs first, and to the last epoch, so that its winner has something to beat.

A start point is a trial like any other: in the table, in MLflow, for replays. What it sets beyond the search space is
kept with it. If it lies in the space, the sampler learns from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from raykd.search.names import OUTSIDE, START, START_SETTINGS
from raykd.search.space import SearchSpace, Value


@dataclass(frozen=True)
class StartPoint:
    """Settings that a study begins with.

    - name: such as ``experiment`` or ``kd``
    - parameters: its place in the search space; None: it has none there
    - settings: what it sets besides, by dotted name
    """

    name: str
    parameters: Mapping[str, Value] | None
    settings: Mapping[str, Any] = field(default_factory=dict)


def experiment_itself(space: SearchSpace) -> StartPoint:
    """The experiment's own settings, or the nearest ones in the space."""
    return StartPoint("experiment", space.defaults())


def enqueue(study: Study, points: Sequence[StartPoint]) -> None:
    """Let a new study begin with these points. They wait in its record, so a second launch does not repeat them.

    Args:
        study: Nothing is added where another trial than a start point has been drawn.
        points: In order.
    """
    known = study.get_trials(deepcopy=False)
    names = {trial.user_attrs.get(START) for trial in known}
    if None in names:
        return
    for point in points:
        if point.name not in names:
            attributes: dict[str, Any] = {START: point.name}
            if point.settings:
                attributes[START_SETTINGS] = dict(point.settings)
            if point.parameters is None:
                attributes[OUTSIDE] = True
            study.enqueue_trial(dict(point.parameters or {}), attributes)


def is_outside(trial: FrozenTrial) -> bool:
    """Whether a trial is a start point that has no place in the search space."""
    return bool(trial.user_attrs.get(OUTSIDE))


def start_of(trial: FrozenTrial) -> str | None:
    """The name of the start point that a trial is; None: it was drawn."""
    name: str | None = trial.user_attrs.get(START)
    return name


class IsStartPoint:
    """Whether a trial, by its number, is a start point. Tune pickles it, with its scheduler."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._known: dict[int, bool] = {}

    def __call__(self, number: int) -> bool:
        if number not in self._known:
            self._known[number] = start_of(self._study.get_trials(deepcopy=False)[number]) is not None
        return self._known[number]


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """All settings by which a trial differs from the experiment: those searched, and a start point's others."""
    return {**trial.user_attrs.get(START_SETTINGS, {}), **trial.params}
