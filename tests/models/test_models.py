"""Models: published sizes, any image, and helpful errors for every wrong name or builder."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.models import Classifier, build_model, model_names, parameter_count
from raykd.models.torchvision_models import adapt_first_convolution

PUBLISHED = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
}
WriteModule = Callable[[str], str]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Write a module into the current folder; returns its name, new each time."""
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)

    def write(content: str) -> str:
        name = f"module_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(content)
        return name

    yield write
    sys.path[:] = path


def build(name: str, num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> Any:
    return build_model(ModelSettings(name=name, arguments=arguments), num_classes=num_classes, in_channels=in_channels)


def test_published_parameter_counts() -> None:
    assert set(PUBLISHED) <= set(model_names())
    assert {name: parameter_count(build(name, num_classes=100)) for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (33, 20)])
def test_resnets_take_any_image(in_channels: int, size: tuple[int, int]) -> None:
    for name in ("resnet8", "resnet8x4"):
        assert build(name, in_channels=in_channels)(torch.rand(2, in_channels, *size)).shape == (2, 10)


def test_width_scales_channels_down_to_four() -> None:
    half = build("resnet20", width=0.5)
    assert half.fc.in_features == 32
    assert 0.2 < parameter_count(half) / parameter_count(build("resnet20")) < 0.3
    assert build("resnet20", width=0.01).fc.in_features == 4


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), "half"])
def test_impossible_width(width: Any) -> None:
    with pytest.raises(RaykdError, match="width must be a positive number"):
        build("resnet8", width=width)


def test_resnets_have_the_layers_of_the_published_weights() -> None:
    names = set(build("resnet8x4").state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer3.0.downsample.1.bias"} <= names
    assert {"layer2.0.conv2.weight", "fc.weight", "fc.bias"} <= names
    assert not any(name.startswith("layer1.0.downsample") for name in build("resnet20").state_dict())


def test_convolutions_start_as_kaiming_fan_out() -> None:
    torch.manual_seed(0)
    weight = build("resnet32x4").layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_the_global_seed_decides_the_weights() -> None:
    def weights() -> torch.Tensor:
        torch.manual_seed(3)
        return nn.utils.parameters_to_vector(build("resnet8").parameters())

    assert torch.equal(weights(), weights())


@pytest.mark.parametrize("in_channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_0", "shufflenet_v2_x0_5"])
def test_torchvision_models(name: str, in_channels: int) -> None:
    network = build(f"torchvision/{name}", num_classes=7, in_channels=in_channels).eval()
    assert network(torch.rand(2, in_channels, 64, 64)).shape == (2, 7)


def test_torchvision_arguments_reach_the_model() -> None:
    assert build("torchvision/mobilenet_v2", width_mult=0.5).features[0][0].out_channels == 16


def test_torchvision_googlenet_answers_with_logits_alone() -> None:
    assert build("torchvision/googlenet", init_weights=False)(torch.rand(2, 3, 64, 64)).shape == (2, 10)


def test_a_torchvision_transformer_for_grey_images() -> None:
    network = build("torchvision/vit_b_16", in_channels=1, image_size=32)
    assert network(torch.rand(1, 1, 32, 32)).shape == (1, 10)


