"""No setting is tried twice: in a space of few settings, what a sampler proposes may have been tried already."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from optuna.study import Study
from optuna.trial import FrozenTrial

from raykd.search.names import START_SETTINGS
from raykd.search.sampler import SeededByTrial
from raykd.search.space import SearchSpace, Value
from raykd.search.start_points import is_outside

FEW = 10_000
"""Spaces of more points are taken for endless: there the same one hardly comes twice."""

PROPOSALS = 8
"""So often the sampler is asked before one of the untried settings is taken at random."""

Key: TypeAlias = frozenset[tuple[str, str]]


class Untried:
    """The settings of a space that neither a study nor the earlier ones that it learns from have tried.

    Optuna's samplers have no such memory, but for those that try all points of a grid.

    Args:
        space: What is searched.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        points = space.points(FEW)
        self._points = None if points is None else {_key(point): point for point in points}

    def all_tried(self, study: Study) -> str | None:
        """Why there is nothing left to draw; None: there is."""
        if self._points is None or self._points.keys() - _tried(study):
            return None
        return f"all {len(self._points)} settings of the search space have been tried"

    def instead(self, study: Study) -> Mapping[str, Value] | None:
        """An untried setting for the next trial, where the sampler would draw one that was tried; None: it would not.

        Nothing is recorded, and a resumed study comes to the same.
        """
        sampler = study.sampler
        if self._points is None or not isinstance(sampler, SeededByTrial):
            return None
        tried = _tried(study)
        for attempt in range(PROPOSALS):
            proposed = sampler.proposal(study, self._space.sample, attempt)
            if _key(proposed) not in tried:
                return proposed if attempt else None
        untried = [point for key, point in self._points.items() if key not in tried]
        return random.Random(len(tried)).choice(untried) if untried else None


def _tried(study: Study) -> set[Key]:
    """What the trials of a study, and the earlier ones that its sampler knows, have or had for settings."""
    earlier = study.sampler.earlier if isinstance(study.sampler, SeededByTrial) else ()
    trials: Iterable[FrozenTrial] = (*study.get_trials(deepcopy=False), *earlier)
    # A start point may set more than the space can, so that its place there is still to be tried.
    return {_key(t.params) for t in trials if not is_outside(t) and START_SETTINGS not in t.user_attrs}


def _key(settings: Mapping[str, Value]) -> Key:
    # Steps of 0.1 may be 0.3 or 0.30000000000000004.
    return frozenset((name, f"{v:.9g}" if isinstance(v, float) else repr(v)) for name, v in settings.items())
