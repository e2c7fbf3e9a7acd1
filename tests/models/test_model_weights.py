"""Weights to start from: files of any toolkit, torchvision's and timm's by name, new heads, and helpful errors."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.models import Classifier, build_model, load_state, load_weights, preprocessing

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def build(name: str, num_classes: int = 10, in_channels: int = 3, weights: Any = None, **arguments: Any) -> Any:
    chosen = ModelSettings(name=name, weights=None if weights is None else str(weights), arguments=arguments)
    return build_model(chosen, num_classes=num_classes, in_channels=in_channels)


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's own folder, empty; no way out of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    # urllib keeps the proxies that it saw first, for this test and for those after it.
    monkeypatch.setattr(urllib.request, "_opener", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def put(folder: Path, name: str, weights: str = "DEFAULT", **arguments: Any) -> nn.Module:
    """A torchvision network whose weights lie where torchvision looks for its downloads."""
    chosen = torchvision.models.get_model_weights(name)[weights]
    network: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    torch.save(network.state_dict(), folder / chosen.url.rpartition("/")[2])
    return network


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ""])
@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "MobileNetV2", "torchvision/squeezenet1_1", "timm/resnet10t"])
def test_a_file_gives_the_same_network(name: str, suffix: str, tmp_path: Path) -> None:
    network = build(name)
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(network.state_dict(), file)
    else:
        torch.save(network.state_dict(), file)
    assert equal(build(name, weights=file).state_dict(), network.state_dict())


@settings(max_examples=25)
@given(
    prefixes=st.lists(st.sampled_from(["module.", "_orig_mod.", "network."]), max_size=3),
    nestings=st.lists(st.sampled_from(["model", "state_dict", "net", "model_state_dict"]), max_size=2),
)
def test_habitual_wrappings_are_taken_off(
    prefixes: list[str], nestings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = build("resnet8", width=0.25).state_dict()
    content: Any = {"".join(prefixes) + name: tensor for name, tensor in state.items()}
    for nesting in nestings:
        content = {"epoch": 240, nesting: content, "optimizer": {"state": {}}, "best_acc": torch.tensor(0.7)}
    file = tmp_path_factory.mktemp("wrapped") / "ckpt_epoch_240.pth"
    torch.save(content, file)
    network = build("resnet8", width=0.25)
    load_weights(network, file, "ckpt", exact=True)
    assert equal(network.state_dict(), state)


def test_wrappers_of_torch_and_our_own(tmp_path: Path) -> None:
    network = build("resnet8")
    wrappers = [
        nn.DataParallel(network),
        torch.compile(network),
        Classifier(network, (0.5,) * 3, (0.5,) * 3, "0123456789"),
        nn.DataParallel(Classifier(torch.compile(network), (0.5,) * 3, (0.5,) * 3, "0123456789").network),
    ]
    for number, wrapper in enumerate(wrappers):
        torch.save(wrapper.state_dict(), tmp_path / f"{number}.pt")
        other = build("resnet8")
        load_weights(other, tmp_path / f"{number}.pt", "wrapped", exact=True)
        assert equal(other.state_dict(), network.state_dict())


@pytest.mark.parametrize("prefix", ["module", "network", "model"])
def test_a_network_whose_own_names_look_like_a_wrapping(prefix: str, tmp_path: Path) -> None:
    network, other = (nn.Module() for _ in range(2))
    network.add_module(prefix, nn.Linear(3, 2))
    other.add_module(prefix, nn.Linear(3, 2))
    torch.save({"model": nn.DataParallel(network).state_dict()}, tmp_path / "own.pt")
    load_weights(other, tmp_path / "own.pt", "own.pt", exact=True)
    assert equal(other.state_dict(), network.state_dict())


def test_old_files_lack_the_counters_of_batch_norm(tmp_path: Path) -> None:
    state = build("vgg8").state_dict()
    torch.save({name: tensor for name, tensor in state.items() if not name.endswith("tracked")}, tmp_path / "old.pth")
    assert equal(build("vgg8", weights=tmp_path / "old.pth").state_dict(), dict(state))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet8", "fc"),
        ("vgg8", "classifier"),
        ("MobileNetV2", "classifier.0"),
        ("ShuffleNetV1", "linear"),
        ("torchvision/squeezenet1_1", "classifier.1"),
        ("timm/resnet10t", "fc"),
    ],
)
def test_other_classes_leave_the_last_layer_fresh_alone(name: str, head: str, tmp_path: Path) -> None:
    trained = build(name, num_classes=100).state_dict()
    torch.save(trained, tmp_path / "hundred.pt")
    started = build(name, num_classes=7, weights=tmp_path / "hundred.pt")
    state = started.state_dict()
    fresh = {entry for entry in state if state[entry].shape != trained[entry].shape}
    assert fresh == {f"{head}.weight", f"{head}.bias"}
    assert all(torch.equal(state[entry], trained[entry]) for entry in state.keys() - fresh)
    with pytest.raises(RaykdError, match="another number of classes"):
        load_state(started, trained, "a file", exact=True)


@pytest.mark.parametrize(
    ("trained", "wanted", "message"),
    [
        ({"name": "resnet14"}, {"name": "resnet8"}, r"unknown layer1.1.conv1.weight, .* and 34 more\n.*deeper model's"),
        ({"name": "resnet8"}, {"name": "resnet14"}, r"missing layer1.1.conv1.weight, .*\n.*shallower model's"),
        ({"name": "vgg8"}, {"name": "resnet8"}, r"missing conv1.weight, .*unknown block0.*\n.*another architecture's"),
        ({"name": "ResNet18"}, {"name": "resnet8"}, r"\n.*another architecture's"),
        (
            {"name": "resnet8", "width": 0.5},
            {"name": "resnet8"},
            r"of another shape conv1.weight \(8, 3, 3, 3\), not \(16, 3, 3, 3\).*\n.*another width",
        ),
        ({"name": "resnet8", "in_channels": 3}, {"name": "resnet8", "in_channels": 1}, r"\n.*number of channels"),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_what_does_not_fit_is_refused(trained: Any, wanted: Any, message: str, exact: bool) -> None:
    network = build(**wanted)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RaykdError, match=f"^mine.pt: do not fit this {type(network).__name__}: ") as refused:
        load_state(network, build(**trained).state_dict(), "mine.pt", exact=exact)
    refused.match(f"(?s){message}")
    assert str(refused.value).count("\n") == 1
    assert equal(dict(network.state_dict()), before)


def test_another_head_is_no_excuse_for_another_body(tmp_path: Path) -> None:
    torch.save(build("resnet8", num_classes=100, width=0.5).state_dict(), tmp_path / "half.pt")
    with pytest.raises(RaykdError, match=r"resnet8: weights .*half.pt: do not fit"):
        build("resnet8", weights=tmp_path / "half.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no weights at all", r"cannot be read: .*\nsave the state dict alone"),
        (nn.Linear(2, 2), r"cannot be read: .*\nsave the state dict alone"),
        ({"epoch": 3}, r"holds no state dict"),
        ({}, r"holds no state dict"),
        ([torch.zeros(2)], r"holds no state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_without_weights(content: Any, message: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"broken{suffix}"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    expected = message if suffix == ".pth" else r"cannot be read"
    with pytest.raises(RaykdError, match=expected) as refused:
        build("resnet8", weights=file)
    assert str(refused.value).count("\n") <= 1


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet8", "absent.pt", r"weights absent.pt: no such file, seen from /[^,]*$"),
        ("resnet8", "DEFAULT", r"no such file.*only torchvision/ and timm/ models have weights by name"),
        ("torchvision/resnet18", "absent.pth", r"weights absent.pth: no such file"),
        ("timm/resnet18", "folder/absent", r"weights folder/absent: no such file"),
        ("torchvision/resnet18", "IMAGENET1K_V9", r"torchvision/resnet18: did you mean 'IMAGENET1K_V1'\?"),
        ("timm/resnet18", "a1_in", r"timm/resnet18: did you mean 'a1_in1k'\?"),
        ("timm/resnet18.a1_in1k", "tv_in1k", r"already holds the tag a1_in1k"),
        ("timm/resnet200", "DEFAULT", r"timm/resnet200 has no pretrained weights"),
    ],
)
def test_weights_that_are_not_there_are_refused_early(name: str, weights: str, message: str, device: str) -> None:
    with torch.device(device), pytest.raises(RaykdError, match=message):
        build(name, weights=weights)


def test_shapes_alone_read_and_download_nothing(tmp_path: Path, torch_home: Path) -> None:
    (tmp_path / "unread.pt").write_bytes(b"not weights")
    with torch.device("meta"):
        build("resnet8", weights=tmp_path / "unread.pt")
        build("torchvision/resnet18", weights="DEFAULT")
        build("timm/resnet18", weights="DEFAULT")
    assert not list(torch_home.iterdir())


# googlenet is trained with auxiliary heads, which ours does without, and rescales its input by itself.
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("densenet121", "classifier"),
        ("googlenet", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
    ],
)
def test_torchvisions_weights_by_name(name: str, head: str, torch_home: Path) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    trained = put(torch_home, name, **options).eval()
    whole = build(f"torchvision/{name}", num_classes=1000, weights="DEFAULT").eval()
    assert all(torch.equal(tensor, trained.state_dict()[entry]) for entry, tensor in whole.state_dict().items())
    started = build(f"torchvision/{name}", num_classes=7, weights="IMAGENET1K_V1").train()
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert started(images).shape == (2, 7)
    fresh = {entry for entry, tensor in started.state_dict().items() if tensor.shape != whole.state_dict()[entry].shape}
    assert fresh == {f"{head}.weight", f"{head}.bias"}
    assert getattr(started, "transform_input", False) == (name == "googlenet")


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_grey_images_are_answered_as_if_three_channels_were_equal(name: str, torch_home: Path) -> None:
    trained = put(torch_home, name, **({"init_weights": False} if name == "googlenet" else {})).eval()
    grey = build(f"torchvision/{name}", num_classes=1000, in_channels=1, weights="DEFAULT").eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), trained(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)
    with pytest.raises(RaykdError, match="DEFAULT are for 1 or 3 image channels, not 4"):
        build(f"torchvision/{name}", in_channels=4, weights="DEFAULT")


def test_torchvisions_weights_that_cannot_be_had(torch_home: Path) -> None:
    with pytest.raises(
        RaykdError, match=r"the weights IMAGENET1K_V1 could not be loaded: .*\ndownload https://download.pytorch"
    ):
        build("torchvision/resnet18", weights="DEFAULT")
    put(torch_home, "mobilenet_v2")
    with pytest.raises(RaykdError, match=r"IMAGENET1K_V2 do not load: .*\ndrop arguments that change its layers"):
        build("torchvision/mobilenet_v2", weights="DEFAULT", width_mult=0.5)
    (torch_home / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(
        RaykdError, match=r"IMAGENET1K_V1 do not load: .*\n.*delete .*resnet18-f37072fd.pth if it is dam"
    ):
        build("torchvision/resnet18", weights="DEFAULT")
    with pytest.raises(RaykdError, match=r"with IMAGENET1K_V1 refuses the arguments .*widht"):
        build("torchvision/resnet18", weights="DEFAULT", widht=2)


def test_timms_weights_by_name(tmp_path: Path) -> None:
    """In a process of its own: the hub's client reads where its cache is, and that it is offline, when imported."""
    code = """
import pathlib, sys, timm, torch, safetensors.torch
from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.models import build_model
repository = pathlib.Path(sys.argv[1]) / "models--timm--resnet10t.c3_in1k"
(repository / "refs").mkdir(parents=True)
(repository / "refs/main").write_text("0" * 40)
snapshot = repository / "snapshots" / ("0" * 40)
snapshot.mkdir(parents=True)
trained = timm.create_model("resnet10t").state_dict()
safetensors.torch.save_file(trained, snapshot / "model.safetensors")
for name, weights in (("resnet10t", "DEFAULT"), ("resnet10t", "c3_in1k"), ("resnet10t.c3_in1k", "DEFAULT")):
    settings = ModelSettings(name=f"timm/{name}", weights=weights)
    state = build_model(settings, num_classes=1000, in_channels=3).state_dict()
    assert all(torch.equal(state[entry], trained[entry]) for entry in trained)
    state = build_model(settings, num_classes=7, in_channels=1).state_dict()
    assert {entry for entry in state if state[entry].shape != trained[entry].shape} == {
        "conv1.0.weight", "fc.weight", "fc.bias"}
    torch.testing.assert_close(state["conv1.0.weight"], trained["conv1.0.weight"].sum(1, keepdim=True))
try:
    build_model(ModelSettings(name="timm/resnet18", weights="DEFAULT"), num_classes=7, in_channels=3)
except RaykdError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()
    assert first.startswith("timm/resnet18: the weights DEFAULT could not be loaded: ")
    assert "HF_HOME" in second


def test_how_named_weights_want_their_images() -> None:
    def wanted(name: str, weights: str | None) -> Any:
        return preprocessing(ModelSettings(name=name, weights=weights)).model_dump(exclude_none=True)

    def as_of(size: int, resize: int, interpolation: str, mean: Any, std: Any, crop: str = "center") -> Any:
        names = {"image_size": size, "resize": resize, "crop": crop, "interpolation": interpolation}
        return names | {"mean": mean, "std": std}

    half = ((0.5,) * 3, (0.5,) * 3)
    assert wanted("torchvision/resnet18", "DEFAULT") == as_of(224, 256, "bilinear", *IMAGENET)
    assert wanted("torchvision/resnet50", "IMAGENET1K_V2") == as_of(224, 232, "bilinear", *IMAGENET)
    assert wanted("torchvision/efficientnet_v2_l", "IMAGENET1K_V1") == as_of(480, 480, "bicubic", *half)
    assert wanted("timm/resnet18", "a1_in1k") == as_of(224, 235, "bicubic", *IMAGENET)
    assert wanted("timm/mobilenetv1_100", "DEFAULT")["mean"] == half[0]
    for name, weights in [("resnet8", None), ("resnet8", "a.pt"), ("timm/resnet18", None), ("timm/resnet18", "a.pt")]:
        assert wanted(name, weights) == {}
    with pytest.raises(RaykdError, match="unknown torchvision model"):
        wanted("torchvision/resnet17", "DEFAULT")


def test_weights_leave_the_name_alone() -> None:
    chosen = ModelSettings(name="resnet8", weights="a.pt", arguments={"width": 0.5})
    assert str(chosen) == "resnet8(width=0.5)"
