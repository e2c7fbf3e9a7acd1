"""Data sets as MLflow shows them. A description is plain data until it is sent: making one costs no MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_DIGEST = 8
"""Digits of a fingerprint that MLflow's tables have room for; the whole one is in the profile."""


@dataclass(frozen=True)
class Dataset:
    """One split of a data set, as the input of a run.

    MLflow takes splits for the same data, and keeps the first, unless their names differ.

    - name: of data set and split
    - context: what it is for, ``training`` or ``validation``
    - fingerprint: sha256 (hex) of the whole data set
    - images: in this split
    - classes: of the labels
    - shape: of an image, channels first
    - split_sizes: images of all splits
    - settings: that the data set was loaded by
    """

    name: str
    context: str
    fingerprint: str
    images: int
    classes: int
    shape: tuple[int, int, int]
    split_sizes: Mapping[str, int]
    settings: Mapping[str, str]

    def content(self) -> dict[str, Any]:
        """As JSON types, for the outbox; `dataset_input` reads it."""
        return asdict(self)


def dataset_input(content: Mapping[str, Any]) -> DatasetInput:
    """MLflow's entity of a `Dataset.content`."""
    import numpy as np
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    dataset = Dataset(**content)
    images = TensorSpec(np.dtype("float32"), (-1, *dataset.shape), "images")
    labels = TensorSpec(np.dtype("int64"), (-1,), "labels")
    source = CodeDatasetSource(dict(dataset.settings))
    profile = {
        "num_rows": dataset.images,
        "classes": dataset.classes,
        "split_sizes": dict(dataset.split_sizes),
        "fingerprint": dataset.fingerprint,
    }
    entity = Entity(
        dataset.name,
        dataset.fingerprint[:_DIGEST],
        source._get_source_type(),
        source.to_json(),
        json.dumps(TensorDatasetSchema(Schema([images]), Schema([labels])).to_dict()),
        json.dumps(profile),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", dataset.context)])
