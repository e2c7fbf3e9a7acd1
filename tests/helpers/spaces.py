"""Search spaces written by tests, and trials drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from raykd.config import Experiment
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space

BASE = Experiment()


def space_of(folder: Path, text: str, base: Experiment = BASE) -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(str(path), base)


def samples(space: SearchSpace, count: int, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.sample(study.ask()) for _ in range(count)]
