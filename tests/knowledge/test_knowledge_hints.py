"""Hints of any model: which layers are found, what is captured of them, and that nothing stays behind."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.knowledge import captured, embedding_layer, hint_shapes, stage_layers
from raykd.knowledge.hints import default_layers
from raykd.models import build_model

SMALL = (3, 32, 32)


def torchvision_model(name: str) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(name, num_classes=10)
    return network


def zoo(name: str) -> nn.Module:
    return build_model(ModelSettings(name=name), num_classes=10, in_channels=3)


class Own(nn.Module):
    """A network of the user's own: one activation for all stages, some of it in place, a branch and an idle layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.third, self.fourth = nn.Conv2d(4, 6, 3, 2, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.pair = nn.Identity()
        self.idle = nn.Linear(6, 6)
        self.head = nn.Linear(6, 10)

    def forward(self, images):
        features = self.activation(self.second(self.activation(self.first(images))))
        features = self.activation(self.norm(self.fourth(self.activation(self.third(features)))))
        self.pair((features, features))
        return self.head(input=self.dropout(features.mean((2, 3))))


class Wrapped(nn.Module):
    """A backbone within a network."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        backbone.fc = nn.Identity()
        self.backbone, self.head = backbone, nn.Linear(64, 10)

    def forward(self, images):
        return self.head(self.backbone(images))


@pytest.mark.parametrize(
    ("network", "image", "stages", "embedding"),
    [
        (lambda: zoo("resnet20"), (3, 32, 32), ("layer1", "layer2", "layer3"), "fc:input"),
        (lambda: zoo("resnet8x4"), (3, 24, 40), ("layer1", "layer2", "layer3"), "fc:input"),
        (lambda: zoo("vgg8"), SMALL, ("block1", "block2", "block4"), "classifier:input"),
        (lambda: zoo("ShuffleNetV1"), SMALL, ("layer1", "layer2", "layer3"), "linear:input"),
        (lambda: torchvision_model("resnet18"), (3, 64, 64), ("layer1", "layer2", "layer3", "layer4"), "fc:input"),
        (lambda: torchvision_model("resnet50"), (3, 64, 64), ("layer1", "layer2", "layer3", "layer4"), "fc:input"),
        (
            lambda: torchvision_model("vgg11"),
            (3, 64, 64),
            ("features.4", "features.9", "features.14", "features.19"),
            "classifier.6:input",
        ),
        (
            lambda: torchvision_model("mobilenet_v3_small"),
            (3, 64, 64),
            ("features.1", "features.3", "features.8", "features"),
            "classifier.3:input",
        ),
        (Own, SMALL, ("second", "norm"), "head:input"),
        (
            lambda: Wrapped(zoo("resnet8")),
            SMALL,
            ("backbone.layer1", "backbone.layer2", "backbone.layer3"),
            "head:input",
        ),
    ],
)
def test_stages_and_embedding_are_found(network, image, stages, embedding):
    built = network()
    assert stage_layers(built, image) == stages
    assert embedding_layer(built, image) == embedding
    assert default_layers(built, "stages", image) == stages
    assert default_layers(built, "stages and embedding", image) == (*stages, embedding)
    assert default_layers(built, "embedding", image) == (embedding,)
    assert default_layers(built, "last", image) == stages[-1:]
    assert default_layers(built, "middle", image) == (stages[(len(stages) - 1) // 2],)
    shapes = hint_shapes(built, (*stages, embedding), image)
    areas = [shape[1] * shape[2] for shape in shapes[:-1]]
    assert areas == sorted(set(areas), reverse=True)
    assert len(shapes[-1]) == 1


def test_a_vision_transformer_has_no_stages_but_layers_that_can_be_named():
    network = torchvision.models.VisionTransformer(16, 8, 2, 2, 12, 24, num_classes=10)
    with pytest.raises(RaykdError, match=r"no convolutional stages .*name layers in method.student_layers"):
        stage_layers(network, (3, 16, 16))
    assert embedding_layer(network, (3, 16, 16)) == "heads.head:input"
    layers = ("encoder.layers.encoder_layer_0", "heads.head:input", "conv_proj")
    assert hint_shapes(network, layers, (3, 16, 16)) == ((5, 12), (12,), (12, 2, 2))


def test_a_network_without_a_linear_head_says_so():
    convolutional = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    squeezed = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Unflatten(1, (5, 1)), nn.Conv1d(5, 4, 1), nn.Flatten())
    for network, image in ((convolutional, SMALL), (squeezed, (3, 2, 2))):
        with pytest.raises(RaykdError, match=r"no linear head .*name layers in"):
            embedding_layer(network, image)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("layr2", "unknown hint layer 'layr2' in method.student_layers: did you mean 'layer2'?"),
        ("layer2.1.cov1:input", "unknown hint layer 'layer2.1.cov1' in method.student_layers: did you mean 'layer2."),
        ("", "unknown hint layer '' in method.student_layers: known: "),
    ],
)
def test_an_unknown_layer_gives_the_nearest_name(layer, reason):
    with pytest.raises(RaykdError) as caught:
        hint_shapes(zoo("resnet20"), (layer,), SMALL, "method.student_layers")
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("idle", "hint layer 'idle' in here is never used by the network: name another layer"),
        ("pair", "hint layer 'pair' in here gives a tuple, not a tensor"),
    ],
)
def test_a_layer_without_features_is_refused(layer, reason):
    with pytest.raises(RaykdError) as caught:
        hint_shapes(Own(), (layer,), SMALL, "here")
    assert str(caught.value) == reason


def test_features_that_are_not_of_each_image_are_refused():
    network = nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 12)), nn.Linear(12, 4))
    assert hint_shapes(network, ("1",), (3, 2, 2)) == ((12,),)
    with pytest.raises(RaykdError, match=r"'0' gives \[24\] for 2 images, not features of each"):
        hint_shapes(network, ("0",), (3, 2, 2))


def test_what_enters_and_what_leaves_a_layer_is_captured():
    network = zoo("resnet20")
    images = torch.randn(4, *SMALL)
    with captured(network, ("layer3", "fc:input", "fc", "layer3")) as features:
        logits = network(images)
    assert set(features) == {"layer3", "fc:input", "fc"}
    assert torch.equal(features["fc"], logits)
    torch.testing.assert_close(features["fc:input"], features["layer3"].mean((2, 3)))
    features["fc:input"].sum().backward()
    assert network.conv1.weight.grad.abs().max() > 0


def test_the_last_call_of_a_layer_counts():
    network = Own().eval()
    with captured(network, ("activation", "head:input")) as features:
        network(torch.randn(2, *SMALL))
    assert features["activation"].shape == (2, 6, 16, 16)
    torch.testing.assert_close(features["head:input"], features["activation"].mean((2, 3)))


@pytest.mark.parametrize("layer", ["fourth", "norm", "activation:input"])
def test_an_activation_in_place_does_not_reach_what_was_captured(layer):
    network = Own().eval()
    images = torch.randn(2, *SMALL)
    with captured(network, (layer, "activation")) as features:
        network(images)
    assert (features[layer] < 0).any()
    assert not (features["activation"] < 0).any()
    features[layer].square().sum().backward()
    assert network.fourth.weight.grad.isfinite().all()


def test_a_layer_may_be_named_by_any_of_its_names():
    network = Own()
    network.alias = network.fourth
    assert hint_shapes(network, ("alias", "fourth"), SMALL) == ((6, 16, 16),) * 2


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_hooks_are_removed_whatever_happens():
    network = Own()
    stage_layers(network, SMALL)
    embedding_layer(network, SMALL)
    hint_shapes(network, ("fourth", "head:input"), SMALL)
    for layers, image in ((("fourth", "nowhere"), SMALL), (("pair",), SMALL), (("fourth",), (5, 32, 32))):
        with pytest.raises((RaykdError, RuntimeError)):
            hint_shapes(network, layers, image)
    for probe in (stage_layers, embedding_layer):
        with pytest.raises(RuntimeError):
            probe(network, (5, 32, 32))
    assert hooks(network) == 0
    with captured(network, ("fourth", "head:input")):
        assert hooks(network) == 2
    assert hooks(network) == 0


def test_probing_leaves_no_trace():
    network = Own().train()
    network.norm.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random_state = torch.get_rng_state()
    stage_layers(network, SMALL)
    embedding_layer(network, SMALL)
    hint_shapes(network, ("fourth",), SMALL)
    with pytest.raises(RuntimeError):
        stage_layers(network, (5, 32, 32))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert {name for name, module in network.named_modules() if not module.training} == {"norm"}
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(parameter.grad is not None for parameter in network.parameters())


def test_hints_keep_the_precision_of_the_forward_pass():
    network = zoo("resnet20")
    with torch.autocast("cpu", torch.bfloat16), captured(network, ("layer1", "fc")) as features:
        network(torch.randn(2, *SMALL))
    assert features["fc"].dtype == torch.bfloat16
