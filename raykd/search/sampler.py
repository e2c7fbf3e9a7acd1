"""The sampler: TPE, seeded for each trial, which may also learn from the trials of earlier studies."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from raykd.search.start_points import is_outside


class SeededByTrial(BaseSampler):
    """A fresh TPE sampler for every trial, seeded by the study's seed and the trial's number.

    TPE is as of Optuna 5: it keeps away from running trials (constant liar), and is multivariate with one goal. It
    is what Optuna advises for several goals as well where there are tens to hundreds of trials and settings depend
    on each other; NSGA-II needs more trials and settings that depend less on each other.

    Start points that lie outside the search space are hidden from it.

    Args:
        seed: The study's.
        startup_trials: So many trials that have ended, earlier ones included, are waited for before TPE begins.
        earlier: Finished trials of earlier studies, in the present space. They are no trials of this study.
        attempt: Another one draws other values.
    """

    def __init__(self, seed: int, startup_trials: int, earlier: Sequence[FrozenTrial] = (), attempt: int = 0) -> None:
        self._seed = seed
        self._startup_trials = startup_trials
        self.earlier = tuple(earlier)
        self._attempt = attempt
        self._sampler = self._fresh(0)
        self._space = IntersectionSearchSpace(include_pruned=True)
        self._known: Study | None = None

    def _fresh(self, number: int) -> TPESampler:
        # Studies of one seed draw the same at random: one that knows an earlier one should not draw that one's again.
        after = f"/{len(self.earlier)}" if self.earlier else ""
        after += f"/attempt {self._attempt}" if self._attempt else ""
        seed = random.Random(f"{self._seed}/{number}{after}").getrandbits(32)
        return TPESampler(seed=seed, n_startup_trials=self._startup_trials)

    def proposal(
        self, study: Study, sample: Callable[[BaseTrial], Mapping[str, Any]], attempt: int
    ) -> Mapping[str, Any]:
        """What the next trial of a study would be that is drawn; nothing is recorded.

        Args:
            study: Without waiting trials.
            sample: Draws the settings of a trial.
            attempt: 0: what it will be; any other gives another proposal.
        """
        again = SeededByTrial(self._seed, self._startup_trials, self.earlier, attempt)
        return sample(_in_memory(study, study.get_trials(deepcopy=False), again).ask())

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._fresh(trial.number)
        several_goals = len(study.directions) > 1
        outside = any(map(is_outside, study.get_trials(deepcopy=False)))
        self._known = _copied(study, self.earlier) if self.earlier or several_goals or outside else None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._known is not None:
            return self._sampler.infer_relative_search_space(*self._seen(study, trial))
        # As TPE does, but a fresh sampler would look through all trials of the study for each new one.
        space = self._space.calculate(study, use_cache=True)
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(*self._seen(study, trial), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(*self._seen(study, trial), param_name, param_distribution)

    def _seen(self, study: Study, trial: FrozenTrial) -> tuple[Study, FrozenTrial]:
        """The study and the trial that is asked for, as TPE sees them; in the copy the trial's id is another."""
        if self._known is None:
            return study, trial
        return self._known, self._known.get_trials(deepcopy=False)[trial.number]


def _copied(study: Study, earlier: Sequence[FrozenTrial]) -> Study:
    """A study in memory: all trials of this one under their numbers, then the earlier ones.

    Ended trials outside the search space count as failed: TPE takes what all others have in common for the space.
    """
    trials = [
        _failed(trial) if is_outside(trial) and trial.state.is_finished() else trial
        for trial in (*study.get_trials(deepcopy=False), *earlier)
    ]
    if len(study.directions) > 1:
        # TPE would rank stopped trials by their values so far, which it can only with one goal.
        trials = [copy.copy(trial) for trial in trials]
        for trial in trials:
            trial.intermediate_values = {}
    return _in_memory(study, trials)


def _in_memory(study: Study, trials: Sequence[FrozenTrial], sampler: BaseSampler | None = None) -> Study:
    """A study of this one's name and directions with these trials."""
    storage = InMemoryStorage()
    storage.create_new_study(study.directions, study.study_name)
    known = Study(study.study_name, storage, sampler)
    known.add_trials(trials)
    return known


def _failed(trial: FrozenTrial) -> FrozenTrial:
    failed = copy.copy(trial)
    failed.state, failed.values, failed.intermediate_values = TrialState.FAIL, None, {}
    return failed
