"""A study in a journal whose searcher is driven by hand, as Tune would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from raykd.search.optuna_study import open_study
from raykd.search.searcher import OptunaSearcher
from tests.helpers.spaces import space_of

SPACE = """
temperature.multiplier: {low: 0.5, high: 8.0, log: true}
bias.form: {choices: [pair, swap]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: pair}}
"""
DEFAULTS = {"temperature.multiplier": 2.0, "bias.form": "pair", "bias.strength": 0.5}


class Launch:
    """One launch of a study; to drop the object is to kill the launch."""

    def __init__(self, folder: Path, trials: int = 6, seed: int = 0, text: str = SPACE, **options: Any) -> None:
        self.study = open_study(folder / "optuna.journal", "study", seed, trials=trials)
        self.searcher = OptunaSearcher(self.study, space_of(folder, text), trials, **options)

    def suggest(self, tune_id: str) -> dict[str, Any]:
        config = self.searcher.suggest(tune_id)
        assert isinstance(config, dict), config
        return config

    def teach(self, tune_id: str, values: list[float], finished: bool = True, **last: Any) -> None:
        """Report as Tune does: the result that ends a trial comes with its completion only."""
        results = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in enumerate(values, 1)]
        for result in results[:-1]:
            self.searcher.on_trial_result(tune_id, result)
        self.searcher.on_trial_complete(tune_id, result={**results[-1], "finished": finished, **last})

    def trial(self, number: int) -> optuna.trial.FrozenTrial:
        return self.study.trials[number]


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder / "optuna.journal", "study", 0).trials]
