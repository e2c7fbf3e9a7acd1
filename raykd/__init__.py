"""raykd: knowledge distillation of image classifiers, tuned at cluster scale.

Names are imported when they are first used: `import raykd` costs neither torch nor Ray nor MLflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raykd.command_line import run
    from raykd.config import (
        BiasSettings,
        ClusterSettings,
        DataSettings,
        DkdSettings,
        Experiment,
        GenerousSettings,
        Lesson,
        MethodSettings,
        ModelSettings,
        ObjectiveSettings,
        ScheduleSettings,
        StudySettings,
        TeacherSettings,
        TemperatureSettings,
        TrackingSettings,
        TrainingSettings,
    )
    from raykd.errors import RaykdError
    from raykd.study.single import distill, train_teacher
    from raykd.study.study import tune
    from raykd.training.saved import load_model

_HOMES = {
    "raykd.command_line": ("run",),
    "raykd.config": (
        "BiasSettings",
        "ClusterSettings",
        "DataSettings",
        "DkdSettings",
        "Experiment",
        "GenerousSettings",
        "Lesson",
        "MethodSettings",
        "ModelSettings",
        "ObjectiveSettings",
        "ScheduleSettings",
        "StudySettings",
        "TeacherSettings",
        "TemperatureSettings",
        "TrackingSettings",
        "TrainingSettings",
    ),
    "raykd.errors": ("RaykdError",),
    "raykd.study.single": ("distill", "train_teacher"),
    "raykd.study.study": ("tune",),
    "raykd.training.saved": ("load_model",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BiasSettings",
    "ClusterSettings",
    "DataSettings",
    "DkdSettings",
    "Experiment",
    "GenerousSettings",
    "Lesson",
    "MethodSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "RaykdError",
    "ScheduleSettings",
    "StudySettings",
    "TeacherSettings",
    "TemperatureSettings",
    "TrackingSettings",
    "TrainingSettings",
    "distill",
    "load_model",
    "run",
    "train_teacher",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'raykd' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
