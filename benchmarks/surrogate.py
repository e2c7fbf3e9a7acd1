"""Stands in for real trainings: what a setting reaches, learned from a table that `search_table.py` has recorded.

A forest of extremely randomised trees predicts the validation curve and the test accuracy of a setting, as log-odds:
the few settings that fail would otherwise outweigh the differences between good ones. The differences between recorded
seeds of similar settings are its noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict

from raykd.search.space import Parameter, SearchSpace, Value

Array = NDArray[np.float64]

INACTIVE = -1.0
"""The code of a number that a setting does not have; the others are from 0 to 1."""
NEIGHBOURS = 20
"""Settings of similar accuracy, from whose seeds noise is drawn."""
FOLDS = 10


class Surrogate:
    """Expected and noisy results of any setting of a space, as accuracies from 0 to 1.

    Attributes:
        epochs: Length of a validation curve.
        error: Of the test accuracy of the better half of the settings, where the forest has not seen them (10 folds):
            mean absolute error.
        best: Highest accuracy that is predicted there for any setting, on the validation and on the test split.
        rank: Rank correlation of all settings' test accuracies (Spearman), as they are predicted there.

    Args:
        space: Of the table.
        features: One row of numbers for each setting.
        targets: Mean over seeds of each setting: validation accuracy after every epoch, then test accuracy.
        weights: Seeds of each setting.
        noise: Differences of single seeds from their setting's mean, as the targets.
        noise_at: Mean of the setting that each of these belongs to: its last validation accuracy.
    """

    def __init__(
        self, space: SearchSpace, features: Array, targets: Array, weights: Array, noise: Array, noise_at: Array
    ) -> None:
        self._space = space
        self._noise, self._noise_at = noise, noise_at
        self.epochs = targets.shape[1] - 1
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        seeds = {"sample_weight": weights}
        predicted = cross_val_predict(_forest(), features, targets, cv=folds, params=seeds)
        self.best: Array = predicted[:, -2:].max(axis=0)
        test = targets[:, -1]
        self.error = float(np.abs(predicted[:, -1] - test)[test >= np.median(test)].mean())
        self.rank = float(spearmanr(predicted[:, -1], test).statistic)
        self._forest = _forest().fit(features, targets, **seeds)

    @classmethod
    def of(
        cls, space: SearchSpace, rows: Sequence[Mapping[str, Any]], named: Mapping[str, Mapping[str, Value]]
    ) -> Self:
        """Learn from the rows of a table.

        A training that diverged counts with the accuracy of chance for its missing epochs and its test.

        Args:
            space: Of the table.
            rows: See `search_table.py`.
            named: Values of the named settings. Those of others only tell how much seeds differ.
        """
        by_setting: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_setting.setdefault(row["setting"], []).append(row)
        epochs = max(len(row["validation"]) for row in rows)
        means, features, weights, noise, noise_at = [], [], [], [], []
        for name, seeds in by_setting.items():
            results = np.array([_result(row, epochs) for row in seeds])
            mean = results.mean(axis=0)
            if len(seeds) > 1:
                noise += list((results - mean) * math.sqrt(len(seeds) / (len(seeds) - 1)))
                noise_at += [mean[-2]] * len(seeds)
            if values := named.get(name, seeds[0]["values"]):
                means.append(mean)
                features.append(encoded(space, values))
                weights.append(float(len(seeds)))
        return cls(space, *map(np.array, (features, means, weights, noise, noise_at)))

    def expected(self, settings: Sequence[Mapping[str, Value]]) -> Array:
        """The mean over seeds of each setting: validation accuracy after every epoch, then test accuracy."""
        found: Array = self._forest.predict(np.array([encoded(self._space, values) for values in settings]))
        return found

    def observed(self, expected: Array, random: np.random.Generator) -> Array:
        """What one student of a setting would reach, from the setting's expected results."""
        similar = np.argsort(np.abs(self._noise_at - expected[-2]))[:NEIGHBOURS]
        found: Array = np.clip(expected + self._noise[random.choice(similar)], 0.0, 1.0)
        return found


def encoded(space: SearchSpace, values: Mapping[str, Value]) -> list[float]:
    """The values of a setting as numbers; settings of the space that are not named have their default.

    Args:
        space: Of the table, which may be wider than the space that the values come from.
        values: By dotted name.
    """
    known = dict(values)
    codes: list[float] = []
    for parameter in space.parameters:
        if parameter.name in space.active(known):
            known.setdefault(parameter.name, parameter.default)
            codes += _codes(parameter, known[parameter.name])
        else:
            codes += _codes(parameter, None)
    return codes


def _codes(parameter: Parameter, value: Value) -> list[float]:
    d = parameter.distribution
    if isinstance(d, CategoricalDistribution):
        return [float(value == choice) for choice in d.choices]
    if not isinstance(value, (int, float)):
        return [INACTIVE]
    scale = math.log if d.log else float
    return [(scale(value) - scale(d.low)) / (scale(d.high) - scale(d.low))]


def _result(row: Mapping[str, Any], epochs: int) -> list[float]:
    chance = 0.1
    curve = [*row["validation"], *[chance] * (epochs - len(row["validation"]))]
    return [*curve, chance if row["test"] is None else row["test"]]


def _forest() -> TransformedTargetRegressor:
    trees = ExtraTreesRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
    return TransformedTargetRegressor(trees, func=_log_odds, inverse_func=expit, check_inverse=False)


def _log_odds(accuracies: Array) -> Array:
    found: Array = logit(np.clip(accuracies, 0.01, 0.999))
    return found
