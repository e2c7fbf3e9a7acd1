"""`raykd show data`: a picture of what students see, with its labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from raykd.config import AugmentSettings, DataSettings
from raykd.data import load_data, training_batches
from raykd.errors import RaykdError
from raykd.report.show_data import caption, main, seen
from tests.helpers.genuine_data import write_images


def test_a_sheet_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "sheets" / "digits.png"
    words = ["--data.train-images", "50", "--data.augment.policy", "randaugment", "--data.mixup", "0.5"]
    main(["data", *words, "--output", str(target), "--images", "11"])
    assert capsys.readouterr().out == f"written: {target}\n"
    with Image.open(target) as picture:
        assert picture.width > picture.height > 300


@pytest.mark.parametrize("source", ["memory", "folder"])
def test_what_is_shown_is_what_students_are_taught(source: str, tmp_path: Path) -> None:
    write_images(tmp_path)
    common = {"augment": AugmentSettings(erasing=1.0), "cutmix": 1.0, "seed": 3}
    if source == "folder":
        settings = DataSettings(name="folder", root=tmp_path, image_size=16, loader_processes=1, **common)
    else:
        settings = DataSettings(train_images=60, **common)
    before, after, info = seen(settings, 9, 4)
    data = load_data(settings)
    taught = next(iter(training_batches(data, batch_size=3).epoch(4)))
    assert torch.equal(after.pixels[:3], taught.pixels)
    split = data.split("train")
    assert torch.equal(before.labels, split.labels[after.indices])
    if source == "memory":
        assert torch.equal(before.pixels, split.images[after.indices].float() / 255)  # type: ignore[union-attr]
    assert after.mixed is not None
    share = float(after.mixed.shares[0])
    names = [info.class_names[int(labels[0])] for labels in (after.labels, after.mixed.others)]
    text = (
        names[0] if share > 0.995 or names[0] == names[1] else f"{share:.2f} {names[0]}\n+ {1 - share:.2f} {names[1]}"
    )
    assert caption(after, 0, info) == text
    assert caption(before, 0, info) == info.class_names[int(before.labels[0])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dta"], "unknown kind 'dta' in raykd show: did you mean 'data'?"),
        (["data"], "--output"),
        (["data", "--output", "sheet.doc"], "sheet.doc is no picture: give a name that ends in .png"),
        (["data", "--output", "sheet.png", "--images", "0"], "--images must be between 1 and 1024, not 0"),
        (["data", "--output", "sheet.png", "--view", "-1"], "--view must be 0 or more"),
        (["data", "--output", "sheet.png", "--data.mixpu", "1"], "did you mean '--data.mixup'?"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(RaykdError) as found:
        main(words)
    assert message in str(found.value)
