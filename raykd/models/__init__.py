"""Who teaches and learns: networks by name."""

from raykd.models.build import build_model, model_names, parameter_count
from raykd.models.classifier import Classifier

__all__ = ["Classifier", "build_model", "model_names", "parameter_count"]
