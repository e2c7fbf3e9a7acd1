"""Networks by name, for teachers and students."""

from raykd.models.build import (
    build_model,
    build_pretrained,
    model_descriptions,
    model_names,
    parameter_count,
    preprocessing,
    published_accuracy,
)
from raykd.models.classifier import Classifier
from raykd.models.fold import folded
from raykd.models.weights import load_state, load_weights

__all__ = [
    "Classifier",
    "build_model",
    "build_pretrained",
    "folded",
    "load_state",
    "load_weights",
    "model_descriptions",
    "model_names",
    "parameter_count",
    "preprocessing",
    "published_accuracy",
]
