"""Teachers that are each trained without a fold of the small training's images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raykd.config import Experiment, TrainingSpec
from raykd.data import load_data
from raykd.settings_io import override
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers
from tests.helpers.specs import spec

FOLDS = 3


def with_teachers(cache: Path, **settings: Any) -> Experiment:
    """The small training of the other tests, and teachers of it below this folder."""
    small = {"teacher.training.epochs": 12, "teacher.training.batch_size": 10, "teacher.training.learning_rate": 0.05}
    model = {"teacher.model.name": "resnet8", "teacher.model.arguments": {"width": 0.25}}
    sections = {name: getattr(spec(), name) for name in TrainingSpec.model_fields}
    names = {name.replace("__", "."): value for name, value in settings.items()}
    return override(Experiment(**sections), {"teacher.cache": cache, "teacher.folds": FOLDS} | small | model | names)


def requests_of(experiment: Experiment) -> list[TrainRequest]:
    return teachers(experiment, load_data(experiment.data).info.fingerprint)
