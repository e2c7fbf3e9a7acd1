"""Vision transformers as students and teachers, and the distillation token of those that have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from torch import nn
from torch.nn import functional as F

from raykd.config import TrainingSpec
from raykd.data import Batch, load_data
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.training.distillation_token import find_token_heads
from raykd.training.folder import description
from raykd.training.hint_layers import find_hint_layers
from raykd.training.saved import load_model
from raykd.training.student import Student
from raykd.training.teacher import Knowledge
from raykd.training.team import Team
from raykd.training.used_layers import check_all_used
from tests.helpers.specs import assert_close, of, request_for, spec, train

SMALL = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
VIT = {"name": "timm/vit_tiny_patch16_224", "arguments": SMALL}
DEIT = {"name": "timm/deit_tiny_distilled_patch16_224", "arguments": SMALL}
TRAINING = {"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.05, "gradient_clip": 1.0}


def settings(**sections: Any) -> TrainingSpec:
    """Of a small transformer in training."""
    training = {**TRAINING, **sections.pop("training", {})}
    return spec(**{"student": DEIT, "bias": {"form": "keep"}, **sections, "training": training})


def network_of(what: TrainingSpec) -> nn.Module:
    torch.manual_seed(0)
    return build_model(what.student, num_classes=10, in_channels=1)


@pytest.mark.parametrize("method", ["kd", "hard"])
def test_labels_are_learned_by_one_head_and_the_teacher_by_the_other(tmp_path: Path, method: str) -> None:
    what = settings(method={"name": method}, temperature={"policy": "constant", "value": 3.0})
    student = Student(request_for(what, tmp_path / "student", "teacher"), load_data(what.data), Team(), None)
    network = student.network.train()
    assert isinstance(network, VisionTransformerDistilled)
    numbers = torch.Generator().manual_seed(1)
    images, labels = torch.randn(6, 1, 8, 8, generator=numbers), torch.arange(6)
    teacher = torch.randn(6, 10, generator=numbers) * 3

    network.set_distilled_training(True)
    of_labels, of_teacher = network(images)
    network.set_distilled_training(False)
    cross_entropy = F.cross_entropy(of_labels, labels)
    distillation = F.cross_entropy(of_teacher, teacher.argmax(1))
    if method == "kd":
        tempered = F.log_softmax(of_teacher / 3, 1), F.log_softmax(teacher / 3, 1)
        distillation = 9 * F.kl_div(*tempered, reduction="batchmean", log_target=True)
    (0.5 * cross_entropy + 0.5 * distillation).backward()
    expected = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()

    losses: list[Any] = []
    student.end_step = lambda each, *_: losses.append(each)  # type: ignore[method-assign]
    student.learn(0, Batch(images, images, labels, labels), Knowledge(teacher, {}))
    torch.testing.assert_close(losses[0].parts["cross_entropy"], cross_entropy.detach())
    torch.testing.assert_close(losses[0].parts["distillation"], distillation.detach())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


def test_only_students_that_learn_from_a_teachers_answers_use_the_token() -> None:
    distilled, usual = network_of(settings()), network_of(settings(student=VIT))
    taught = settings(method={"name": "kd"})
    heads = find_token_heads(taught, distilled)
    assert heads is not None and heads.layers == ("head", "head_dist")
    assert find_token_heads(settings(method={"name": "crd"}), distilled) == heads  # beside its method of features
    assert find_token_heads(taught, usual) is None
    assert find_token_heads(taught.without_teacher(), distilled) is None
    no_answers = settings(method={"name": "crd"}, objective={"ce_weight": 1.0, "kd_weight": 0.0})
    assert find_token_heads(no_answers, distilled) is None
    check_all_used(distilled, heads.layers, load_data(taught.data).info, "student")


@pytest.mark.parametrize("method", ["hard", "crd"])
def test_transformers_learn_alone_as_in_a_stack(tmp_path: Path, teacher: Path, method: str) -> None:
    changes: dict[str, Any] = {"method": {"name": method}, "objective": {"ce_weight": 0.5, "kd_weight": 0.5}}
    specs = {seed: settings(**changes, training={"seed": seed, "ema": 0.8}) for seed in range(2)}
    stacked = {
        seed: what.model_copy(update={"training": what.training.model_copy(update={"stacking": "on"})})
        for seed, what in specs.items()
    }
    reports = train(*(request_for(what, tmp_path / "stacked" / f"{seed}", teacher) for seed, what in stacked.items()))
    for seed, what in specs.items():
        alone = train(request_for(what, tmp_path / f"{seed}", teacher))
        assert of(reports, f"{seed}")[-1].metrics["stack_size"] == 2
        assert alone[-1].finished
        assert_close(tmp_path / "stacked" / f"{seed}", tmp_path / f"{seed}", 1e-3)
    # The finished model answers with both heads, as timm does.
    model, validation = load_model(tmp_path / "0"), load_data(specs[0].data).split("validation")
    assert isinstance(model.network, VisionTransformerDistilled) and not model.network.distilled_training
    right = model.predict(validation.images.float() / 255) == validation.labels
    found = description(tmp_path / "0")
    assert found is not None
    assert found["metrics"]["validation_accuracy"] == pytest.approx(right.double().mean().item())


def test_a_transformer_teaches_and_its_embedding_is_a_hint(tmp_path: Path) -> None:
    teacher = settings(student=VIT, training={"epochs": 1}).without_teacher()
    assert train(request_for(teacher, tmp_path / "teacher"))[-1].finished
    one = spec(method={"name": "rkd"}, training={"epochs": 1})
    assert train(request_for(one, tmp_path / "student", tmp_path / "teacher"))[-1].finished


def test_a_transformer_has_no_stages_and_its_blocks_are_named() -> None:
    what = settings(student=VIT, method={"name": "sp"})
    data = load_data(what.data)
    networks = network_of(what), network_of(what)
    labels = torch.arange(10).repeat(2)
    with pytest.raises(RaykdError, match=r"no convolutional stages.*: name layers in method.student_layers"):
        find_hint_layers(what, *networks, data.info, labels)
    blocks = {"student_layers": ("blocks.0", "blocks.1"), "teacher_layers": ("blocks.0", "blocks.1")}
    named = settings(student=VIT, method={"name": "sp", **blocks})
    layers = find_hint_layers(named, *networks, data.info, labels)
    assert layers is not None and layers.shapes.student == ((5, 16), (5, 16))
