"""What networks look at: data sets, splits, views and batches."""

from raykd.data.augmentation import Augmentation
from raykd.data.batches import EvaluationBatches, TrainingBatches, WholeViews, evaluation_batches, training_batches
from raykd.data.image_data import DataInfo, ImageData
from raykd.data.inspection import inspected
from raykd.data.load import load_data
from raykd.data.plan import Batch
from raykd.data.views import View, augment

__all__ = [
    "Augmentation",
    "Batch",
    "DataInfo",
    "EvaluationBatches",
    "ImageData",
    "TrainingBatches",
    "View",
    "WholeViews",
    "augment",
    "evaluation_batches",
    "inspected",
    "load_data",
    "training_batches",
]
