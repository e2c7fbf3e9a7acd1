"""A study driven by hand, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raykd.config import Experiment, StudySettings
from raykd.search.optuna_study import open_study
from raykd.search.searcher import OptunaSearcher
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space
from raykd.search.storage import study_storage
from raykd.study.folder import without_passwords

SPACE = """
temperature.multiplier: {low: 0.5, high: 8.0, log: true}
bias.form: {choices: [pair, swap]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: pair}}
"""


def experiment_in(folder: Path, text: str = SPACE, **study: Any) -> tuple[Experiment, SearchSpace]:
    """An experiment below a folder, and its space."""
    file = folder / "space.yaml"
    file.write_text(text)
    experiment = Experiment(study=StudySettings(output=folder / "outputs", space=str(file), **study))
    return experiment, load_space(str(file), without_passwords(experiment))


class Launch:
    """One launch of an experiment's study, driven by hand; to drop the object is to kill the launch."""

    def __init__(self, experiment: Experiment, space: SearchSpace, earlier: Any = (), sizes: Any = None) -> None:
        settings = experiment.study
        place = study_storage(settings, experiment.folder)
        self.study = open_study(
            place, settings.name, settings.seed, settings.objectives, settings.trials, earlier=earlier
        )
        self.searcher = OptunaSearcher(self.study, space, settings.trials, sizes=sizes)

    def suggest(self, name: str) -> dict[str, Any]:
        config = self.searcher.suggest(name)
        assert isinstance(config, dict)
        return config

    def end(self, name: str, accuracy: float, epoch: int = 1, **last: Any) -> None:
        result: Mapping[str, Any] = {"epoch": epoch, "validation_accuracy": accuracy, "finished": True, **last}
        self.searcher.on_trial_complete(name, result=dict(result))
