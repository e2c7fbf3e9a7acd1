"""What the students of several folds have reached together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from raykd.search.folds import MEANS


def over_folds(models: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The first fold's description with the accuracy of all folds' models, their mean; None if one is missing."""
    known = [model for model in models if model is not None]
    if len(known) < len(models):
        return None
    first = dict(known[0])
    means = {name: fmean(model["metrics"][name] for model in known) for name in MEANS if name in first["metrics"]}
    return first | {"metrics": {**first["metrics"], **means}}
