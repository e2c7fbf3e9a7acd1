"""What several figures of a study show: learning curves, weights over the training, and what mattered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from raykd.places import trial_name
from raykd.report.study.facts import StudyFacts
from raykd.search import start_points

MOST_CURVES, MOST_POINTS = 200, 100
"""Learning curves of trials that do not stand out, and points of each: enough to see, few enough to draw."""
PER_SETTING = 10
"""Below so many finished trials a setting, importances are mostly chance: a rule of thumb."""
FEWEST = 4
"""Finished trials without which there is nothing to compare."""
FIRST = ("temperature.multiplier", "bias.", "schedule.")
"""The settings that this framework is about come first."""


@dataclass(frozen=True)
class Curve:
    """A trial's accuracy on the validation split, by epoch."""

    name: str
    epochs: list[int]
    accuracies: list[float]


@dataclass(frozen=True)
class Weights:
    """What a student's loss was made of, by epoch.

    - wrong: share of its training images that the teacher answers wrongly
    - right: weight of the right answers; the repaired ones have the rest to 1
    - kd: weight of what the teacher tells, beside the labels
    """

    name: str
    epochs: list[int]
    wrong: list[float | None]
    right: list[float | None]
    kd: list[float | None]


@dataclass(frozen=True)
class Importances:
    """How much of the difference between finished trials each setting explains.

    - by_evaluator: importance by setting, for each of Optuna's evaluators; each sums up to 1
    - trials: how many were compared
    - left_out: settings that not all of them have with the same range, or that are the same in all
    """

    by_evaluator: Mapping[str, Mapping[str, float]]
    trials: int
    left_out: list[str]

    @property
    def names(self) -> list[str]:
        """The settings, the most important one first."""
        first = next(iter(self.by_evaluator.values()))
        return sorted(first, key=lambda name: first[name], reverse=True)

    @property
    def enough(self) -> int:
        """Trials from which on these figures mean something."""
        return PER_SETTING * len(self.names)


def learning_curves(facts: StudyFacts) -> tuple[list[Curve], list[Curve]]:
    """Of the best trials, best first; and of the others, evenly thinned out where there are many."""
    by_name = {trial_name(trial.number): trial for trial in facts.frozen if trial.intermediate_values}
    best = [trial.name for trial in facts.highlighted]
    others = [name for name in by_name if name not in best]
    step = -(-len(others) // MOST_CURVES) or 1
    return [_curve(name, by_name[name]) for name in best], [_curve(name, by_name[name]) for name in others[::step]]


def weights(facts: StudyFacts) -> list[Weights]:
    """Of the best trials, as far as their epochs are logged and have a teacher's part."""
    rows = []
    for trial in facts.highlighted:
        epochs = {n: metrics for n, metrics in facts.epochs.get(trial.name, {}).items() if "right_weight" in metrics}
        if epochs:
            columns = ([epoch.get(key) for epoch in epochs.values()] for key in WEIGHTS)
            rows.append(Weights(trial.name, list(epochs), *columns))
    return rows


WEIGHTS = ("wrong_share", "right_weight", "kd_weight")
"""Metrics of an epoch, in the order of `Weights`."""


def importances(facts: StudyFacts) -> Importances | None:
    """What Optuna's evaluators say. None where there are too few finished trials, or nothing that differs."""
    # A start point outside the space has none of its settings.
    finished = [trial for trial in facts.finished if not start_points.is_outside(trial)]
    names = [name for name in shared_settings(finished) if _differs(finished, name)]
    if len(finished) < FEWEST or not names or len({facts.accuracy(trial) for trial in finished}) < 2:
        return None
    evaluators = {"fANOVA": FanovaImportanceEvaluator(seed=0), "PED-ANOVA": PedAnovaImportanceEvaluator()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ranges and evaluators that are of no use to a reader
        by_evaluator = {
            label: get_param_importances(facts.recorded.study, evaluator=evaluator, params=names, target=facts.accuracy)
            for label, evaluator in evaluators.items()
        }
    return Importances(by_evaluator, len(finished), [name for name in settings_of(finished) if name not in names])


def settings_of(trials: Sequence[FrozenTrial]) -> list[str]:
    """All settings that any of the trials has, those that matter most here first."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return sorted(names, key=lambda name: next((i for i, first in enumerate(FIRST) if name.startswith(first)), 9))


def value_of(trial: FrozenTrial, name: str) -> Any:
    """A trial's value of a setting; of a start point that lies outside the space, too. None: it does not have it."""
    return start_points.settings_of(trial).get(name)


def shared_settings(trials: Sequence[FrozenTrial]) -> list[str]:
    """The settings that all of the trials have."""
    return [name for name in settings_of(trials) if all(name in trial.params for trial in trials)]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The last parts of dotted names, as many as tell them apart."""
    short = {}
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            short[name] = ".".join(parts[-count:])
            if sum(other.split(".")[-count:] == parts[-count:] for other in names) == 1:
                break
    return short


def is_numeric(trials: Sequence[FrozenTrial], name: str) -> bool:
    """Whether a setting is a number."""
    distribution = next(trial.distributions[name] for trial in trials if name in trial.distributions)
    return not isinstance(distribution, CategoricalDistribution)


def is_logarithmic(trials: Sequence[FrozenTrial], name: str) -> bool:
    """Whether a setting is searched on a logarithmic scale."""
    distribution = next(trial.distributions[name] for trial in trials if name in trial.distributions)
    return bool(getattr(distribution, "log", False))


def _differs(trials: Sequence[FrozenTrial], name: str) -> bool:
    # Optuna compares trials of one range only; a study keeps its space, but others may have written into its storage.
    ranges = {repr(trial.distributions[name]) for trial in trials}
    return len({trial.params[name] for trial in trials}) > 1 and len(ranges) == 1


def _curve(name: str, trial: FrozenTrial) -> Curve:
    points = sorted(trial.intermediate_values.items())
    step = -(-len(points) // MOST_POINTS)
    thinned = points[::step] if points[-1] in points[::step] else [*points[::step], points[-1]]
    return Curve(name, [epoch for epoch, _ in thinned], [accuracy for _, accuracy in thinned])
