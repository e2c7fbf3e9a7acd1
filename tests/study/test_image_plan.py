"""What is said of a folder of images before anything starts: its classes, and what is odd about its files."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from raykd.config import DataSettings, Experiment, ModelSettings, StudySettings
from raykd.errors import RaykdError
from raykd.study.session import open_session
from tests.helpers.image_folders import write_classes, write_image


def plan(experiment: Experiment) -> dict[str, str]:
    """The plan's lines, by name."""
    console = Console(file=StringIO(), width=1000)
    with open_session(experiment, "tune", console) as session:
        session._show_plan({})
    assert isinstance(console.file, StringIO)
    lines = [line.split(maxsplit=1) for line in console.file.getvalue().splitlines()]
    return {name: text.strip() for name, text in lines}


def experiment(root: Path, output: Path) -> Experiment:
    return Experiment(
        data=DataSettings(name="folder", root=root, image_size=8, loader_processes=0),
        student=ModelSettings(name="resnet8", arguments={"width": 0.25}),
        study=StudySettings(output=output),
    )


def test_classes_and_what_is_odd_stand_in_the_plan(tmp_path: Path) -> None:
    root = tmp_path / "images"
    write_classes(root / "Train", ("[red]a", "b", "c", "d", "e", "f"), 5)
    write_classes(root / "Valid", ("b",), 3, seed=50_000)
    write_image(root / "Train" / "b" / ".ipynb_checkpoints" / "0.png", 1)
    (root / "Train" / "b" / "notes.txt").write_text("about b")
    shutil.copy(root / "Train" / "b" / "0.png", root / "Valid" / "b" / "again.png")
    lines = plan(experiment(root, tmp_path / "outputs"))
    assert list(lines)[:3] == ["data", "ignored", "copies"]
    assert lines["data"] == (
        "folder: 24 train, 4 validation, 6 test images of 3 x 8 x 8, 6 classes ([red]a, b, c, d, e, ...)"
    )
    assert lines["ignored"] == (
        "1 file with no ending of an image (1 .txt); what is hidden or a tool's (1 .ipynb_checkpoints/)"
    )
    assert "validation images are in " in lines["copies"]
    assert lines["copies"].startswith("leakage: 1 of 4 validation images")


def test_nothing_odd_adds_nothing(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", ("a", "b"), 10)
    lines = plan(experiment(tmp_path / "images", tmp_path))
    assert list(lines) == ["data", "teacher", "student", "preprocessing", "bank"]
    lines = plan(Experiment(study=StudySettings(output=tmp_path)))
    assert lines["data"].endswith("10 classes (0, 1, 2, 3, 4, ...)")


def test_images_without_a_range_are_refused_before_anything_starts(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", ("a", "b"), 10)
    for number in range(10):
        path = tmp_path / "images" / "a" / f"{number}.png"
        path.unlink()
        Image.fromarray(np.full((8, 8), number / 10, np.float32)).save(path.with_suffix(".tif"))
    with pytest.raises(RaykdError, match=r"a/\d.tif \(floating-point pixels"):
        plan(experiment(tmp_path / "images", tmp_path / "outputs"))
    assert not (tmp_path / "outputs").exists()
