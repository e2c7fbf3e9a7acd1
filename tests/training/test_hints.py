"""Students that learn from features, and with learned parts: these are trained, saved and resumed with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from raykd.config import TrainingSpec
from raykd.data import load_data
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import FeatureMethod
from raykd.models import build_model
from raykd.training.folder import WEIGHTS
from raykd.training.saved import load_model
from tests.helpers.specs import of, plain, request_for, same, spec, state, train

FEATURE_METHODS = [name for name, method in METHODS.items() if issubclass(method, FeatureMethod)]
LEARNED = {"fitnet", "crd", "reviewkd", "ctkd"}
"""Methods with learned parts, where student and teacher differ in width."""


def by(name: str, **sections: dict[str, Any]) -> TrainingSpec:
    """Settings of a training by a method, with weights for few images and small networks."""
    weight = {"fitnet": 1.0, "crd": 0.1, "reviewkd": 1.0, "at": 100.0, "sp": 100.0}.get(name)
    method = {"name": name, **({} if weight is None else {name: {"weight": weight}})}
    chosen: dict[str, dict[str, Any]] = {
        "method": method | sections.pop("method", {}),
        "objective": {"ce_weight": 1.0, "kd_weight": 0.5},
        "training": {"learning_rate": 0.02} | sections.pop("training", {}),
    }
    return spec(**(chosen | sections))


CLASS = {name: by(name) for name in [*FEATURE_METHODS, "ctkd", "kd"]}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """A student of every method trained alone."""
    folder = tmp_path_factory.mktemp("alone")
    for name, what in CLASS.items():
        assert train(request_for(what, folder / name, teacher))[-1].finished
    return folder


@pytest.mark.parametrize("name", [*FEATURE_METHODS, "ctkd"])
def test_a_student_of_any_method_learns_what_it_is_taught(tmp_path: Path, teacher: Path, name: str) -> None:
    training = {"epochs": 12, "batch_size": 10}
    reports = train(request_for(by(name, training=training), tmp_path / "student", teacher))
    first, last = reports[0].metrics, reports[-1].metrics
    part = "features" if name in FEATURE_METHODS else "cross_entropy"
    assert last[part] < 0.97 * first[part]
    assert last["train_accuracy"] > first["train_accuracy"] + 0.1
    assert last["kd_weight"] == 0.5


@pytest.mark.parametrize("name", [*FEATURE_METHODS, "ctkd"])
def test_learned_parts_are_in_the_checkpoint_and_not_in_the_model(alone: Path, name: str) -> None:
    assert bool(state(alone / name)["parts"]) == (name in LEARNED)
    network = build_model(spec().student, num_classes=10, in_channels=1).state_dict()
    assert safetensors.torch.load_file(alone / name / WEIGHTS).keys() == network.keys()
    assert state(alone / name)["network"].keys() == network.keys()
    assert load_model(alone / name).network.state_dict().keys() == network.keys()


@pytest.mark.parametrize("name", sorted(LEARNED))
def test_all_learned_parts_change_from_epoch_to_epoch(tmp_path: Path, teacher: Path, name: str) -> None:
    request = request_for(by(name), tmp_path / name, teacher)
    train(request, epochs=1)
    before = state(tmp_path / name)["parts"]
    train(request, epochs=1)
    after = state(tmp_path / name)["parts"]
    kept = {key for key in before if same(before[key], after[key])}
    assert {key for key in kept if not key.endswith("log_normalisers")} == set()
    groups = state(tmp_path / name)["optimizer"]["param_groups"]
    network = build_model(spec().student, num_classes=10, in_channels=1)
    assert sum(len(group["params"]) for group in groups) > len(list(network.parameters()))


@pytest.mark.parametrize("name", [*FEATURE_METHODS, "ctkd"])
def test_an_interrupted_student_becomes_the_same_as_an_uninterrupted(
    tmp_path: Path, teacher: Path, alone: Path, name: str
) -> None:
    request = request_for(CLASS[name], tmp_path / name, teacher)
    train(request, epochs=1)
    torch.manual_seed(99)
    assert train(request)[-1].finished
    assert same(state(tmp_path / name), state(alone / name))


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
def test_students_of_different_methods_learn_in_one_class_as_alone(
    tmp_path: Path, teacher: Path, alone: Path, order: int
) -> None:
    reports = train(*[request_for(CLASS[name], tmp_path / name, teacher) for name in list(CLASS)[::order]])
    assert {report.metrics["class_size"] for report in reports} == {len(CLASS)}
    for name in CLASS:
        assert same(state(tmp_path / name), state(alone / name)), name


def test_different_methods_give_different_students(alone: Path) -> None:
    weights = [load_model(alone / name).network.state_dict() for name in CLASS]
    assert not any(same(one, other) for number, one in enumerate(weights) for other in weights[:number])


@pytest.mark.parametrize("name", FEATURE_METHODS)
@pytest.mark.parametrize(
    "student",
    [
        {"name": "torchvision/mobilenet_v3_small"},
        {"name": "wrn_16_1"},
        {"name": "tests.helpers.networks:Plain", "arguments": {"side": 16}},
    ],
    ids=lambda student: student["name"],
)
def test_student_and_teacher_may_differ_in_layers_stages_and_widths(
    tmp_path: Path, teacher: Path, name: str, student: dict[str, Any]
) -> None:
    what = by(name, student=student, training={"epochs": 1}, data={"train_images": 50, "image_size": 16})
    (report,) = train(request_for(what, tmp_path / "student", teacher))
    assert report.failure is None
    assert report.finished


def test_layers_may_be_given_by_hand(tmp_path: Path, teacher: Path, alone: Path) -> None:
    defaults = {"student_layers": ["layer1", "layer2", "layer3"], "teacher_layers": ["layer1", "layer2", "layer3"]}
    others = {"student_layers": ["layer2", "layer3.0.conv1"], "teacher_layers": ["layer3", "layer1"]}
    single = {"student_layers": ["fc:input"], "teacher_layers": ["fc:input"]}
    requests = [
        request_for(by("at", method=defaults), tmp_path / "defaults", teacher),
        request_for(by("at", method=others), tmp_path / "others", teacher),
        request_for(by("fitnet", method=single), tmp_path / "single", teacher),
    ]
    reports = train(*requests)
    assert [of(reports, name)[-1].finished for name in ("defaults", "others", "single")] == [True] * 3
    network = {name: state(tmp_path / name)["network"] for name in ("defaults", "others")}
    assert same(network["defaults"], state(alone / "at")["network"])
    assert not same(network["others"], network["defaults"])
    parts = state(tmp_path / "single")["parts"]
    assert {tuple(tensor.shape) for tensor in parts.values()} == {(32, 16), (32,)}


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (
            {"student_layers": ["layr2"], "teacher_layers": ["layer2"]},
            "unknown hint layer 'layr2' in method.student_layers: did you mean 'layer2'?",
        ),
        (
            {"student_layers": ["layer2"], "teacher_layers": ["layer2.5"]},
            "unknown hint layer 'layer2.5' in method.teacher_layers: did you mean 'layer2",
        ),
        (
            {"student_layers": ["layer1", "layer2"]},
            "method fitnet compares 2 layers of the student with 1 of the teacher (layer1 - layer2, layer2 - ?): "
            "give as many method.student_layers as method.teacher_layers",
        ),
        (
            {"student_layers": ["layer2"], "teacher_layers": ["fc:input"]},
            "method fitnet: hints must both be feature maps (channels, height, width) or both vectors, not of shapes",
        ),
    ],
)
def test_wrong_layers_fail_the_student_with_one_line(
    tmp_path: Path, teacher: Path, alone: Path, method: dict[str, Any], reason: str
) -> None:
    wrong = request_for(by("fitnet", method=method), tmp_path / "wrong", teacher)
    reports = train(wrong, request_for(CLASS["sp"], tmp_path / "sp", teacher))
    (report,) = of(reports, "wrong")
    assert report.failure is not None
    assert report.failure.startswith(reason)
    assert "\n" not in report.failure
    assert not (tmp_path / "wrong").exists()
    assert same(state(tmp_path / "sp"), state(alone / "sp"))


def test_images_of_three_channels_give_hints_as_those_of_one_do(tmp_path: Path, teacher: Path) -> None:
    data = {"name": "tests.helpers.networks:coloured_digits", "train_images": 100, "validation_share": 0.2}
    coloured = request_for(plain(data=data, training={"epochs": 1}), tmp_path / "coloured")
    assert train(coloured)[-1].finished
    what = by("fitnet", data=data, training={"epochs": 1}, student={"name": "resnet14", "arguments": {"width": 0.5}})
    assert train(request_for(what, tmp_path / "student", tmp_path / "coloured"))[-1].finished
    (report,) = train(request_for(what, tmp_path / "misled", teacher))
    assert report.failure == (
        f"the teacher in {teacher} sees images of 1 channels, "
        "but those of tests.helpers.networks:coloured_digits have 3"
    )


def test_a_feature_method_needs_a_teacher(tmp_path: Path) -> None:
    (report,) = train(request_for(by("at"), tmp_path / "student"))
    assert report.failure == "method at needs a teacher"


def test_a_network_without_stages_says_which_settings_help(tmp_path: Path, teacher: Path) -> None:
    unseen = request_for(by("at", student={"name": "tests.helpers.networks:Flat"}), tmp_path / "flat", teacher)
    (report,) = train(unseen)
    assert "name layers in method.student_layers and method.teacher_layers" in (report.failure or "")


def test_the_memory_holds_one_embedding_for_each_training_image_seen(tmp_path: Path, teacher: Path) -> None:
    what = by("crd", training={"epochs": 1})
    train(request_for(what, tmp_path / "student", teacher))
    parts = {key.rpartition(".")[2]: value for key, value in state(tmp_path / "student")["parts"].items()}
    samples = len(load_data(what.data).split("train"))
    for name in ("student_memory", "teacher_memory"):
        assert parts[name].shape == (samples, 128)
        torch.testing.assert_close(parts[name].norm(dim=1), torch.ones(samples))
    assert parts["log_normalisers"].isfinite().all()


def test_a_feature_term_stands_beside_repaired_answers(tmp_path: Path, teacher: Path) -> None:
    ways = {"pair": {"form": "pair"}, "keep": {"form": "keep"}}
    reports = train(*[request_for(by("at", bias=bias), tmp_path / name, teacher) for name, bias in ways.items()])
    for name in ways:
        metrics = of(reports, name)[-1].metrics
        assert metrics["features"] > 0
        assert metrics["distillation"] > 0
    assert not same(state(tmp_path / "pair")["network"], state(tmp_path / "keep")["network"])


def test_labels_alone_teach_without_parts(tmp_path: Path) -> None:
    train(request_for(plain(), tmp_path / "plain"), epochs=1)
    assert state(tmp_path / "plain")["parts"] == {}


def test_a_learned_temperature_is_logged_where_it_stands(tmp_path: Path, teacher: Path) -> None:
    ctkd = {"name": "ctkd", "ctkd": {"lowest": 2.0, "span": 8.0, "curriculum_epochs": 0}}
    reports = train(request_for(spec(method=ctkd), tmp_path / "ctkd", teacher))
    told = [report.metrics["learned_temperature"] for report in reports]
    theta = state(tmp_path / "ctkd")["parts"]["0.theta"]
    assert told[-1] == pytest.approx(2 + 8 * theta.sigmoid().item())
    assert len(set(told)) == len(told)
