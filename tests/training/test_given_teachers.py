"""A given teacher is as good here as where it was trained: it sees its images as it wants them, or a line says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.config import DataSettings, ModelSettings, PreprocessingSettings, TrackingSettings
from raykd.data import DataInfo, evaluation_batches, load_data, training_batches
from raykd.errors import RaykdError
from raykd.models import preprocessing
from raykd.training.answers import answers_to
from raykd.training.bank.bank import about
from raykd.training.external_teacher import CLAIM, evaluate_external_teacher, fetch_external_teacher
from raykd.training.folder import description, write_description
from raykd.training.saved import load_model, save_weights, weights_digest
from raykd.training.teacher import Teacher
from raykd.training.teachers import HELD_OUT_BATCHES, Teachers
from raykd.training.team import Team
from tests.helpers.specs import plain, request_for, spec, train

HERE = __name__
CPU = torch.device("cpu")
COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])
FRAME = 3
"""Pixels at the border that tell an image's class; in the middle it looks like the class after it."""


class Frame(nn.Module):
    """Names the class whose colour an image's frame has; right only about images in its own size and normalisation."""

    def __init__(self, num_classes: int = 3, size: int = 60, mean: float = 0.5) -> None:
        super().__init__()
        self.colours = nn.Parameter((COLOURS[:num_classes] - mean) / 0.25)
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2:] != (self.size, self.size):
            raise ValueError(f"I take {self.size} x {self.size} pixels")
        mask = torch.ones(self.size, self.size, device=images.device)
        mask[FRAME:-FRAME, FRAME:-FRAME] = 0
        colour = (images * mask).sum((2, 3)) / mask.sum()
        return -(colour[:, None] - self.colours).square().sum(2)


