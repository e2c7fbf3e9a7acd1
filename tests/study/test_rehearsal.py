"""Impossible experiments are refused before a cluster is joined or a folder made; possible ones are not."""

from __future__ import annotations

from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from raykd.config import Experiment, MethodSettings
from raykd.data import DataInfo, load_data
from raykd.errors import RaykdError
from raykd.search.space_file import load_space
from raykd.settings_io import override
from raykd.study.distill import distill
from raykd.study.preflight import preflight, rehearse
from raykd.study.tune import tune

HERE = __name__


class Flat(nn.Module):
    """No convolutions, so no feature maps."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.head = nn.Linear(64 * in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


class Looking(Flat):
    """Looks at a value, which there is none of without memory."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1.0 if images.mean().item() < 9 else 2.0)


class Verbose(Flat):
    """Answers with more than logits."""

    def forward(self, images: Tensor) -> Tensor:
        return {"logits": super().forward(images)}


def too_wide(num_classes: int, in_channels: int) -> nn.Module:
    """A network of one class too many."""
    return Flat(num_classes + 1, in_channels)


def powered(student: Tensor, teacher: Tensor, labels: Tensor, power: float) -> Tensor:
    return (student - teacher).abs().pow(power).mean(1)


def experiment(folder: Path, changes: dict[str, Any]) -> Experiment:
    """300 digits and small networks, and a cluster that nobody could join or fit into."""
    small = {
        "data.train_images": 300,
        "teacher.model.name": "resnet8",
        "teacher.cache": folder / "cache",
        "student.name": "resnet8",
        "student.arguments": {"width": 0.25},
        "study.output": folder / "outputs",
        "cluster.address": "127.0.0.1:1",
        "cluster.workers": 2,
        "cluster.cpus_per_worker": 1000.0,
    }
    return override(Experiment(), small | changes)


def space(folder: Path, text: str = "temperature.multiplier: {low: 0.5, high: 4.0}") -> str:
    file = folder / "space.yaml"
    file.write_text(text)
    return str(file)


ALEXNET = "torchvision/alexnet"
IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown layer": ({"method.name": "fitnet", "method.student_layers": ("layer9",)}, "did you mean 'layer[123]'"),
    "unknown layer of the teacher": ({"method.name": "fitnet", "method.teacher_layers": ("conv9",)}, "teacher_layers"),
    "other counts": (
        {"method.name": "at", "method.student_layers": ("layer1", "layer2"), "method.teacher_layers": ("layer1",)},
        "2 layers of the student with 1 of the teacher",
    ),
    "flat student": (
        {"method.name": "at", "student.name": f"{HERE}:Flat", "student.arguments": {}},
        "no convolutional",
    ),
    "flat teacher": ({"method.name": "fitnet", "teacher.model.name": f"{HERE}:Flat"}, "no convolutional stages"),
    "missing method": ({"method.name": f"{HERE}:absent"}, "absent"),
    "missing module": ({"method.name": "absent_package:loss"}, "absent_package"),
    "missing argument": ({"method.name": f"{HERE}:powered"}, "missing a required argument: 'power'"),
    "other argument": ({"method.name": f"{HERE}:powered", "method.arguments": {"powre": 2}}, "powre|'power'"),
    "no method": ({"method.name": f"{HERE}:Flat"}, "a class that is no Method"),
    "missing method beside": ({"method.name": "at", "method.beside": f"{HERE}:absent"}, "absent"),
    "small images": ({"student.name": ALEXNET, "student.arguments": {}}, "student torchvision/alexnet: does not take"),
    "small images of the teacher": (
        {"teacher.model.name": ALEXNET},
        "teacher.model torchvision/alexnet: does not take",
    ),
    "other classes": (
        {"student.name": f"{HERE}:too_wide", "student.arguments": {}},
        r"answers with shape \(2, 11\) where \(2, 10\) are logits of the 10 classes of digits",
    ),
    "no tensor": ({"student.name": f"{HERE}:Verbose", "student.arguments": {}}, "answers with a dict"),
    "unused layers": (
        {"student.name": "tests.helpers.networks:Unused", "student.arguments": {}},
        "^student tests.helpers.networks:Unused: its answers do not depend on scale, spare, which several workers",
    ),
    "unused layers of the teacher": (
        {"teacher.model.name": "tests.helpers.networks:Unused"},
        "^teacher.model tests.helpers.networks:Unused: its answers do not depend on scale, spare",
    ),
    "fewer images than workers": ({"training.batch_size": 1}, "a batch of 1 images cannot be shared by 2 workers"),
    "missing weights": ({"student.weights": "absent.pt"}, "absent.pt: no such file"),
    "missing teacher": ({"teacher.source": "absent.pt"}, "^teacher.source absent.pt: no such file"),
}


