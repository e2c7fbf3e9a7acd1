"""A training's identity names checkpoints and cached teachers, so it must not change between versions of raykd."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from raykd.config import Experiment, TrainingSpec

THEN: dict[str, Any] = {
    "temperature": {"policy": "std", "multiplier": 1.0, "floor": 0.0},
    "bias": {"form": "pair", "denominator": "subset"},
    "schedule": {"hand_over": "rectified"},
    "method": {"dkd": {"non_target_weight": 8.0}},
}
"""What was the default then, and no longer is."""

DIGESTS: list[tuple[dict[str, Any], str]] = [
    ({}, "7b307f1141158023"),
    (
        {
            "method": {"dkd": {"non_target_weight": 4.0}},
            "temperature": {"multiplier": 2.5},
            "bias": {"form": "margin", "margin": 0.3},
        },
        "1be29add32a5d294",
    ),
    ({"data": {"view_seed": 3, "loader_processes": 1}}, "3ca152da9ea0e947"),
    (
        {
            "data": {"name": "cifar100", "root": "/data", "download": True},
            "student": {"name": "resnet8x4"},
            "method": {"name": "crd"},
        },
        "75ee691f1e81f262",
    ),
]
"""Settings, and the digest of their identity as raykd computed it in November 2026."""


def digest(spec: TrainingSpec) -> str:
    return hashlib.sha256(json.dumps(spec.identity(), sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("settings", "expected"), DIGESTS, ids=["defaults", "1be29add32a5d294", "views", "features"])
def test_identities_are_those_of_earlier_versions(settings: dict[str, Any], expected: str) -> None:
    merged = {**THEN, **{name: {**THEN.get(name, {}), **section} for name, section in settings.items()}}
    assert digest(Experiment.model_validate(merged).training_spec()) == expected


def test_the_teachers_identity_is_that_of_earlier_versions() -> None:
    assert digest(Experiment().standard_teacher_spec()) == "8346885b5b92b999"


def test_a_floor_counts_under_the_temperature_that_has_one() -> None:
    def of(policy: str, floor: float) -> dict[str, Any]:
        settings = {"temperature": {"policy": policy, "floor": floor}}
        return Experiment.model_validate(settings).training_spec().identity()

    assert "floor" not in of("constant", 0.1)["temperature"]
    assert of("constant", 0.1) == of("constant", 0.0)
    assert of("std", 0.1) != of("std", 0.0)


def test_where_the_data_lies_is_not_part_of_the_identity_and_its_seed_is() -> None:
    here = Experiment.model_validate({"data": {"root": "/here"}}).training_spec()
    there = Experiment.model_validate({"data": {"root": "/there", "loader_processes": 9}}).training_spec()
    other = Experiment.model_validate({"data": {"seed": 1}}).training_spec()
    assert here.identity() == there.identity()
    assert here.identity() != other.identity()
