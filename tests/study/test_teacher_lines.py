"""What is said of a teacher that was given: how it sees the images, and whether it is as good as it should be."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.settings_io import override
from raykd.study.preprocessing import preprocessing_line
from raykd.study.teacher_accuracy import doubt_beside_student, doubt_of_trained, doubts
from raykd.training.external_teacher import CLAIM
from raykd.training.folder import write_description

NAMES = tuple("abcdefghij")
INFO = DataInfo(
    "own", 10, NAMES, 3, 60, 60, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), {"validation": 1000}, "f", 0, 0, True
)
BOTH = ("teacher", "student")


def given(folder: Path, accuracy: float | None, claim: Any = None, seen: DataInfo = INFO, **teacher: Any) -> Experiment:
    metrics = {} if accuracy is None else {"validation_accuracy": accuracy}
    write_description(folder, {"data": asdict(seen), "metrics": metrics, CLAIM: claim, "source": "own.pt"})
    settings = {"teacher.source": str(folder)} | {f"teacher.{name}": value for name, value in teacher.items()}
    return override(Experiment(), settings)


@pytest.mark.parametrize(
    ("accuracy", "claim", "expected", "said"),
    [
        (0.579, None, 0.925, r"about 57.90% of the validation images, far less than 92.50%, as teacher.expected_acc"),
        (0.579, ("best_acc", 0.925), None, r"less than 92.50%, as its source \(best_acc\) says\. Does it want .*mean"),
        (0.579, ("best_acc", 0.925), 0.58, None),  # the user knows better
        (0.91, None, 0.925, None),
        (0.89, None, 0.925, None),  # three standard errors are 2.5 points, and the margin 2
        (0.87, None, 0.925, r"far less than 92.50%"),
        (0.95, ("acc", 0.90), None, None),
        (0.11, None, None, r"hardly more than by chance \(10.00%\)"),
        (0.2, None, None, None),
        (None, ("acc", 0.9), 0.9, None),  # not measured yet
    ],
)  # fmt: skip
def test_doubts_about_a_given_teacher(
    accuracy: float | None, claim: Any, expected: float | None, said: str | None, tmp_path: Path
) -> None:
    found = doubts(given(tmp_path, accuracy, claim, expected_accuracy=expected), INFO)
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


@pytest.mark.parametrize(("teacher", "student", "doubted"), [(0.58, 0.9, True), (0.88, 0.9, False), (0.95, 0.9, False)])
def test_a_given_teacher_far_below_its_student(teacher: float, student: float, doubted: bool, tmp_path: Path) -> None:
    said = doubt_beside_student(given(tmp_path, teacher), INFO, student)
    assert (said is not None) == doubted
    assert said is None or "58.00% of the validation images, far less than its student (90.00%). Does it want" in said
    assert doubt_beside_student(Experiment(), INFO, student) is None


IMAGENET = "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"


@pytest.mark.parametrize(
    ("changes", "teachers", "line"),
    [
        ({}, {}, f"60 x 60 from the centre of 69, bilinear, {IMAGENET}; teacher the same"),
        (
            {"resize": 60, "mean": (0.5,) * 3, "std": (0.25,) * 3},
            {},
            "60 x 60 from the centre of 60, bilinear, mean 0.5, std 0.25; teacher the same",
        ),
        (
            {},
            {"resize": 0, "interpolation": "bicubic"},
            f"60 x 60 from the centre of 69, bilinear, {IMAGENET}; "
            f"teacher 60 x 60 from the centre, not resized, bicubic, {IMAGENET}",
        ),
        (
            {"crop": "squash"},
            {"height": 224, "width": 224, "mean": (0.0,) * 3, "std": (1.0,) * 3},
            f"60 x 60, squashed to 60, bilinear, {IMAGENET}; "
            "teacher 224 x 224, squashed to 224, bilinear, mean 0, std 1",
        ),
    ],
)  # fmt: skip
def test_the_preprocessing_of_both_in_a_line(
    changes: dict[str, Any], teachers: dict[str, Any], line: str, tmp_path: Path
) -> None:
    info = replace(INFO, **changes)
    experiment = given(tmp_path, 0.9, seen=replace(info, **teachers))
    assert preprocessing_line(experiment, info, BOTH, streamed=True) == line


def test_images_in_memory_and_named_weights(tmp_path: Path) -> None:
    grey = replace(INFO, channels=1, height=8, width=8, mean=(0.3055,), std=(0.3772,))
    line = "8 x 8, mean 0.305, std 0.377; teacher the same"
    assert preprocessing_line(Experiment(), grey, BOTH, streamed=False).replace("0.306", "0.305") == line
    larger = given(tmp_path, 0.9, seen=replace(grey, height=16, width=16))
    words = preprocessing_line(larger, grey, ("teacher",), streamed=False)
    assert words.startswith("16 x 16, resized from 8 x 8, bilinear, mean")
    pretrained = override(Experiment(), {"student.name": "torchvision/resnet18", "student.weights": "DEFAULT"})
    assert preprocessing_line(pretrained, INFO, ("student",), streamed=True).endswith(IMAGENET)
    other = replace(INFO, mean=(0.1,) * 3)
    assert preprocessing_line(pretrained, other, ("student",), streamed=True).endswith(
        f"(its weights were made with {IMAGENET}: data.mean, data.std)"
    )


@pytest.mark.parametrize(
    "name", ["image_size", "resize", "crop", "interpolation", "mean", "std", "expected_accuracy"]
)  # fmt: skip
def test_only_a_given_teacher_can_be_described(name: str) -> None:
    value = {"crop": "squash", "interpolation": "bicubic", "mean": (0.5,), "std": (0.5,), "expected_accuracy": 0.9}
    with pytest.raises(RaykdError, match=rf"teacher.{name} describes a finished teacher: name it with teacher.source"):
        override(Experiment(), {f"teacher.{name}": value.get(name, 60)})


@pytest.mark.parametrize("section", ["data", "teacher"])
def test_what_is_not_resized_cannot_be_squashed(section: str) -> None:
    with pytest.raises(RaykdError, match=r"resize 0 .*squash"):
        override(Experiment(), {"teacher.source": "a", f"{section}.resize": 0, f"{section}.crop": "squash"})


@pytest.mark.parametrize(("accuracy", "doubted"), [(0.10, True), (0.12, True), (0.15, False), (0.9, False)])
def test_a_teacher_that_has_learned_nothing(accuracy: float, doubted: bool) -> None:
    said = doubt_of_trained({"metrics": {"validation_accuracy": accuracy}}, INFO)
    assert (said is not None) == doubted
    if said is not None:
        assert "hardly more than by chance (10.00%)" in said and "teacher.training.epochs" in said