@pytest.mark.parametrize("launch", [tune, distill])
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_the_impossible_is_refused_before_anything_starts(launch: Any, what: str, tmp_path: Path) -> None:
    changes, message = IMPOSSIBLE[what]
    impossible = experiment(tmp_path, {"study.space": space(tmp_path)} | changes)
    shown = StringIO()
    with pytest.raises(RaykdError, match=message) as refused:
        launch(impossible, Console(file=shown))
    assert str(refused.value).count("\n") <= 1
    assert not impossible.study.output.exists()
    assert not impossible.teacher.cache.exists()
    assert shown.getvalue() == ""


@pytest.mark.parametrize("form", ["pair", "one_hot"])
def test_logits_at_minus_infinity_cannot_be_compared(form: str, tmp_path: Path) -> None:
    changes = {"method.name": "mse", "bias.form": form, "bias.strength": 1.0}
    with pytest.raises(RaykdError, match=r"bias\.strength 1"):
        experiment(tmp_path, changes)
    text = "method.name: {choices: [kd, mse]}"
    strong = experiment(tmp_path, changes | {"method.name": "kd", "study.space": space(tmp_path, text)})
    with pytest.raises(RaykdError, match=r"bias\.strength 1"):
        tune(strong, Console(file=StringIO()))
    assert not strong.study.output.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method.name: {choices: [kd, dkd, 'HERE:absent']}", r"space.yaml: method.name HERE:absent: .*absent"),
        ("method.name: {choices: [kd, 'HERE:powered']}", r"space.yaml: method.name HERE:powered: .*'power'"),
        (
            "student.name: {choices: [resnet8, 'HERE:Flat']}\nmethod.name: {choices: [kd, at]}",
            r"space.yaml: student.name HERE:Flat, method.name at: .*no convolutional stages",
        ),
        (
            "method.name: {choices: [kd, at]}\nmethod.beside: {choices: [kd, 'HERE:absent'], when: {method.name: at}}",
            r"space.yaml: method.name at, method.beside HERE:absent: ",
        ),
        ("teacher.model.name: {choices: [resnet8, torchvision/alexnet]}", r"teacher.model torchvision/alexnet: does"),
        (
            "data.mixup: {low: 0.0, high: 0.4}\nmethod.name: {choices: [kd, crd]}",
            r"method crd needs images of one label, and data.mixup 0.4 mixes two.*\n?.*space.yaml",
        ),
    ],
)
def test_one_impossible_choice_is_enough(text: str, message: str, tmp_path: Path) -> None:
    file = space(tmp_path, text.replace("HERE", HERE))
    impossible = experiment(tmp_path, {"study.space": file, "student.arguments": {}})
    with pytest.raises(RaykdError, match=message.replace("HERE", HERE)) as refused:
        tune(impossible, Console(file=StringIO()))
    assert str(refused.value).count("\n") <= 1
    assert not impossible.study.output.exists()


