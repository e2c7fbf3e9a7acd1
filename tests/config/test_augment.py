"""Augmentation in the settings: what it changes of a training's identity, and what of its teacher's."""

from __future__ import annotations

from typing import Any

import pytest

from raykd.config import AugmentSettings, Experiment
from raykd.search.space_file import load_space
from raykd.settings_io import override, without_leftovers


def of(**settings: Any) -> Experiment:
    return override(Experiment(), {name.replace("__", "."): value for name, value in settings.items()})


def test_what_changes_no_image_changes_no_identity() -> None:
    usual = Experiment().training_spec().identity()
    assert "augment" not in usual["data"] and "mixup" not in usual["data"]
    idle = of(data__augment__magnitude=20, data__augment__operations=4)
    assert idle.training_spec().identity() == usual
    trivial = of(data__augment__policy="trivialaugment", data__augment__magnitude=3)
    assert trivial.training_spec().identity()["data"]["augment"] == {"policy": "trivialaugment"}
    strong = of(data__augment__policy="randaugment", data__mixup=0.2)
    assert strong.training_spec().identity()["data"]["mixup"] == 0.2
    assert AugmentSettings(erasing=0.25, resized_crop=0.5).in_use() == {"erasing": 0.25, "resized_crop": 0.5}


@pytest.mark.parametrize("kind", ["standard", "generous"])
def test_teachers_are_augmented_only_where_it_is_asked_for(kind: str) -> None:
    strong: dict[str, Any] = {"data__augment__policy": "randaugment", "data__cutmix": 1.0}
    for asked in (False, True):
        one, other = of(teacher__augmented=asked), of(teacher__augmented=asked, **strong)
        specs = [getattr(each, f"{kind}_teacher_spec")().identity() for each in (one, other)]
        assert (specs[0] == specs[1]) != asked


def test_every_setting_of_augmentation_can_be_searched(tmp_path: Any) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "data.augment.policy: {choices: [none, randaugment, trivialaugment]}\n"
        "data.augment.magnitude: {low: 0, high: 30, when: {data.augment.policy: randaugment}}\n"
        "data.augment.operations: {low: 1, high: 3, when: {data.augment.policy: randaugment}}\n"
        "data.augment.color_jitter: {low: 0.0, high: 0.5}\n"
        "data.augment.erasing: {low: 0.0, high: 0.5}\n"
        "data.augment.resized_crop: {low: 0.2, high: 1.0}\n"
        "data.mixup: {low: 0.0, high: 1.0}\n"
        "data.cutmix: {low: 0.0, high: 1.0}\n"
    )
    assert len(load_space(str(space), Experiment()).parameters) == 8


def test_the_augmentation_of_one_data_set_is_not_that_of_another() -> None:
    chosen = of(data__augment__erasing=0.5, data__mixup=0.2)
    assert without_leftovers(chosen, {"data.name": "cifar10"}).data.augment == AugmentSettings()
    assert without_leftovers(chosen, {"data.name": "digits"}) == chosen
