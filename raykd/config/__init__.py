"""Every setting of an experiment, as validated types; the only place where defaults live.

The settings of each method, and of temperature, bias and schedule, are defined beside their formulas, in
`raykd.knowledge`.

The dotted path of a field (``temperature.multiplier``) is its name everywhere: on the command line, in YAML files, in
search spaces, in MLflow and in errors. A field's docstring is its help text. ``None`` means "what suits the data or the
machine", and the docstring explains what that is.

This module imports neither torch nor Ray, so that a trial's process can import it quickly.
"""

from raykd.config.augment import AugmentSettings
from raykd.config.bank import BankSettings
from raykd.config.claims import ClaimsSettings, Part
from raykd.config.confirm import ConfirmSettings
from raykd.config.data import DataSettings
from raykd.config.experiment import Experiment
from raykd.config.methods import MethodSettings
from raykd.config.objective import ObjectiveSettings
from raykd.config.preprocessing import Crop, Interpolation, PreprocessingSettings
from raykd.config.running import ClusterSettings, Goal, StudySettings, TrackingSettings
from raykd.config.teacher import Ablation, ComparisonSettings, GenerousSettings, TeacherSettings
from raykd.config.training_spec import (
    ModelSettings,
    TrainingSettings,
    TrainingSpec,
)
from raykd.knowledge.bias import BiasSettings
from raykd.knowledge.schedule import ScheduleSettings
from raykd.knowledge.temperature import TemperatureSettings

Lesson = TrainingSpec
"""The name of `TrainingSpec` in earlier releases, kept for code that uses it."""

__all__ = [
    "Ablation",
    "AugmentSettings",
    "BankSettings",
    "BiasSettings",
    "ClaimsSettings",
    "ClusterSettings",
    "ComparisonSettings",
    "ConfirmSettings",
    "Crop",
    "DataSettings",
    "Experiment",
    "GenerousSettings",
    "Goal",
    "Interpolation",
    "Lesson",
    "MethodSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "Part",
    "PreprocessingSettings",
    "ScheduleSettings",
    "StudySettings",
    "TeacherSettings",
    "TemperatureSettings",
    "TrackingSettings",
    "TrainingSettings",
    "TrainingSpec",
]
