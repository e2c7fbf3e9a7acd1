"""Methods and papers at their published settings, laid over an experiment's data, networks and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raykd.config import Experiment, MethodSettings, TrainingSpec
from raykd.knowledge.methods import METHODS
from raykd.results.confirm import PUBLISHED_EPOCHS
from raykd.settings_io import override

SECTIONS = ("objective", "temperature", "bias", "schedule")
"""What a method's authors have settings for, besides the method itself."""

PAPERS: Mapping[str, Mapping[str, Any]] = {
    # arXiv 2412.09874: knowledge distillation with the pair repair, each subset's mean, under the cosine schedule.
    "teachers_bias": {
        "objective.ce_weight": 0.5,
        "objective.kd_weight": 0.5,
        "temperature.policy": "constant",
        "temperature.value": 4.0,
        "bias.form": "pair",
        "bias.strength": 0.5,
        "bias.denominator": "subset",
        "schedule.form": "cosine",
        "schedule.hand_over": "rectified",
    },
    # Image and Vision Computing 150, 105199: knowledge distillation from a generous teacher.
    "generous_teacher": {
        "teacher.kind": "generous",
        "objective.ce_weight": 0.1,
        "objective.kd_weight": 0.9,
        "temperature.policy": "constant",
        "temperature.value": 4.0,
        "bias.form": "keep",
    },
}
"""The two papers' settings by dotted name; both teach by plain knowledge distillation."""


def as_published(experiment: Experiment, method: str) -> Experiment:
    """The experiment with a method at its published settings, and with nothing else that this study has tuned.

    Warm-ups are scaled to its epochs.

    Args:
        experiment: Gives data, networks and training.
        method: A built-in one.
    """
    published = dict(METHODS[method].published)
    share = published["objective.warmup_epochs"] / PUBLISHED_EPOCHS
    warmup = {"objective.warmup_epochs": round(share * experiment.training.epochs)}
    return override(_fresh(experiment, method), published | warmup)


def paper(experiment: Experiment, name: str) -> Experiment:
    """The experiment under a paper's settings, one of `PAPERS`, and with nothing else that this study has tuned."""
    return override(_fresh(experiment, "kd"), PAPERS[name])


def _fresh(experiment: Experiment, method: str) -> Experiment:
    defaults = {name: TrainingSpec.model_fields[name].default for name in SECTIONS}
    return experiment.model_copy(update=defaults | {"method": MethodSettings.of(METHODS[method]())})
