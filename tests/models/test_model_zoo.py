"""The families beyond the narrow ResNets, and timm: published sizes, names of published weights, any image."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.models import build_model, model_descriptions, model_names, parameter_count
from raykd.models.parts import shuffled

# With 100 classes. Counted from the toolkits' own public code, HobbitLong/RepDistiller at b84f547 and
# megvii-research/mdistiller at a08d46f, which agree; the state dicts of all these load into raykd's strictly.
COUNTED = {
    "wrn_16_1": 180_916,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg11": 9_277_284,
    "vgg13": 9_462_180,
    "vgg16": 14_774_436,
    "vgg19": 20_086_692,
    "MobileNetV2": 812_836,
    "ShuffleNetV1": 949_258,
    "ShuffleNetV2": 1_355_528,
    # These three are printed in many public logs and model cards of CIFAR-100, too.
    "ResNet18": 11_220_132,
    "ResNet34": 21_328_292,
    "ResNet50": 23_705_252,
}
# Zagoruyko & Komodakis (BMVC 2016): millions of parameters on CIFAR.
WIDE_RESNET_PAPER = {"wrn_40_1": 0.6, "wrn_40_2": 2.2, "wrn_40_4": 8.9, "wrn_28_10": 36.5}
# TensorFlow slim's table of MobileNets and osmr/imgclsmob's table of models: 1000 classes.
MOBILENET_V1 = 4_231_976

REPRESENTATIVES = ["wrn_16_2", "vgg8", "MobileNetV1", "MobileNetV2", "ShuffleNetV1", "ShuffleNetV2", "ResNet18"]
KEYS = {
    "wrn_16_2": {
        "block1.layer.0.convShortcut.weight",
        "block2.layer.1.bn2.running_var",
        "block3.layer.0.conv1.weight",
        "bn1.bias",
        "fc.weight",
    },
    "vgg8": {"block0.0.bias", "block4.1.running_mean", "classifier.weight"},
    "vgg13": {"block0.3.weight", "block4.4.num_batches_tracked", "classifier.bias"},
    "MobileNetV1": {"model.0.0.weight", "model.1.3.weight", "model.13.4.running_mean", "fc.bias"},
    "MobileNetV2": {"conv1.0.weight", "blocks.0.0.conv.7.bias", "blocks.3.3.conv.3.weight", "classifier.0.weight"},
    "ShuffleNetV1": {"layer1.0.conv1.weight", "layer2.7.bn3.weight", "linear.bias"},
    "ShuffleNetV2": {"layer1.0.conv5.weight", "layer2.7.bn3.weight", "conv2.weight", "linear.weight"},
    "ResNet18": {"layer2.0.shortcut.1.running_var", "layer4.1.conv2.weight", "linear.bias"},
    "ResNet50": {"layer1.0.shortcut.0.weight", "layer3.5.bn3.weight", "linear.weight"},
}


def build(name: str, num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> Any:
    return build_model(ModelSettings(name=name, arguments=arguments), num_classes=num_classes, in_channels=in_channels)


def size(name: str, num_classes: int, **arguments: Any) -> int:
    with torch.device("meta"):
        return parameter_count(build(name, num_classes, **arguments))


def test_published_parameter_counts() -> None:
    assert {name: size(name, 100) for name in COUNTED} == COUNTED
    assert {name: size(name, 10) / 1e6 for name in WIDE_RESNET_PAPER} == pytest.approx(WIDE_RESNET_PAPER, abs=0.06)
    assert size("MobileNetV1", 1000) == MOBILENET_V1 == parameter_count(timm.create_model("mobilenetv1_100"))


def test_bottleneck_resnets_differ_from_torchvisions_by_the_stem_alone() -> None:
    stems = 64 * 3 * (7 * 7 - 3 * 3)
    for depth in (18, 34, 50):
        assert size(f"torchvision/resnet{depth}", 100) - size(f"ResNet{depth}", 100) == stems


@pytest.mark.parametrize("name", KEYS)
def test_the_layers_have_the_names_of_the_published_weights(name: str) -> None:
    with torch.device("meta"):
        names = set(build(name).state_dict())
    assert names >= KEYS[name]


def test_stages_without_change_of_shape_have_no_projection() -> None:
    assert not any("convShortcut" in name for name in build("wrn_16_1").block1.state_dict())
    assert not any("shortcut" in name for name in build("ResNet18").layer1.state_dict())


@pytest.mark.parametrize("alias", ["ShuffleV1", "ShuffleV2", "mobilenet_v2"])
def test_other_toolkits_names(alias: str) -> None:
    canonical = {"ShuffleV1": "ShuffleNetV1", "ShuffleV2": "ShuffleNetV2", "mobilenet_v2": "MobileNetV2"}[alias]
    assert type(build(alias)).__name__ == canonical
    assert alias not in model_names()


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_forward_and_backward(name: str) -> None:
    network = build(name, num_classes=7)
    logits = network(torch.rand(4, 3, 32, 32))
    assert logits.shape == (4, 7)
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", REPRESENTATIVES)
@pytest.mark.parametrize(("in_channels", "shape"), [(1, (8, 8)), (5, (33, 20)), (1, (28, 28))])
def test_any_image(name: str, in_channels: int, shape: tuple[int, int]) -> None:
    network = build(name, in_channels=in_channels)
    logits = network(torch.rand(2, in_channels, *shape))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_sample_is_answered_alone_as_in_a_batch(name: str) -> None:
    network = build(name).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-3, atol=1e-5)


# wrn: pre-activation; MobileNetV2: linear bottlenecks. Their stages end without ReLU by design.
@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("vgg8", ["block0", "block1", "block2", "block3", "block4"]),
        ("MobileNetV1", ["model.3", "model.5", "model.11", "model.13"]),
        ("ShuffleNetV1", ["layer1", "layer2", "layer3"]),
        ("ShuffleNetV2", ["layer1", "layer2", "layer3"]),
        ("ResNet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("wrn_16_2", ["block1", "block2", "block3"]),
        ("MobileNetV2", ["blocks.1", "blocks.2", "blocks.4", "blocks.6"]),
    ],
)
def test_stages_can_be_listened_to(name: str, stages: list[str]) -> None:
    network = build(name)
    heard: dict[str, torch.Tensor] = {}
    for stage in stages:
        network.get_submodule(stage).register_forward_hook(
            lambda _module, _images, out, stage=stage: heard.__setitem__(stage, out.detach().clone())
        )
    network(torch.rand(2, 3, 32, 32))
    assert list(heard) == stages
    sizes = [out.shape[-1] for out in heard.values()]
    assert sizes == sorted(sizes, reverse=True)
    if name not in ("wrn_16_2", "MobileNetV2"):
        assert all((out >= 0).all() for out in heard.values())


@settings(max_examples=12)
@given(
    name=st.sampled_from(["wrn_16_1", "vgg8", "MobileNetV1", "MobileNetV2", "ShuffleNetV1", "ResNet18", "ResNet50"]),
    width=st.floats(0.001, 0.3),
)
def test_any_width_gives_a_network_that_answers(name: str, width: float) -> None:
    narrow = build(name, width=width)
    assert narrow(torch.rand(2, 3, 16, 16)).shape == (2, 10)
    assert parameter_count(narrow) < size(name, 10)


def test_the_half_width_is_mobilenet_v2s_own() -> None:
    assert size("MobileNetV2", 100, width=0.5) == size("MobileNetV2", 100)
    # SimKD (CVPR 2022) calls the full width MobileNetV2x2.
    assert size("MobileNetV2", 100, width=1.0) > 2 * size("MobileNetV2", 100)


@pytest.mark.parametrize("width", [0.5, 1, 1.5, 2])
def test_sizes_of_shufflenet_v2_differ_from_torchvisions_by_stem_alone(width: float) -> None:
    # torchvision's stem is 3x3, the CIFAR one's 1x1. RepDistiller took 224 for the first stage at 2; torchvision 244.
    if width == 2:
        assert build("ShuffleNetV2", width=2)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        return
    theirs = size(f"torchvision/shufflenet_v2_x{float(width)}".replace(".", "_"), 100)
    assert theirs - size("ShuffleNetV2", 100, width=width) == 24 * 3 * (9 - 1)


@given(groups=st.integers(1, 4), each=st.integers(1, 5), height=st.integers(1, 3))
def test_shuffling_deals_channels_out_as_torch_does(groups: int, each: int, height: int) -> None:
    features = torch.arange(2 * groups * each * height * 2, dtype=torch.float32).view(2, groups * each, height, 2)
    assert torch.equal(shuffled(features, groups), nn.ChannelShuffle(groups)(features))


def test_descriptions_name_every_model_and_its_size() -> None:
    descriptions = model_descriptions()
    assert sorted(descriptions) == model_names()
    for name, count in COUNTED.items():
        assert f"{count:,} parameters" in descriptions[name]
        assert "\n" not in descriptions[name] and len(descriptions[name]) < 100


def test_neither_torchvision_nor_timm_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, raykd.models.build as b; b.model_descriptions()\n"
        "print([name for name in ('torchvision', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv1_100", "resnet18.a1_in1k", "test_vit"])
def test_timm_by_name(name: str) -> None:
    network = build(f"timm/{name}", num_classes=7, in_channels=1).eval()
    side = 160 if name == "test_vit" else 32
    with torch.no_grad():
        assert network(torch.rand(2, 1, side, side)).shape == (2, 7)
    assert size(f"timm/{name}", 7) == parameter_count(timm.create_model(name, num_classes=7))


def test_timm_arguments_reach_the_model() -> None:
    assert build("timm/resnet18", drop_rate=0.25).drop_rate == 0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnt18", r"unknown timm model 'resnt18': did you mean 'resnet18'\?"),
        ("timm/resnet18.a1_in", r"unknown weights 'a1_in' in timm/resnet18: did you mean 'a1_in1k'\?"),
        ("timm/", r"unknown timm model ''"),
    ],
)
def test_wrong_timm_names(name: str, message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        build(name)


def test_timm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RaykdError, match=r"pip install 'raykd\[timm\]'"):
        build("timm/resnet18")
