"""Class folders: what is read, what is refused, and that the number of loader processes changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raykd.config import DataSettings
from raykd.data import Batch, ImageData, evaluation_batches, load_data, training_batches
from raykd.data.image_data import FileSplit
from raykd.errors import RaykdError
from tests.helpers.genuine_data import write_images


def load(root: Path | None, name: str = "folder", **settings: Any) -> ImageData:
    settings = {"image_size": 16, "loader_processes": 0, **settings}
    return load_data(DataSettings(name=name, root=root, **settings))


def files(data: ImageData, split: str) -> list[str]:
    found = data.split(split)
    assert isinstance(found, FileSplit)
    return [name.decode() for name in found.names]


def same(ones: list[Batch], others: list[Batch]) -> bool:
    return len(ones) == len(others) and all(
        torch.equal(one.pixels, other.pixels) and torch.equal(one.indices, other.indices)
        for one, other in zip(ones, others, strict=True)
    )


def test_one_folder_of_class_folders_is_split(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = load(tmp_path)
    assert data.streamed
    assert data.info.class_names == ("cat", "dog", "owl")
    assert data.info.split_sizes == {"train": 19, "validation": 5, "test": 6}
    names = [name for split in data.splits for name in files(data, split)]
    assert len(set(names)) == 30
    assert set(names) == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.[Jp]*")}
    assert (data.info.channels, data.info.height, data.info.crop_padding) == (3, 16, 0)
    assert load(tmp_path, image_size=None).info.width == 224


def test_there_are_as_many_loader_processes_as_suit_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """By default no more than cores and threads; more are warned of once, not once for each loader by torch."""
    write_images(tmp_path)
    cores = len(os.sched_getaffinity(0))
    for threads, expected in ((1, 1), (64, min(4, cores))):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert training_batches(load(tmp_path, loader_processes=None), batch_size=4)._loader.num_workers == expected
    assert not recwarn.list
    crowd = load(tmp_path, loader_processes=cores + 1)
    for _ in range(2):
        training_batches(crowd, batch_size=4)
        evaluation_batches(crowd, "validation", batch_size=4)
    (warning,) = recwarn.list
    assert str(warning.message).startswith(f"data.loader_processes is {cores + 1}, but this machine has {cores} cores")


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_splits_in_folders(tmp_path: Path, validation: str) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / validation, count=3)
    write_images(tmp_path / "test", classes=("cat", "owl"), count=2)
    data = load(tmp_path)
    assert data.info.split_sizes == {"train": 30, "validation": 9, "test": 4}
    assert data.split("test").labels.tolist() == [0, 0, 2, 2]
    assert files(data, "validation")[0] == f"{validation}/cat/0.png"


def test_imagenet_is_tested_on_val(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / "val", count=3)
    data = load(tmp_path, "imagenet")
    assert data.info.split_sizes == {"train": 24, "validation": 6, "test": 9}
    assert files(data, "test")[0] == "val/cat/0.png"


def test_train_and_validation_joined(tmp_path: Path) -> None:
    write_images(tmp_path)
    data = load(tmp_path)
    joined = data.with_validation_in_train()
    assert files(joined, "train") == files(data, "train") + files(data, "validation")
    assert joined.info.split_sizes == {"train": 24, "test": 6}
    assert joined.info.fingerprint != data.info.fingerprint


def test_the_fingerprint_names_files_but_not_their_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "one")
    write_images(tmp_path / "two")
    first = load(tmp_path / "one").info.fingerprint
    assert load(tmp_path / "two").info.fingerprint == first
    assert load(tmp_path / "two", image_size=17).info.fingerprint != first
    with (tmp_path / "two" / "cat" / "0.png").open("ab") as file:
        file.write(b"longer")
    assert load(tmp_path / "two").info.fingerprint != first


def test_items_do_not_depend_on_loader_processes(tmp_path: Path) -> None:
    write_images(tmp_path)
    here = training_batches(load(tmp_path), batch_size=4)
    elsewhere = training_batches(load(tmp_path, loader_processes=2), batch_size=4)
    epochs = {number: list(here.epoch(number)) for number in (0, 1, 2)}
    assert here.steps_per_epoch == elsewhere.steps_per_epoch == len(epochs[0]) == 4
    assert not same(epochs[0], epochs[1])
    # Views in any order from processes that live on, an epoch left unfinished among them.
    assert same(list(elsewhere.epoch(2)), epochs[2])
    next(elsewhere.epoch(1))
    assert same(list(elsewhere.epoch(0)), epochs[0])
    assert same(list(here.epoch(2)), epochs[2])


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_batches_of_one(tmp_path: Path, workers: int) -> None:
    write_images(tmp_path)
    data = load(tmp_path)
    alone = list(training_batches(data, batch_size=5).epoch(3))
    team = [training_batches(data, batch_size=5, rank=rank, workers=workers).epoch(3) for rank in range(workers)]
    for whole, parts in zip(alone, zip(*team, strict=True), strict=True):
        assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
        assert torch.equal(torch.cat([part.indices for part in parts]), whole.indices)


@pytest.mark.parametrize("processes", [0, 2])
def test_evaluation_covers_every_sample_once(tmp_path: Path, processes: int) -> None:
    write_images(tmp_path)
    data = load(tmp_path, loader_processes=processes)
    alone = evaluation_batches(data, "train", batch_size=8)
    assert torch.cat([batch.indices for batch in alone]).tolist() == list(range(19))
    assert same(list(alone), list(alone))
    team = [evaluation_batches(data, "train", batch_size=8, rank=rank, workers=3) for rank in range(3)]
    batches = [batch for batches in team for batch in batches]
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(19))
    assert all(each.sizes == {len(batch) for batch in each} for each in team)
    assert {tuple(batch.images.shape[1:]) for batch in batches} == {(3, 16, 16)}


def test_evaluation_crops_the_centre_of_the_resized_image(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    for name in ("cat", "dog", "owl"):
        (tmp_path / "test" / name).mkdir(parents=True)
        # Red in the middle, blue where a crop of 28 from 64x32 does not reach.
        pixels = np.zeros((32, 64, 3), np.uint8)
        pixels[..., 2] = 255
        pixels[:, 16:48] = (255, 0, 0)
        Image.fromarray(pixels).save(tmp_path / "test" / name / "image.png")
    (batch,) = evaluation_batches(load(tmp_path, image_size=28), "test", batch_size=8)
    assert torch.equal(batch.pixels, torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(3, 3, 28, 28))


def test_streams_leave_the_global_generator_alone(tmp_path: Path) -> None:
    write_images(tmp_path)
    for processes in (0, 2):
        data = load(tmp_path, loader_processes=processes)
        before = torch.get_rng_state()
        list(training_batches(data, batch_size=4).epoch(0))
        list(evaluation_batches(data, "test", batch_size=4))
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_damaged_image_is_named(tmp_path: Path, processes: int) -> None:
    write_images(tmp_path)
    path = tmp_path / "dog" / "5.JPEG"
    path.write_bytes(path.read_bytes()[:300])
    data = load(tmp_path, loader_processes=processes)
    (split,) = [split for split in data.splits if "dog/5.JPEG" in files(data, split)]
    with pytest.raises(RaykdError, match=r"^cannot read the image \S*dog/5.JPEG \(.*\): replace or delete it$"):
        list(evaluation_batches(data, split, batch_size=4))
    assert not multiprocessing.active_children()


def test_folders_that_are_not_as_they_should_be(tmp_path: Path) -> None:
    def refuse(message: str, name: str = "folder", root: Path | None = tmp_path) -> None:
        with pytest.raises(RaykdError, match=message):
            load(root, name)

    refuse(r"data.name 'folder' needs data.root", root=None)
    refuse(r"data.root \S*nowhere is no folder", root=tmp_path / "nowhere")
    refuse(r"holds no class folders: images must lie in one folder a class")
    refuse(r"train is missing: data.root must hold ImageNet's train and val", name="imagenet")
    write_images(tmp_path / "val")
    refuse(r"holds val, but no folder `train`")
    for name in ("cat", "dog", "owl"):
        (tmp_path / "train" / name).mkdir(parents=True)
    refuse(r"train/cat holds no images \(.jpg")
    (tmp_path / "train" / "cat" / "0.png").touch()
    refuse(r"train/cat/0.png is empty or a broken link")
    (tmp_path / "train" / "cat" / "0.png").unlink()
    (tmp_path / "train" / "cat" / "0.png").symlink_to(tmp_path / "nowhere.png")
    refuse(r"train/cat/0.png is empty or a broken link")
    shutil.rmtree(tmp_path / "train")
    write_images(tmp_path / "train", classes=("cat", "dogs", "owl"))
    refuse(r"unknown class 'dog' in \S*val: did you mean 'dogs'\?")
    (tmp_path / "validation").mkdir()
    refuse(r"holds both val and validation: keep one")
