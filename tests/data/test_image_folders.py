"""Folders of images as people bring them along: what are splits, classes and images; what the plan says of the rest."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from raykd.cli import main
from raykd.config import DataSettings
from raykd.data import ImageData, evaluation_batches, inspected, load_data, training_batches
from raykd.data.copies import AT_ONCE, BLOCK, find_copies
from raykd.data.image_data import FileSplit
from raykd.data.image_files import ENDINGS
from raykd.errors import RaykdError
from tests.helpers.image_folders import write_classes, write_image

CLASSES = ("cat", "dog")


def load(root: Path, name: str = "folder", **settings: Any) -> ImageData:
    return load_data(DataSettings(name=name, root=root, image_size=8, loader_processes=0, **settings))


def files(data: ImageData, split: str) -> list[str]:
    found = data.split(split)
    assert isinstance(found, FileSplit)
    return [os.fsdecode(name) for name in found.names]


def all_files(data: ImageData) -> list[str]:
    return sorted(name for split in data.splits for name in files(data, split))


# splits or classes


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "valid", "test"),
        ("Train", "Val", "Test"),
        ("TRAIN", "VALIDATION", "TEST"),
        ("training", "dev", "testing"),
        ("Training", "validation", "Testing"),
        ("train", "Val", "eval"),
        ("train2017", "val2017", "test2017"),
        ("01_train", "02_valid", "03_test"),
        ("training_set", "validation_set", "test_set"),
        ("TrainSet", "ValSet", "TestSet"),
        ("trainset", "valset", "testset"),
        ("seg_train", "seg_val", "seg_test"),
        ("Train Images", "Validation Images", "Test Images"),
        ("train.v1", "valid.v1", "evaluation"),
    ],
)
def test_names_of_splits(tmp_path: Path, train: str, validation: str, test: str) -> None:
    for number, name in enumerate((train, validation, test)):
        write_classes(tmp_path / name, CLASSES, 4 - number, seed=100 * number)
    data = load(tmp_path)
    assert data.info.class_names == CLASSES
    assert data.info.split_sizes == {"train": 8, "validation": 6, "test": 4}
    assert files(data, "validation")[0] == f"{validation}/cat/0.png"


@pytest.mark.parametrize(("train", "test"), [("training", "testing"), ("Train", "Test"), ("train_data", "test_data")])
def test_the_missing_split_is_cut_from_train(tmp_path: Path, train: str, test: str) -> None:
    write_classes(tmp_path / train, CLASSES, 10)
    write_classes(tmp_path / test, CLASSES, 2, seed=500)
    assert load(tmp_path).info.split_sizes == {"train": 16, "validation": 4, "test": 4}


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Train", "VAL"), ("TRAIN", "validation")])
def test_imagenet_in_any_case(tmp_path: Path, train: str, val: str) -> None:
    write_classes(tmp_path / train, CLASSES, 10)
    write_classes(tmp_path / val, CLASSES, 2, seed=500)
    write_image(tmp_path / "test" / "0.JPEG", 1)  # without labels, as published
    assert load(tmp_path, "imagenet").info.split_sizes == {"train": 16, "validation": 4, "test": 4}


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "car", "train"),
        ("fail", "pass", "test"),
        ("Train", "boat"),
        ("test", "valid", "void"),
        ("airport", "train station"),
        ("airport", "dev board", "test tube", "train station"),
    ],
)
def test_classes_named_as_splits(tmp_path: Path, classes: tuple[str, ...]) -> None:
    write_classes(tmp_path, classes, 10)
    data = load(tmp_path)
    assert data.info.class_names == tuple(sorted(classes))
    assert sum(data.info.split_sizes.values()) == 10 * len(classes)


def test_classes_named_as_splits_below_splits(tmp_path: Path) -> None:
    classes = ("bus", "test", "train")
    for number, name in enumerate(("train", "val", "test")):
        write_classes(tmp_path / name, classes, 3, seed=100 * number)
    data = load(tmp_path)
    assert data.info.class_names == classes
    assert data.info.split_sizes == {"train": 9, "validation": 9, "test": 9}


def test_nested_class_folders_with_a_split_word_among_others(tmp_path: Path) -> None:
    for name in ("airport", "train station"):
        write_classes(tmp_path / name, ("indoors", "outdoors"), 5, seed=len(name) * 10_000)
    data = load(tmp_path)
    assert data.info.class_names == ("airport", "train station")
    assert sum(data.info.split_sizes.values()) == 20


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("val/cat", "test/cat"), r"holds test and val, but no folder `train`$"),
        (("train/cat", "Train/cat"), r"holds both Train and train: keep one"),
        (("train/cat", "val/cat", "valid/cat"), r"holds both val and valid: keep one"),
        (("train_a/cat", "train_b/cat"), r"holds both train_a and train_b: keep one"),
        (("train", "test"), r"test and train in \S* hold no class folders: images must .*\nif these are classes, move"),
        (("Training", "Testing", "docs"), r"Testing and Training in \S* hold no class folders"),
        (("train_images", "test_images"), r"test_images and train_images in \S* hold no class folders"),
        (("train/cat", "test"), r"test in \S* holds no class folders"),
        (("train/a", "bus/a", "car/a"), r"holds train and bus: is train the training images, or a class\?\nif it is a"),
        (("cat/train", "cat/test", "dog/train"), r"cat holds test and train: are they .*\n.* such as train/cat$"),
        (
            ("flowers/train/cat", "flowers/val/cat"),
            r"flowers holds train and val: are .*\nthen data.root is that folder$",
        ),
        (("train/cat", "train/dog", "val/Cat"), r"unknown class 'Cat' in \S*val: did you mean 'cat'\?"),
    ],
)
def test_folders_that_may_be_either(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    for number, folder in enumerate(folders):
        write_image(tmp_path / folder / "0.png", number)
    with pytest.raises(RaykdError, match=message):
        load(tmp_path)


def test_what_lies_beside_the_splits_is_named(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "train_10percent", "train_1percent", "extra")):
        write_classes(tmp_path / name, CLASSES, 5, seed=100 * number)
    write_image(tmp_path / "train" / "overview.png", 7)
    (tmp_path / "README.md").write_text("about")
    data = load(tmp_path)
    assert data.info.split_sizes == {"train": 8, "validation": 10, "test": 2}
    assert inspected(data) == {
        "ignored": "2 files outside of class folders (1 .md and 1 .png); "
        "beside the splits: extra, train_10percent, train_1percent"
    }


# links


def test_links_to_folders_around_are_not_followed(tmp_path: Path) -> None:
    """18 images stay 18, whichever parent a link leads to."""
    root = tmp_path / "data"
    write_classes(root, ("cat", "dog", "owl"), 6)
    write_image(root / "cat" / "tabby" / "last.png", 77)
    (root / "cat" / "5.png").unlink()
    for place, target in {
        "cat/loop": "..",
        "cat/own": ".",
        "cat/tabby/up": "..",
        "dog/top": root,
        "dog/above": tmp_path,
        "dog/computer": "/",
        "everything": ".",
        "owl/itself": "itself",
        "owl/gone": "nowhere",
    }.items():
        (root / place).symlink_to(target, target_is_directory=True)
    data = load(root)
    assert data.info.class_names == ("cat", "dog", "owl")
    assert all_files(data) == sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    assert len(all_files(data)) == 18
    lines = inspected(data)
    assert lines["ignored"] == (
        "2 files with no ending of an image (2 without an ending); 7 links to folders read elsewhere (everything)"
    )
    assert "copies" not in lines


def test_each_real_folder_is_read_once_and_where_it_lies(tmp_path: Path) -> None:
    root, store = tmp_path / "data", tmp_path / "store"
    write_classes(root, CLASSES, 5)
    write_image(root / "dog" / "puppies" / "0.png", 70)
    write_image(store / "strays" / "young" / "0.png", 71)
    # Before dog in the alphabet, and yet dog's own.
    (root / "cat" / "a").symlink_to(root / "dog" / "puppies")
    # Two ways to one folder elsewhere, and one to a part of it.
    (root / "cat" / "b").symlink_to(store)
    (root / "cat" / "c").symlink_to(store)
    (root / "dog" / "d").symlink_to(store / "strays" / "young")
    data = load(root)
    nested = [name for name in all_files(data) if name.count("/") > 1]
    assert nested == ["cat/b/strays/young/0.png", "dog/puppies/0.png"]
    assert "3 links to folders read elsewhere (cat/a)" in inspected(data)["ignored"]


def test_class_folders_and_images_may_be_links(tmp_path: Path) -> None:
    write_classes(tmp_path / "store", ("1", "2", "3", "4"), 6)
    for place, number in {"train/cat": 1, "train/dog": 2, "test/cat": 3, "test/dog": 4}.items():
        (tmp_path / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / place).symlink_to(tmp_path / "store" / str(number))
    data = load(tmp_path / "data")
    assert data.info.split_sizes == {"train": 10, "validation": 2, "test": 12}
    for number in range(6):
        (tmp_path / "links" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "links" / "dog").mkdir(exist_ok=True)
        (tmp_path / "links" / "cat" / f"{number}.png").symlink_to(tmp_path / "store" / "1" / f"{number}.png")
        os.link(tmp_path / "store" / "2" / f"{number}.png", tmp_path / "links" / "dog" / f"{number}.png")
    assert len(all_files(load(tmp_path / "links"))) == 12


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("kitty", "cat", r"kitty is the same folder as \S*cat: its images would be in two classes or splits"),
        ("test", "train", r"(test/cat is the same folder as \S*train/cat|train/cat is the same folder as \S*test/cat)"),
        ("val/dog", "train/dog", r"val/dog is the same folder as \S*train/dog"),
    ],
)
def test_one_folder_under_two_names(tmp_path: Path, link: str, target: str, message: str) -> None:
    write_classes(tmp_path / "train" if target != "cat" else tmp_path, CLASSES)
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(RaykdError, match=message):
        load(tmp_path)


# what is read, and what is not


def test_hidden_files_and_folders_of_tools_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path, CLASSES)
    hidden = (
        *("cat/.ipynb_checkpoints/0-checkpoint.png", "dog/.ipynb_checkpoints/1-checkpoint.png", "cat/._0.png"),
        *("__MACOSX/cat/0.png", "cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.png", ".git/0.png", "$RECYCLE.BIN/0.png"),
        *("System Volume Information/0.png", "dog/.DS_Store", "lost+found/0.png", ".thumbnails/0.png"),
    )
    for number, name in enumerate(hidden):
        write_image(tmp_path / name, 100 + number)
    (tmp_path / "cat" / "Thumbs.db").write_text("no image")
    data = load(tmp_path)
    assert data.info.class_names == CLASSES
    assert len(all_files(data)) == 12
    assert inspected(data)["ignored"] == (
        "1 file with no ending of an image (1 .db); what is hidden or a tool's (2 .ipynb_checkpoints/, 2 hidden files, "
        "1 $RECYCLE.BIN/, 1 .git/, 1 .thumbnails/ and 4 more)"
    )


def test_unusual_endings(tmp_path: Path) -> None:
    kinds = {".jfif": "JPEG", ".JPE": "JPEG", ".Jpeg": "JPEG", ".GIF": "GIF", ".tga": "TGA", ".PNM": "PPM"}
    kinds |= {".dib": "DIB", ".avif": "AVIF", ".jp2": "JPEG2000", ".apng": "PNG", ".sgi": "SGI", ".pcx": "PCX"}
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for ending, kind in kinds.items():
            Image.new("RGB", (8, 8), (200, 20, 20)).save(tmp_path / name / f"image{ending}", kind)
        for other in ("a.heic", "b.jpg_large", "c.JPG.part", "d", "e.txt", "f.txt", "g.txt"):
            (tmp_path / name / other).write_bytes(b"something else")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    data = load(tmp_path)
    assert len(all_files(data)) == 2 * len(kinds)
    assert inspected(data)["ignored"] == (
        "15 files with no ending of an image (6 .txt, 2 without an ending, 2 .heic, 2 .jpg_large, 2 .part and 1 more)"
    )
    for split in data.splits:
        for batch in evaluation_batches(data, split, batch_size=8):
            assert (batch.pixels[:, 0] > 0.7).all()
            assert (batch.pixels[:, 1:] < 0.2).all()


def test_a_class_without_images_says_what_it_holds(tmp_path: Path) -> None:
    write_classes(tmp_path, CLASSES)
    for number in range(12):
        path = tmp_path / "owl" / f"{number}{'.heic' if number else '.csv'}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"something else")
    with pytest.raises(RaykdError, match=rf"owl holds no images \({ENDINGS[0]} .*\), but 11 .heic and 1 .csv$"):
        load(tmp_path)


# names of classes


NAMES = {
    "not UTF-8": (b"caf\xe9", "caf\\xe9"),
    "Chinese": ("\u732b".encode(), "\u732b"),
    "Arabic": ("\u0642\u0637".encode(), "\u0642\u0637"),
    "decomposed": ("cafe\u0301".encode(), "caf\u00e9"),
    "an emoji": ("\U0001f431".encode(), "\U0001f431"),
    "a line break": (b"two\nlines", "two\\x0alines"),
    "a control sequence": (b"\x1b[31mred", "\\x1b[31mred"),
    "brackets": (b"[bold]x", "[bold]x"),
    "markup": (b"<b>x<br>", "<b>x<br>"),
    "quotes": (b'"it\'s"', '"it\'s"'),
    "spaces": (b" two  words ", " two  words "),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_classes(tmp_path: Path, name: str) -> None:
    raw, expected = NAMES[name]
    for number, split in enumerate(("train", "test")):
        write_classes(tmp_path / split, ("zebra",), 5, seed=100 * number)
        (tmp_path / split / "zebra").rename(tmp_path / split / os.fsdecode(raw))
        write_classes(tmp_path / split, ("zoo",), 5, seed=200 + 100 * number)
    data = load(tmp_path)
    assert sorted(data.info.class_names) == sorted([expected, "zoo"])
    for text in data.info.class_names:
        text.encode("utf-8")
    (label,) = {
        int(data.split("test").labels[row]) for row, file in enumerate(files(data, "test")) if "zoo" not in file
    }
    assert data.info.class_names[label] == expected


def test_one_class_in_two_forms_of_unicode(tmp_path: Path) -> None:
    """As when train was packed on Linux and val on macOS."""
    write_classes(tmp_path / "train", ("caf\u00e9", "bar"), 5)
    write_classes(tmp_path / "val", ("cafe\u0301", "bar"), 5, seed=500)
    data = load(tmp_path)
    assert data.info.class_names == ("bar", "caf\u00e9")
    assert data.split("validation").labels.tolist() == [0] * 5 + [1] * 5
    write_classes(tmp_path / "val", ("caf\u00e9",), 5, seed=900)
    with pytest.raises(RaykdError, match=r"val holds two folders of the class 'caf\u00e9': join them"):
        load(tmp_path)


def test_errors_about_names_can_be_printed(tmp_path: Path) -> None:
    write_classes(tmp_path, CLASSES)
    path = tmp_path / "cat" / os.fsdecode(b"\xff\n.png")
    path.write_bytes(b"no image at all")
    data = load(tmp_path)
    with pytest.raises(RaykdError, match=r"^cannot read the image \S*cat/\\xff\\x0a.png \(it begins") as caught:
        inspected(data)
    str(caught.value).encode("utf-8")
    path.write_bytes(b"")
    with pytest.raises(RaykdError, match=r"cat/\\xff\\x0a.png is empty or a broken link"):
        load(tmp_path)


def test_a_root_that_cannot_be_recorded_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    write_classes(root, CLASSES)
    with pytest.raises(SystemExit):
        main(["plan", "--data.name", "folder", "--data.root", str(root)])
    told = capsys.readouterr().err
    assert "data.root" in told
    assert "it is not UTF-8, and could not be recorded: name a folder by a link whose path is" in told
    assert "Traceback" not in told
    (tmp_path / "link").symlink_to(root)
    assert load(tmp_path / "link").info.class_names == CLASSES


# pixels


def test_what_the_plan_says_about_pixels(tmp_path: Path) -> None:
    write_classes(tmp_path, CLASSES, 8)
    assert inspected(load(tmp_path)) == {}
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(8):
        path = tmp_path / "cat" / f"{number}.png"
        grey = np.full((8, 8), 40_000 + number, np.uint16)
        Image.fromarray(grey).save(path)
        Image.open(tmp_path / "dog" / f"{number}.png").save(tmp_path / "dog" / f"{number}.png", exif=exif)
    assert inspected(load(tmp_path)) == {
        "pixels": "of 16 images looked at, 8 have 16 bits, which are scaled to 8; 8 are turned as their EXIF data say"
    }
    for number in range(8):
        dark = np.full((8, 8), 4095 - number, np.uint16)  # of a sensor of 12 bits
        Image.fromarray(dark).save(tmp_path / "cat" / f"{number}.png")
    assert (
        "8; these use 4,095 of 65,535 levels and are almost black: scale them before; "
        in (inspected(load(tmp_path))["pixels"])
    )
    for number in range(8):
        Image.fromarray(np.full((8, 8), number / 8, np.float32)).save(tmp_path / "cat" / f"{number}.tif")
        (tmp_path / "cat" / f"{number}.png").unlink()
    with pytest.raises(RaykdError, match=r"cat/\d.tif \(floating-point pixels, which have no known range"):
        inspected(load(tmp_path))


def test_sixteen_bits_and_turns_reach_the_batches(tmp_path: Path) -> None:
    """Classes that differ in brightness alone, and images that lie on their sides."""
    for split in ("train", "val", "test"):
        for name, level in (("dim", 10_000), ("bright", 50_000)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                Image.fromarray(np.full((8, 8), level + number, np.uint16)).save(
                    tmp_path / split / name / f"{number}.png"
                )
    data = load(tmp_path)
    batches = [*evaluation_batches(data, "test", batch_size=8), next(training_batches(data, batch_size=8).epoch(0))]
    for batch in batches:
        expected = torch.tensor([50_000 >> 8, 10_000 >> 8])[batch.labels] / 255
        assert torch.allclose(batch.pixels, expected.view(8, 1, 1, 1))


# copies


def test_copies_in_other_splits_are_leakage(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        write_classes(tmp_path / name, CLASSES, 4, seed=100 * number)
    shutil.copy(tmp_path / "train" / "cat" / "1.png", tmp_path / "test" / "cat" / "of train.png")
    shutil.copy(tmp_path / "train" / "dog" / "2.png", tmp_path / "test" / "dog" / "of train too.png")
    os.link(tmp_path / "train" / "dog" / "3.png", tmp_path / "val" / "dog" / "hard link.png")
    (tmp_path / "val" / "cat" / "soft link.png").symlink_to(tmp_path / "test" / "cat" / "0.png")
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "train" / "dog" / "of cats.png")
    shutil.copy(tmp_path / "train" / "cat" / "3.png", tmp_path / "train" / "cat" / "again.png")
    lines = inspected(load(tmp_path))
    assert lines == {
        "copies": "leakage: 1 of 10 validation images are in train as well, such as val/dog/hard link.png = "
        "train/dog/3.png; leakage: 2 of 10 test images are in train as well, such as test/cat/of train.png = "
        "train/cat/1.png; leakage: 1 of 10 test images are in validation as well, such as test/cat/0.png = "
        "val/cat/soft link.png; 2 images are in two classes, such as train/cat/0.png = train/dog/of cats.png; "
        "1 more of an image in the same split and class"
    }


def test_copies_that_a_cut_separates(tmp_path: Path) -> None:
    """Each image is there twice, and splits are cut from all: what is held out is nearly all learnt by heart."""
    write_classes(tmp_path, CLASSES, 20)
    for name in CLASSES:
        for number in range(20):
            shutil.copy(tmp_path / name / f"{number}.png", tmp_path / name / f"copy of {number}.png")
    data = load(tmp_path)
    contents = {
        split: [(tmp_path / name).read_bytes() for name in files(data, split)]
        for split in ("train", "validation", "test")
    }
    leaking = sum(content in contents["train"] for content in contents["test"])
    assert leaking > 8
    assert f"leakage: {leaking} of 16 test images are in train as well" in inspected(data)["copies"]
    # Noisy labels are no two classes.
    assert "two classes" not in inspected(load(tmp_path, label_noise=0.5))["copies"]


def file_split(root: Path, contents: dict[str, bytes]) -> FileSplit:
    for name, content in contents.items():
        (root / name).write_bytes(content)
    names = np.array([name.encode() for name in contents])
    return FileSplit(root, names, np.array([*map(len, contents.values())]), torch.zeros(len(names), dtype=torch.int64))


def test_only_equal_content_counts(tmp_path: Path) -> None:
    """Files that differ in a byte at the beginning, in the middle, or at the end, of all sizes."""
    random = np.random.default_rng(0)
    train, test = {}, {}
    for size in (1, 100, 16_384, 16_385, 100_000, 3_000_000):
        content = bytearray(random.integers(0, 256, size, np.uint8).tobytes())
        train[f"{size}"] = bytes(content)
        test[f"{size} same"] = bytes(content)
        for place in {0, size // 2, size - 1}:
            changed = bytearray(content)
            changed[place] ^= 1
            test[f"{size} at {place}"] = bytes(changed)
    splits = {"train": file_split(tmp_path, train), "test": file_split(tmp_path, test)}
    found = find_copies(splits, {name: split.labels for name, split in splits.items()})
    (leak,) = found.leaks
    assert (leak.images, found.contradictory, found.repeated) == (6, 0, 0)
    assert found.compared == found.images == len(train) + len(test)
    assert leak.example in {(f"{name} same", name) for name in train}


class ReadFiles(FileSplit):
    """A split that remembers which files were opened."""

    opened: ClassVar[list[str]] = []

    def path(self, index: int) -> Path:
        self.opened.append(os.fsdecode(self.names[index]))
        return super().path(index)


def test_how_much_is_read_of_a_large_data_set(tmp_path: Path) -> None:
    """Files of a size of their own are not opened; and after the time that there is, no more are."""
    contents = {
        "train": {f"train{number}": bytes(1000 + number % 1500) for number in range(2500)},
        "test": {f"test{number}": bytes([1]) * (1000 + number) for number in range(50)},
    }
    plain = {name: file_split(tmp_path, files) for name, files in contents.items()}
    splits = {name: ReadFiles(each.root, each.names, each.file_sizes, each.labels) for name, each in plain.items()}
    labels = {name: split.labels for name, split in splits.items()}
    ReadFiles.opened.clear()
    found = find_copies(splits, labels)
    # 1,000 pairs of files in train; the sizes of 50 of them are those of the test images, too.
    assert found.images == found.compared == len(ReadFiles.opened) == 2050
    assert (found.repeated, found.leaks) == (1000, ())
    # A clock by which each look takes a second: there is time for one portion, of the sizes of test images first.
    ReadFiles.opened.clear()
    seconds = count()
    found = find_copies(splits, labels, seconds=2, clock=lambda: next(seconds))
    assert (found.images, found.compared) == (2050, AT_ONCE)
    assert len(ReadFiles.opened) == AT_ONCE
    assert sum(name.startswith("test") for name in ReadFiles.opened) == 50
    assert {f"train{number}" for number in range(50)} <= {*ReadFiles.opened}


def test_whole_files_are_compared_only_where_blocks_are_equal_and_there_is_time(tmp_path: Path) -> None:
    content = bytes(BLOCK + 1)
    plain = {
        "train": file_split(tmp_path, {"a": content, "b": bytes([1]) * (BLOCK + 1)}),
        "test": file_split(tmp_path, {"c": content, "d": bytes([2]) * (BLOCK + 1)}),
    }
    splits = {name: ReadFiles(each.root, each.names, each.file_sizes, each.labels) for name, each in plain.items()}
    labels = {name: split.labels for name, split in splits.items()}
    ReadFiles.opened.clear()
    found = find_copies(splits, labels)
    assert sorted(ReadFiles.opened) == ["a", "a", "b", "c", "c", "d"]
    assert [(leak.split, leak.other, leak.images, leak.example) for leak in found.leaks] == [
        ("test", "train", 1, ("c", "a"))
    ]
    # The time is over before whole files are compared: what is not certain is not said.
    seconds = iter([0, 1, 2, 10])
    found = find_copies(splits, labels, seconds=5, clock=lambda: next(seconds, 100))
    assert (found.leaks, found.images, found.compared) == ((), 4, 2)
