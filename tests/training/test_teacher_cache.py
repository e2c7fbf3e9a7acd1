"""Teachers are cached by content: the same settings and data find them again, any other does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raykd.config import Experiment, PreprocessingSettings
from raykd.settings_io import override
from raykd.training.teacher_cache import teachers

EXPERIMENT = Experiment()

RELEVANT: dict[str, Any] = {
    "data.name": "fashion_mnist",
    "data.validation_share": 0.3,
    "data.test_share": 0.3,
    "data.train_images": 100,
    "data.seed": 1,
    "data.crop_padding": 2,
    "data.horizontal_flip": True,
    "data.image_size": 16,
    "data.resize": 20,
    "data.crop": "squash",
    "data.interpolation": "bicubic",
    "data.mean": (0.5,),
    "data.std": (0.5,),
    "data.folds": 2,
    "data.label_noise": 0.2,
    "teacher.label_noise": 0.2,
    "data.left_out": (0, 3),
    "teacher.folds": 3,
    "data.view_seed": 3,
    "data.held_out": "test",
    "teacher.model.name": "resnet20",
    "teacher.model.arguments": {"width": 0.5},
    "teacher.model.weights": "another.pt",
    "teacher.model.weights_key": "state_dict_ema",
    "teacher.source": "/cache/teachers/adopted",
    "teacher.training.epochs": 7,
    "teacher.training.batch_size": 7,
    "teacher.training.optimizer": "adamw",
    "teacher.training.learning_rate": 0.3,
    "teacher.training.momentum": 0.5,
    "teacher.training.nesterov": True,
    "teacher.training.weight_decay": 0.1,
    "teacher.training.decay": "cosine",
    "teacher.training.milestones": (0.5,),
    "teacher.training.decay_factor": 0.2,
    "teacher.training.warmup_epochs": 3,
    "teacher.training.label_smoothing": 0.1,
    "teacher.training.ema": 0.9,
    "teacher.training.gradient_clip": 1.0,
    "teacher.training.precision": "bfloat16",
    "teacher.training.compile": True,
    "teacher.training.seed": 4,
}

AUGMENTATION: dict[str, Any] = {
    "data.augment.policy": "randaugment",
    "data.augment.magnitude": 12,
    "data.augment.operations": 3,
    "data.augment.color_jitter": 0.2,
    "data.augment.erasing": 0.25,
    "data.augment.resized_crop": 0.5,
    "data.mixup": 0.2,
    "data.cutmix": 1.0,
}
"""What decides the weights of a teacher that sees it in its own training."""

OF_THE_GENEROUS: dict[str, Any] = {
    "teacher.generous.knowledge": "full",
    "teacher.generous.policy": "constant",
    "teacher.generous.wrong": "drop",
    "teacher.generous.multiplier": 2.0,
    "teacher.generous.floor": 0.2,
    "teacher.generous.weight": 2.0,
    "teacher.generous.warmup_epochs": 2,
}

IRRELEVANT: dict[str, Any] = {
    **AUGMENTATION,
    "teacher.augmented": True,  # where there is no augmentation
    "teacher.trust": True,
    "teacher.fetched": {"elsewhere {}": "/cache/teachers/another"},
    "teacher.model.digests": {"elsewhere.pt": "0" * 64},  # of weights that it does not start from
    "teacher.generous.value": 2.0,  # of the constant policy only
    "teacher.generous.target_weight": 2.0,  # of decoupled knowledge only
    "data.root": Path("/elsewhere"),
    "data.cache": Path("/elsewhere"),
    "data.loader_processes": 9,
    "teacher.training.stacking": "on",
    "student.name": "resnet8",
    "training.epochs": 3,
    "method.name": "kd",
    "temperature.multiplier": 3.0,
    "temperature.floor": 0.3,
    "bias.form": "swap",
    "study.name": "another",
    "cluster.workers": 2,
    "tracking.experiment": "another",
}


def keys(changes: dict[str, Any], kind: str = "generous", fingerprint: str = "abc") -> list[str]:
    experiment = override(EXPERIMENT, {"teacher.kind": kind} | changes)
    return [request.student for request in teachers(experiment, fingerprint)]


def test_a_generous_teacher_comes_after_the_standard_one_that_teaches_it() -> None:
    experiment = override(EXPERIMENT, {"teacher.kind": "generous", "teacher.cache": Path("/cache")})
    standard, generous = teachers(experiment, "abc")
    assert standard.teacher is None
    assert generous.teacher == standard.folder
    for one in (standard, generous):
        assert one.folder == f"/cache/teachers/{one.student.removeprefix('teacher-')}"
    assert standard.spec == experiment.standard_teacher_spec()
    assert generous.spec == experiment.generous_teacher_spec()
    assert keys({}, kind="standard") == keys({})[:1]


@pytest.mark.parametrize("name", RELEVANT)
def test_a_setting_that_decides_the_weights_gives_other_teachers(name: str) -> None:
    standard, *_, generous = keys({name: RELEVANT[name]})
    assert standard != keys({})[0]
    assert generous != keys({})[1]


@pytest.mark.parametrize("name", OF_THE_GENEROUS)
def test_a_setting_of_generosity_gives_another_generous_teacher_of_the_same_standard_one(name: str) -> None:
    standard, generous = keys({name: OF_THE_GENEROUS[name]})
    assert standard == keys({})[0]
    assert generous != keys({})[1]


@pytest.mark.parametrize("name", IRRELEVANT)
def test_a_setting_that_decides_nothing_of_a_teacher_finds_it_again(name: str) -> None:
    assert keys({name: IRRELEVANT[name]}) == keys({})


@pytest.mark.parametrize("name", AUGMENTATION)
def test_augmentation_decides_the_weights_of_teachers_that_see_it(name: str) -> None:
    policy = {"data.augment.policy": "none" if name == "data.augment.policy" else "randaugment"}
    seen = {"teacher.augmented": True} | policy
    for one, other in zip(keys(seen), keys(seen | {name: AUGMENTATION[name]}), strict=True):
        assert one != other


def test_other_data_gives_other_teachers() -> None:
    assert not set(keys({}, fingerprint="abd")) & set(keys({}))


def test_each_fold_has_teachers_of_its_own() -> None:
    found = [set(keys({"data.folds": 3, "data.fold": fold})) for fold in range(3)]
    assert len(set.union(*found)) == 6


def test_every_setting_of_data_and_teacher_is_known_to_these_tests() -> None:
    from raykd.settings_io import setting_names

    # data.download needs another data set; see test_data_fetch.
    known = {*RELEVANT, *OF_THE_GENEROUS, *IRRELEVANT, "teacher.kind", "teacher.cache", "data.download", "data.fold"}
    # They say how a given teacher is adopted; see test_given_teachers.
    known |= {f"teacher.{name}" for name in (*PreprocessingSettings.model_fields, "expected_accuracy")}
    assert {name for name in setting_names() if name.startswith(("data.", "teacher."))} <= known