def test_a_network_without_a_convolution_to_adapt() -> None:
    with pytest.raises(RaykdError, match=r"no convolution for 3-channel images to adapt to 1 channels.*builder"):
        adapt_first_convolution(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), 1, "mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt20", r"unknown model 'resnt20': did you mean 'resnet20'\?"),
        ("torchvision/resnet17", r"unknown torchvision model 'resnet17': did you mean 'resnet1"),
        ("torchvison/resnet18", r"did you mean 'torchvision/NAME'\?"),
        ("tim/resnet18", r"unknown model 'tim/resnet18': did you mean 'timm/NAME'\?$"),
        ("resnet50", r"did you mean 'ResNet50'\?"),
        ("WRN_16_2", r"did you mean 'wrn_16_2'\?"),
        ("zzz", r"unknown model 'zzz': known: MobileNetV1, .* and \d+ more\.$"),
        (
            "no_such_module:build",
            r"model 'no_such_module:build': no module named 'no_such_module': run from the folder",
        ),
        ("a-b:build", r"looks like `package.module:function`"),
        (":build", r"looks like `package.module:function`"),
        ("torch:", r"looks like `package.module:function`"),
        ("torch:Tensr", r"unknown name 'Tensr' in torch .*did you mean 'Tensor'\?"),
        ("math:pi", r"model 'math:pi': float is not a function"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        build(name)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet8", {"widht": 2}, r"model 'resnet8': .*'widht'; its arguments: width=1.0$"),
        ("resnet8", {"num_classes": 2}, r"num_classes are set by the data"),
        ("torchvision/resnet18", {"widht": 2}, r"torchvision/resnet18 refuses the arguments .*'widht'"),
        ("torchvision/vit_b_16", {"weights": "DEFAULT"}, r"refuses the arguments .*weights"),
        ("timm/resnet18", {"widht": 2}, r"timm/resnet18 refuses the arguments .*'widht'"),
        ("ShuffleNetV2", {"width": 0.7}, r"width of ShuffleNetV2 must be one of 0.5, 1.0, 1.5, 2.0, not 0.7"),
    ],
)
def test_wrong_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RaykdError, match=message):
        build_model(ModelSettings(name=name, arguments=arguments), num_classes=10, in_channels=3)


def test_a_builder_by_import_path(write_module: WriteModule) -> None:
    module = write_module(
        "from torch import nn\n"
        "def plain(num_classes, hidden=4):\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
        "def grey(*, num_classes, in_channels):\n    return nn.Conv2d(in_channels, num_classes, 1)\n"
        "class Net(nn.Conv2d):\n    def __init__(self, **named):\n"
        "        super().__init__(named['in_channels'], named['num_classes'], named['size'])\n"
        "def wrong(num_classes):\n    return 'a network'\n"
        "def classless():\n    return nn.Identity()\n"
    )
    assert build(f"{module}:plain")(torch.rand(2, 3, 4, 4)).shape == (2, 10)
    assert build(f"{module}:grey", in_channels=1)(torch.rand(2, 1, 4, 4)).shape == (2, 10, 4, 4)
    assert build(f"{module}:Net", size=3)(torch.rand(2, 3, 3, 3)).shape == (2, 10, 1, 1)
    with pytest.raises(RaykdError, match=r"'depth'; its arguments: hidden=4$"):
        build(f"{module}:plain", depth=3)
    with pytest.raises(RaykdError, match=r"must return a torch.nn.Module, not str"):
        build(f"{module}:wrong")
    with pytest.raises(RaykdError, match=r"'num_classes'; its arguments: none$"):
        build(f"{module}:classless")
    with pytest.raises(RaykdError, match=r"unknown name 'gray' in module_.*did you mean 'grey'\?"):
        build(f"{module}:gray")


def test_modules_that_cannot_be_imported(write_module: WriteModule) -> None:
    with pytest.raises(RaykdError, match=r"needs the module 'no_such_dependency': install it"):
        build(write_module("import no_such_dependency") + ":build")
    with pytest.raises(RaykdError, match=r"importing module_\w+ failed: SyntaxError"):
        build(write_module("def build(:") + ":build")


def test_errors_inside_a_builder_keep_their_traceback(write_module: WriteModule) -> None:
    module = write_module("def build(num_classes):\n    raise TypeError('mine')\n")
    with pytest.raises(TypeError, match="mine"):
        build(f"{module}:build")


def test_classifier_normalises_and_names() -> None:
    linear = nn.Linear(3, 2, bias=False)
    nn.init.constant_(linear.weight[0], 1.0)
    nn.init.constant_(linear.weight[1], -1.0)
    network = nn.Sequential(nn.Flatten(), linear)
    classifier = Classifier(network, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5), class_names=["light", "dark"]).eval()
    images = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert classifier(images).tolist() == [[4.0, -4.0], [-4.0, 4.0]]
    assert classifier.predict(images).tolist() == [0, 1]
    assert classifier.class_names == ("light", "dark")
    assert {"mean", "std"} <= set(classifier.state_dict())


def test_classifier_exports() -> None:
    classifier = Classifier(build("resnet8", in_channels=1), (0.3,), (0.4,), tuple("0123456789")).eval()
    images = torch.rand(2, 1, 8, 8)
    exported = torch.export.export(classifier, (images,)).module()
    torch.testing.assert_close(exported(images), classifier(images))
