"""Exported files give the model's logits on real digits, and faulty files are not kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors.torch
import torch
from onnxruntime import InferenceSession
from rich.console import Console
from torch import Tensor, nn

import raykd
from raykd.cli import main
from raykd.config import ModelSettings, TrackingSettings
from raykd.data import load_data
from raykd.deploy.agreement import images_for
from raykd.deploy.export import compare, export
from raykd.deploy.formats import FORMATS, FormatName, exported_program
from raykd.errors import RaykdError
from raykd.models import Classifier, build_model
from raykd.training.folder import description
from tests.helpers.finished_models import DIGITS, HALF, finished_model, finished_study, trained, without_data

ALL: tuple[FormatName, ...] = ("torch_export", "onnx", "safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = load_data(DIGITS)
    folder = tmp_path_factory.mktemp("model") / "student"
    return finished_model(folder, trained(HALF, data, epochs=2), HALF, data, 0.9)


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with all formats of the model, and what the export printed."""
    console = Console(file=StringIO(), width=200)
    folder = export(model, tmp_path_factory.mktemp("out") / "exported", ALL, 1e-4, console)
    return folder, console.file.getvalue()  # type: ignore[attr-defined]


def by_torch_export(folder: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(folder / "model.pt2").module()  # type: ignore[return-value]


def by_onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    session = InferenceSession(folder / "model.onnx")
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def by_safetensors(folder: Path) -> Callable[[Tensor], Tensor]:
    """The card and the weights, put together by hand."""
    card = json.loads((folder / "card.json").read_text())
    network = build_model(ModelSettings(**card["model"]), num_classes=len(card["classes"]), in_channels=1).eval()
    network.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    mean, std = torch.tensor(card["mean"]), torch.tensor(card["std"])
    return lambda images: network((images - mean) / std)


@pytest.mark.parametrize("read", [by_torch_export, by_onnx, by_safetensors])
def test_files_give_the_models_logits_for_any_number_of_images(
    read: Callable[[Path], Callable[[Tensor], Tensor]], model: Path, exported: tuple[Path, str]
) -> None:
    live, predict = raykd.load_model(model), read(exported[0])
    digits = load_data(DIGITS).splits["test"].images.float() / 255
    assert len(digits) == 359
    with torch.no_grad():
        for images in (digits[:1], digits[:3], digits):
            torch.testing.assert_close(predict(images), live(images), rtol=1e-4, atol=1e-4)


def test_the_card_describes_the_files(model: Path, exported: tuple[Path, str]) -> None:
    folder, output = exported
    card, model_description = json.loads((folder / "card.json").read_text()), description(model)
    assert model_description is not None
    assert card["model"] == {"name": "resnet8", "arguments": {"width": 0.5}}
    assert card["input"]["shape"] == ["batch", 1, 8, 8]
    assert card["classes"] == [str(digit) for digit in range(10)]
    assert card["provenance"]["data_fingerprint"] == model_description["data"]["fingerprint"]
    assert {path.name for path in folder.iterdir()} == {"card.json", *card["files"]}
    for name, file in card["files"].items():
        assert file["largest_difference"] < 1e-4 * file["largest_logit"]
        assert file["equal_answers"] == 1.0
        assert file["checked_on"] == "288 validation images of digits"
        assert (
            f"{name}: {file['bytes']:,} bytes, largest difference of logits {file['largest_difference']:.1e}" in output
        )
    onnx_model = onnx.load(folder / "model.onnx")
    inside = {entry.key: json.loads(entry.value) for entry in onnx_model.metadata_props if entry.key == "card.json"}
    assert inside["card.json"] == {name: value for name, value in card.items() if name != "files"}


def spoil_torch_export(path: Path) -> None:
    program = torch.export.load(path)
    next(iter(program.state_dict.values())).data.view(-1)[0] += 0.5
    torch.export.save(program, path, extra_files={})


def spoil_onnx(path: Path) -> None:
    content = onnx.load(path)
    tensor = next(tensor for tensor in content.graph.initializer if tensor.name.endswith("conv1.weight"))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(content, path)


def spoil_safetensors(path: Path) -> None:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = safetensors.torch.load_file(path)
    state["conv1.weight"].view(-1)[0] += 0.5
    safetensors.torch.save_file(state, path, metadata=metadata)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [("torch_export", spoil_torch_export), ("onnx", spoil_onnx), ("safetensors", spoil_safetensors)],
    ids=ALL,
)
def test_one_wrong_weight_in_a_file_is_noticed(
    name: FormatName, spoil: Callable[[Path], None], model: Path, exported: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / FORMATS[name].file
    path.write_bytes((exported[0] / path.name).read_bytes())
    model_description, live = description(model), raykd.load_model(model)
    assert model_description is not None
    images = images_for(model_description)
    compare(name, path, live, images, 1e-4)
    spoil(path)
    with pytest.raises(RaykdError, match="does not give the model's logits, so no file is kept"):
        compare(name, path, live, images, 1e-4)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RaykdError, match="cannot be used, so no file is kept"):
        compare(name, path, live, images, 1e-4)