def write_frames(root: Path, height: int = 60, width: int = 60, count: int = 8) -> None:
    """Class folders of noisy pictures in frames."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("0-red", "1-green", "2-blue")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.broadcast_to(COLOURS[(label + 1) % 3].numpy(), (height, width, 3)).copy()
            for side in (np.s_[:FRAME], np.s_[-FRAME:], np.s_[:, :FRAME], np.s_[:, -FRAME:]):
                pixels[side] = COLOURS[label].numpy()
            noisy = (pixels + random.normal(0, 0.03, pixels.shape)).clip(0, 1)
            Image.fromarray((noisy * 255).astype(np.uint8)).save(root / name / f"{number}.png")


def data_settings(root: Path, **settings: Any) -> DataSettings:
    return DataSettings(name="folder", root=root, **{"image_size": 60, "loader_processes": 0, **settings})


def adopted(source: Path, info: DataInfo, cache: Path, model: ModelSettings, **wanted: Any) -> str:
    return fetch_external_teacher(
        str(source), model, info, str(cache), TrackingSettings(), PreprocessingSettings(**wanted)
    )


def accuracy(folder: str, settings: DataSettings) -> float:
    evaluate_external_teacher(folder, settings)
    found = description(folder)
    assert found is not None
    return float(found["metrics"]["validation_accuracy"])


HALF = {"mean": (0.5,), "std": (0.25,)}
RIGHT = {"resize": 60, **HALF}
# Shape of the files, settings of the data and of the teacher, and whether it is right about the images.
CASES: dict[str, tuple[tuple[int, int], dict[str, Any], dict[str, Any], bool]] = {
    "nothing is said": ((60, 60), {}, {}, False),
    "normalisation alone": ((60, 60), {}, HALF, False),
    "size before the crop": ((60, 60), {}, RIGHT, True),
    "no resizing": ((60, 60), {}, {"resize": 0, **HALF}, True),
    "by the data, for both": ((60, 60), {"resize": 60, **HALF}, {}, True),
    "the data's, and its own on top": ((60, 60), {"resize": 90, "mean": (0.1,)}, RIGHT, True),
    "one number a channel": ((60, 60), {}, {"resize": 60, "mean": (0.5,) * 3, "std": (0.25,) * 3}, True),
    "larger files": ((120, 120), {}, RIGHT, True),
    "wide files, squashed": ((60, 120), {}, {"crop": "squash", **HALF}, True),
    "wide files, squashed by the data": ((60, 120), {"crop": "squash", **HALF}, {}, True),
    "a student of other sizes": ((60, 60), {"image_size": 32}, {"image_size": 60, **RIGHT}, True),
    "interpolation": ((120, 120), {}, {"interpolation": "bicubic", **RIGHT}, True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_accuracy_of_a_teacher_that_needs_its_own_preprocessing(case: str, tmp_path: Path) -> None:
    shape, data, wanted, is_right = CASES[case]
    write_frames(tmp_path / "images", *shape)
    torch.save(Frame().state_dict(), tmp_path / "frame.pt")
    settings = data_settings(tmp_path / "images", **data)
    info, model = load_data(settings).info, ModelSettings(name=f"{HERE}:Frame")
    folder = adopted(tmp_path / "frame.pt", info, tmp_path / "cache", model, **wanted)
    found = accuracy(folder, settings)
    assert found == 1.0 if is_right else found < 0.5


def test_a_raykd_folder_says_how_it_wants_its_images(tmp_path: Path) -> None:
    """Adopted into a study of other settings, a teacher of another study keeps its accuracy."""
    write_frames(tmp_path / "images")
    torch.save(Frame().state_dict(), tmp_path / "frame.pt")
    model, home = ModelSettings(name=f"{HERE}:Frame"), data_settings(tmp_path / "images", resize=60, **HALF)
    first = adopted(tmp_path / "frame.pt", load_data(home).info, tmp_path / "home", model)
    assert accuracy(first, home) == 1.0
    away = data_settings(tmp_path / "images", image_size=40)
    second = adopted(Path(first), load_data(away).info, tmp_path / "away", model)
    assert accuracy(second, away) == 1.0
    found = description(second)
    assert found is not None
    assert found[CLAIM] == ["validation_accuracy", 1.0]


@pytest.mark.parametrize("name", ["resnet18:DEFAULT", "resnet50:IMAGENET1K_V2", "vit_b_16:IMAGENET1K_SWAG_E2E_V1"])
def test_held_out_images_are_those_of_torchvisions_transforms(name: str, tmp_path: Path) -> None:
    import torchvision

    model, _, weights = name.partition(":")
    write_frames(tmp_path, 70, 90, count=4)
    wanted = preprocessing(ModelSettings(name=f"torchvision/{model}", weights=weights))
    transform = torchvision.models.get_model_weights(model)[weights].transforms()
    assert_pixels(tmp_path, wanted, transform)


@pytest.mark.parametrize("name", ["resnet18:a1_in1k", "deit_tiny_patch16_224:fb_in1k", "mobilenetv1_100:DEFAULT"])
def test_held_out_images_are_those_of_timms_transforms(name: str, tmp_path: Path) -> None:
    import timm

    model, _, weights = name.partition(":")
    write_frames(tmp_path, 70, 90, count=4)
    wanted = preprocessing(ModelSettings(name=f"timm/{model}", weights=weights))
    config = timm.models.get_pretrained_cfg(model if weights == "DEFAULT" else f"{model}.{weights}")
    transform = timm.data.create_transform(**timm.data.resolve_data_config(config.to_dict()), is_training=False)
    assert_pixels(tmp_path, wanted, transform)


def assert_pixels(root: Path, wanted: PreprocessingSettings, transform: Any) -> None:
    data = load_data(data_settings(root, validation_share=0.5, test_share=0.25, image_size=None))
    seen = data.info.wanted_by(wanted)
    split = data.split("validation")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (seen.mean, seen.std))
    (batch,) = evaluation_batches(data.seen_as(seen), "validation", batch_size=len(split))
    for index, pixels in enumerate(batch.pixels):
        with Image.open(split.path(index)) as image:  # type: ignore[union-attr]
            expected = transform(image.convert("RGB"))
        torch.testing.assert_close((pixels - mean) / std, expected, rtol=1e-5, atol=1e-5)


def test_views_in_memory_are_resized_for_a_teacher_of_another_size(tmp_path: Path) -> None:
    settings = DataSettings(train_images=100, validation_share=0.1)
    data, larger = load_data(settings), settings.model_copy(update={"image_size": 16})
    model = {"name": "resnet8", "arguments": {"width": 0.25}}
    own = tmp_path / "sixteen"
    assert train(request_for(plain(data=larger.model_dump(), student=model, training={"epochs": 1}), own))[-1].finished
    folder = adopted(own, data.info, tmp_path / "cache", ModelSettings())
    teacher, original = Teacher(folder, data.info, None, CPU), load_model(own)
    assert (teacher.info.height, teacher.info.width) == (16, 16)
    for batch in evaluation_batches(data, "validation", batch_size=64):
        large = F.interpolate(batch.pixels, (16, 16), mode="bilinear", antialias=True)
        with torch.no_grad():
            assert torch.equal(teacher.teach(batch).logits, original(large))
            torch.testing.assert_close(teacher.answer(batch), original(large), rtol=1e-4, atol=1e-5)
    # Features of both in their own sizes.
    hints = spec(student=model, training={"epochs": 1}, method={"name": "fitnet"})
    assert train(request_for(hints, tmp_path / "student", folder))[-1].finished


def test_each_preprocessing_is_another_teacher_with_answers_of_its_own(tmp_path: Path) -> None:
    settings = DataSettings(train_images=100, validation_share=0.1)
    info = load_data(settings).info
    torch.save(nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 10)).state_dict(), tmp_path / "a.pt")
    model = ModelSettings(name=f"{HERE}:pooled")
    same = [{}, {"image_size": 8}, {"interpolation": "bilinear"}, {"mean": info.mean, "std": info.std}]
    others = [{"image_size": 16}, {"image_size": 16, "interpolation": "bicubic"}, {"mean": (0.5,)}, {"std": (0.5,)}]
    folders = [adopted(tmp_path / "a.pt", info, tmp_path / "cache", model, **wanted) for wanted in [*same, *others]]
    assert len(set(folders[: len(same)])) == 1
    assert len(set(folders)) == 1 + len(others)
    banks = {str(about(spec().bank, Teacher(folder, info, None, CPU), info, CPU)) for folder in set(folders)}
    assert len(banks) == len(set(folders))


def pooled(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, num_classes))


class Moody(nn.Module):
    """Finite about black images; not about bright ones."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)) / (images.amax((1, 2, 3)) < 1.5)[:, None]