@pytest.mark.parametrize(
    "text",
    [
        "method.name: {choices: [kd, dkd, at, fitnet, sp, rkd, crd, reviewkd, ctkd, cross_entropy]}",
        "student.name: {choices: ['HERE:Flat', resnet8]}\n"
        "method.arguments.power: {low: 1.0, high: 3.0, when: {student.name: 'HERE:Flat'}}\n"
        "method.name: {choices: [kd, at], when: {student.name: resnet8}}",
        "method.name: {choices: [kd, 'HERE:powered']}\n"
        "method.arguments.power: {low: 1.0, high: 3.0, when: {method.name: 'HERE:powered'}}",
        "method.arguments.power: {low: 1.0, high: 3.0}\nteacher.kind: {choices: [standard, generous]}",
        "method.name: {choices: [kd, crd]}\ndata.cutmix: {low: 0.0, high: 1.0, when: {method.name: kd}}",
    ],
)
def test_possible_spaces_pass(text: str, tmp_path: Path) -> None:
    possible = experiment(tmp_path, {"student.arguments": {}, "method.name": f"{HERE}:powered"})
    loaded = load_space(space(tmp_path, text.replace("HERE", HERE)), possible)
    rehearse(possible, load_data(possible.data).info, loaded)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method.name": "at", "method.student_layers": ("layer1",), "method.teacher_layers": ("layer3",)},
        {"method.name": f"{HERE}:powered", "method.arguments": {"power": 2}},
        {"method.name": "kd", "student.name": f"{HERE}:Flat", "student.arguments": {}},
        {"student.name": f"{HERE}:Looking", "student.arguments": {}, "teacher.model.name": f"{HERE}:Looking"},
        # Whoever has no teacher may leave it impossible.
        {"method.name": "cross_entropy", "teacher.model.name": ALEXNET},
        {"method.name": "label_smoothing", "teacher.source": "absent.pt"},
        {"teacher.kind": "generous"},
    ],
)
def test_the_possible_passes_and_leaves_random_numbers_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    possible = experiment(tmp_path, changes)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    rehearse(possible, load_data(possible.data).info)
    assert torch.equal(torch.rand(3), expected)


def test_networks_of_imagenet_s_size_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The student's and the teacher's 37 million numbers: none of them is made."""
    large = experiment(
        tmp_path,
        {
            "teacher.model.name": "torchvision/resnet50",
            "student.name": "torchvision/resnet18",
            "student.arguments": {},
            "method.name": "fitnet",
        },
    )
    names = tuple(map(str, range(1000)))
    info = DataInfo("imagenet", 1000, names, 3, 224, 224, (0.5,) * 3, (0.5,) * 3, {"train": 1281167}, "x", 0, 0, True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        rehearse(large, info)
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    # FitNet's projection, of 256 by 1024 channels at the most, is real.
    assert allocated < 40e6


@pytest.mark.parametrize(
    ("kind", "extra", "message"),
    [
        ("standard", "", r"teacher.training.epochs cannot be searched: teacher.source is taken as it is"),
        ("generous", "", None),
        ("standard", "teacher.kind: {choices: [standard, generous]}", None),
    ],
)
def test_nobody_searches_how_an_adopted_teacher_is_trained(
    kind: str, extra: str, message: str | None, tmp_path: Path
) -> None:
    torch.save(Flat(10, 1).state_dict(), tmp_path / "flat.pt")
    changes = {"teacher.model.name": f"{HERE}:Flat", "teacher.source": str(tmp_path / "flat.pt"), "teacher.kind": kind}
    file = space(tmp_path, f"{extra}\nteacher.training.epochs: {{low: 1, high: 3}}")
    searched = preflight(experiment(tmp_path, changes), ("teacher", "student"))
    loaded = load_space(file, searched.experiment)
    with nullcontext() if message is None else pytest.raises(RaykdError, match=message):
        rehearse(searched.experiment, searched.data, loaded)


def test_the_arguments_of_a_users_own_method_can_be_searched_beside_built_in_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_gap.py").write_text(
        "def gap(student, teacher, labels, power=2.0):\n    return (student - teacher).abs().pow(power).sum(1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "space.yaml"
    file.write_text(
        "method.name: {choices: [kd, 'own_gap:gap']}\n"
        "method.arguments.power: {low: 1.0, high: 3.0, when: {method.name: 'own_gap:gap'}}\n"
    )
    experiment = Experiment()
    rehearse(experiment, load_data(experiment.data).info, load_space(str(file), experiment))
    given = Experiment(method=MethodSettings(name="kd", arguments={"power": 2.0}))
    with pytest.raises(RaykdError, match="arguments are for methods by import path"):
        rehearse(given, load_data(experiment.data).info)


def moody(num_classes: int) -> nn.Module:
    raise ValueError("no network today\nnor tomorrow")


def test_a_builder_that_raises_is_told_in_a_line():
    student = {"name": "tests.study.test_rehearsal:moody"}
    with pytest.raises(
        RaykdError, match=r"^model tests.study.test_rehearsal:moody cannot be built: no network today nor tomorrow$"
    ):
        preflight(Experiment(student=student), ("student",))