class DiffersOnceExported(nn.Module):
    """Gives other logits once it is exported to a graph."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits + 0.1 if torch.compiler.is_exporting() else logits


class DataDependent(DiffersOnceExported):
    """Its code branches on the content of the images."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits if images.sum() > 0 else -logits


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DiffersOnceExported", "model.pt2 does not give the model's logits"),
        ("DataDependent", "cannot follow DataDependent"),
    ],
)
def test_an_export_that_fails_leaves_an_earlier_one_unchanged(
    name: str, message: str, exported: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, data = ModelSettings(name=f"tests.deploy.test_export:{name}"), load_data(DIGITS)
    folder = finished_model(tmp_path / "model", trained(settings, data, epochs=1), settings, data, 0.5)
    output = tmp_path / "out" / "exported"
    output.mkdir(parents=True)
    for file in exported[0].iterdir():
        (output / file.name).write_bytes(file.read_bytes())
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(SystemExit):
        main(["export", str(folder), "--output", str(output), "--format", "safetensors", "torch_export"])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert [path.name for path in output.parent.iterdir()] == ["exported"]
    main(["export", str(folder), "--output", str(output), "--format", "safetensors"])
    assert {path.name for path in output.iterdir()} == {"card.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("name", "channels", "formats"),
    [
        ("vgg8", 3, ("torch_export", "onnx")),
        ("wrn_16_1", 1, ("torch_export",)),
        ("MobileNetV1", 3, ("torch_export",)),
        ("ShuffleNetV1", 1, ("torch_export",)),
        ("torchvision/squeezenet1_1", 3, ("onnx",)),
    ],
)
def test_families(name: str, channels: int, formats: tuple[FormatName, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_model(ModelSettings(name=name), num_classes=7, in_channels=channels)
    mean, std = (0.3,) * channels, (0.4,) * channels
    with torch.no_grad():
        network(torch.randn(64, channels, 32, 32))  # gives its batch norms statistics of such images
    live = Classifier(network, mean, std, list("abcdefg")).eval()
    images = torch.rand(13, channels, 32, 32)
    for format_name in formats:
        path = tmp_path / FORMATS[format_name].file
        FORMATS[format_name].write(live, images[:2], {}, path)
        predict = FORMATS[format_name].read(path)
        with torch.no_grad():
            for count in (1, 13):
                torch.testing.assert_close(predict(images[:count]), live(images[:count]), rtol=1e-4, atol=1e-5)


def test_a_network_with_a_fixed_batch_size_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).view(2, 64)

    with pytest.raises(RaykdError, match=r"torch\.export cannot follow Two: ."):
        exported_program(Classifier(Two(), (0.0,), (1.0,), ["a"] * 64).eval(), torch.rand(2, 1, 8, 8))


def test_a_study_gives_its_best_student_with_its_provenance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = finished_study(tmp_path / "outputs", TrackingSettings())
    without_data(experiment.folder / "trials" / "trial-0000")
    without_data(experiment.folder / "best")
    main(["export", str(experiment.folder), "--output", str(tmp_path / "out"), "--format", "safetensors"])
    assert "random images, as its data set is not available" in capsys.readouterr().out
    provenance: dict[str, Any] = json.loads((tmp_path / "out" / "card.json").read_text())["provenance"]
    assert (provenance["study"], provenance["trial"], provenance["validation_accuracy"]) == ("small", "trial-0000", 0.9)
    assert (provenance["teacher"], provenance["teacher_validation_accuracy"]) == ("resnet8(width=0.5)", 0.95)
    assert len(provenance["teacher_digest"]) == 64 and provenance["teacher_digest"] != provenance["model_digest"]


def test_what_is_missing_is_reported_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for words, message in [
        ((str(model), "--output", "new", "--format", "onnx"), "needs onnxruntime: pip install 'raykd[export]'"),
        ((str(model), "--output", "full"), "holds something other than an earlier export"),
        (("nowhere", "--output", "new"), "no study 'nowhere'"),
        (("full", "--output", "new"), "no finished model in full"),
    ]:
        with pytest.raises(SystemExit):
            main(["export", *words])
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