class Undefined(Moody):
    """Never finite."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


def test_a_teacher_whose_answers_are_not_finite_is_refused(tmp_path: Path) -> None:
    settings = DataSettings(train_images=100, validation_share=0.1)
    data = load_data(settings)
    torch.save(Moody(10).state_dict(), tmp_path / "moody.pt")
    with pytest.raises(RaykdError, match=r"^teacher.source .*: its answers to black images are not finite"):
        adopted(tmp_path / "moody.pt", data.info, tmp_path / "cache", ModelSettings(name=f"{HERE}:Undefined"))
    assert not (tmp_path / "cache").exists()
    folder = adopted(tmp_path / "moody.pt", data.info, tmp_path / "cache", ModelSettings(name=f"{HERE}:Moody"))
    (batch,) = evaluation_batches(data, "validation", batch_size=10_000)
    bad = int((batch.images.amax((1, 2, 3)) >= 1.5).sum())
    assert bad > 0
    with pytest.raises(RaykdError, match=rf"its answers to {bad} of {len(batch)} validation images are not finite"):
        evaluate_external_teacher(folder, settings)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_raykd_folder_of_weights_that_are_not_finite_is_refused(value: float, teacher: Path, tmp_path: Path) -> None:

    network, content = load_model(teacher).network, description(teacher)
    assert content is not None
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    save_weights(tmp_path / "diverged", network)
    write_description(tmp_path / "diverged", content | {"weights": weights_digest(network.state_dict())})
    info = load_data(DataSettings(train_images=100, validation_share=0.1)).info
    with pytest.raises(RaykdError, match=r"^teacher.source .*: the weights are not finite"):
        adopted(tmp_path / "diverged", info, tmp_path / "cache", ModelSettings())
    assert not (tmp_path / "cache").exists()


def test_what_a_checkpoint_tells_of_its_accuracy_is_kept(tmp_path: Path) -> None:
    info = load_data(DataSettings(train_images=100, validation_share=0.1)).info
    torch.save({"net": pooled(10).state_dict(), "best_acc": 92.5}, tmp_path / "told.pth")
    folder = adopted(tmp_path / "told.pth", info, tmp_path / "cache", ModelSettings(name=f"{HERE}:pooled"))
    found = description(folder)
    assert found is not None
    assert found[CLAIM] == ["best_acc", 0.925]


def test_numbers_that_are_not_for_the_channels_are_refused(tmp_path: Path) -> None:
    info = replace(load_data(DataSettings(train_images=100)).info)
    torch.save(pooled(10).state_dict(), tmp_path / "a.pt")
    with pytest.raises(RaykdError, match=r"teacher.mean: 2 numbers for images of 1 channels: give one, or 1"):
        adopted(tmp_path / "a.pt", info, tmp_path / "cache", ModelSettings(name=f"{HERE}:pooled"), mean=(0.1, 0.2))


def test_held_out_images_of_folders_are_answered_as_the_teacher_wants_them(tmp_path: Path) -> None:
    """In a classroom whose students see other crops, in another size."""
    write_frames(tmp_path / "images")
    torch.save(Frame().state_dict(), tmp_path / "frame.pt")
    settings = data_settings(tmp_path / "images", image_size=32)
    data, model = load_data(settings), ModelSettings(name=f"{HERE}:Frame")
    training = training_batches(data, batch_size=2)
    small = spec(data=settings.model_dump() | {"train_images": None}, training={"batch_size": 2})
    held_out = list(evaluation_batches(data, "validation", batch_size=HELD_OUT_BATCHES * 2))
    teachers = Teachers(small, data, training, held_out, Team())
    for resize, names in ((60, 0), (69, 1)):  # whose frame is cut off names the class after it
        wanted = {**RIGHT, "resize": resize, "image_size": 60}
        folder = adopted(tmp_path / "frame.pt", data.info, tmp_path / "cache", model, **wanted)
        teachers.load(folder)
        for number, batch in enumerate(held_out):
            assert torch.equal(teachers.held_out_answers(number)[folder], (batch.labels + names) % 3)
    request = request_for(small, tmp_path / "student", folder)
    assert [report.failure for report in train(request, epochs=1)] == [None]


def test_what_teacher_and_students_answer_is_seen_as_each_of_them_does(tmp_path: Path) -> None:
    """The teachers want larger images than the students, one of them other crops."""
    write_frames(tmp_path / "images")
    torch.save(Frame().state_dict(), tmp_path / "frame.pt")
    settings = data_settings(tmp_path / "images", image_size=32)
    data, model = load_data(settings), ModelSettings(name=f"{HERE}:Frame")
    small = spec(data=settings.model_dump() | {"train_images": None}, training={"batch_size": 2, "epochs": 1})
    wanted = {**RIGHT, "image_size": 60}
    folders: dict[str, str | Path] = {
        "weights": adopted(tmp_path / "frame.pt", data.info, tmp_path / "cache", model, **wanted),
        "cut off": adopted(tmp_path / "frame.pt", data.info, tmp_path / "cache", model, **wanted | {"resize": 69}),
    }
    for name in ("one", "other"):
        folders[name] = tmp_path / name
        assert train(request_for(small, tmp_path / name, str(folders["weights"])))[-1].finished
    labels, answers = answers_to(data, "validation", folders)
    assert answers["weights"].tolist() == labels.tolist()
    assert answers["cut off"].tolist() == ((labels + 1) % 3).tolist()
    batches = evaluation_batches(data, "validation", batch_size=3)
    expected = [load_model(folders["one"])(batch.pixels).argmax(1) for batch in batches]
    assert answers["one"].tolist() == torch.cat(expected).tolist()
    assert list(answers) == list(folders)
