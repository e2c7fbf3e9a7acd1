"""Networks are rehearsed as they are used: in evaluation and in training mode, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from raykd.config import Experiment, ModelSettings
from raykd.data import DataInfo, load_data
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.search.space_file import load_space
from raykd.settings_io import override
from raykd.study.distill import distill, train_teacher
from raykd.study.preflight import preflight, rehearse, rehearse_teacher
from raykd.training.network_checks import check_training
from raykd.training.used_layers import check_all_used

HERE = __name__


class Pair(NamedTuple):
    """As torchvision's networks with auxiliary heads answer."""

    logits: Tensor
    aux: Tensor


@dataclass
class Output:
    """As many a library's networks answer."""

    logits: Tensor


class Flat(nn.Module):
    """Logits in evaluation mode; in training mode what `answer` makes of them."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.head = nn.Linear(64 * in_channels, num_classes)

    def forward(self, images: Tensor) -> Any:
        logits = self.head(images.flatten(1))
        return self.answer(logits) if self.training else logits

    def answer(self, logits: Tensor) -> Any:
        return logits


class AsTuple(Flat):
    def answer(self, logits: Tensor) -> Any:
        return logits, logits


class AsNamedTuple(Flat):
    def answer(self, logits: Tensor) -> Any:
        return Pair(logits, logits)


class AsDictionary(Flat):
    def answer(self, logits: Tensor) -> Any:
        return {"logits": logits}


class AsDataclass(Flat):
    def answer(self, logits: Tensor) -> Any:
        return Output(logits)


class AsList(Flat):
    def answer(self, logits: Tensor) -> Any:
        return [logits]


class Doubled(Flat):
    def answer(self, logits: Tensor) -> Any:
        return torch.cat([logits, logits])


class Raising(Flat):
    def answer(self, logits: Tensor) -> Any:
        raise ValueError("I am never trained")


class Detached(Flat):
    def answer(self, logits: Tensor) -> Any:
        return logits.detach()


class Frozen(Flat):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.requires_grad_(False)


class Idle(Flat):
    """Two layers that its logits do not depend on."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.unused = nn.Linear(3, 3)


class IdleFrozen(Idle):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.unused.requires_grad_(False)


class Looking(AsTuple):
    """Looks at a value, which there is none of without memory."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images * (1.0 if images.mean().item() < 9 else 2.0))


REFUSED = {
    "AsTuple": r"answers with a tuple in training mode, not with logits as a tensor\nlet it return the logits alone",
    "AsNamedTuple": r"answers with a Pair in training mode",
    "AsDictionary": r"answers with a dict in training mode",
    "AsDataclass": r"answers with a Output in training mode",
    "AsList": r"answers with a list in training mode",
    "Doubled": r"answers in training mode with shape \(4, 10\) where \(2, 10\) are logits of the 10 classes",
    "Raising": r"cannot be trained on images of 1 x 8 x 8: I am never trained",
    "Detached": r"has no gradient in training mode",
    "Frozen": r"has no parameters to train",
    "Looking": r"answers with a tuple in training mode",
}


@pytest.fixture(scope="module")
def info() -> DataInfo:
    return load_data(Experiment().data).info


def experiment(folder: Path, **changes: Any) -> Experiment:
    small = {
        "data.train_images": 300,
        "teacher.model.name": "resnet8",
        "teacher.cache": folder / "cache",
        "student.name": "resnet8",
        "study.output": folder / "outputs",
        "cluster.address": "127.0.0.1:1",
    }
    return override(Experiment(), small | {name.replace("__", "."): value for name, value in changes.items()})


@pytest.mark.parametrize("role", ["student", "teacher.model"])
@pytest.mark.parametrize("network", REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_starts(network: str, role: str, tmp_path: Path) -> None:
    impossible = override(experiment(tmp_path), {f"{role}.name": f"{HERE}:{network}"})
    launches = [distill, train_teacher] if role == "teacher.model" else [distill]
    for launch in launches:
        with pytest.raises(RaykdError, match=rf"^{role} {HERE}:{network}: {REFUSED[network]}") as refused:
            launch(impossible, Console(file=StringIO()))
        assert str(refused.value).count("\n") <= 1
    assert not impossible.study.output.exists()
    assert not impossible.teacher.cache.exists()


def test_a_choice_of_a_space_and_a_generous_teacher_are_rehearsed_too(info: DataInfo, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(f"student.name: {{choices: [resnet8, '{HERE}:AsTuple']}}")
    searched = experiment(tmp_path, study__space=str(tmp_path / "space.yaml"))
    with pytest.raises(RaykdError, match=rf"student.name {HERE}:AsTuple: student .*with a tuple in training mode"):
        rehearse(searched, info, load_space(searched.study.space, searched))
    generous = experiment(tmp_path, teacher__kind="generous", teacher__model__name=f"{HERE}:AsDictionary")
    with pytest.raises(RaykdError, match="with a dict in training mode"):
        rehearse(generous, info)


def test_a_given_teacher_is_never_trained_so_it_may_answer_otherwise_in_training_mode(
    info: DataInfo, tmp_path: Path
) -> None:
    torch.save(AsTuple(10, 1).state_dict(), tmp_path / "given.pt")
    given = experiment(tmp_path, teacher__model__name=f"{HERE}:AsTuple", teacher__source=str(tmp_path / "given.pt"))
    checked = preflight(given, ("teacher", "student"))
    rehearse(checked.experiment, checked.data)


@pytest.mark.parametrize(("network", "workers", "passes"), [
    ("Idle", 1, True), ("Idle", 2, False), ("IdleFrozen", 2, True), ("Flat", 8, True),
])  # fmt: skip
def test_several_workers_wait_for_a_gradient_of_each_parameter(
    network: str, workers: int, passes: bool, info: DataInfo, tmp_path: Path
) -> None:
    chosen = experiment(tmp_path, student__name=f"{HERE}:{network}", cluster__workers=workers)
    if passes:
        rehearse(chosen, info)
        return
    message = r"do not depend on unused, which several workers cannot train:\n.*requires_grad"
    with pytest.raises(RaykdError, match=message):
        rehearse(chosen, info)
    teacher = experiment(tmp_path, teacher__model__name=f"{HERE}:{network}", cluster__workers=workers)
    with pytest.raises(RaykdError, match=message):
        rehearse_teacher(teacher, info)


@pytest.mark.parametrize("name", ["resnet8", "MobileNetV2", "ShuffleNetV1", "wrn_16_1", "vgg8"])
def test_our_own_networks_can_be_trained_by_several_workers_without_memory(name: str) -> None:
    info = load_data(Experiment().data.model_copy(update={"image_size": 32})).info
    with torch.device("meta"):
        network = build_model(ModelSettings(name=name), num_classes=10, in_channels=1)
    check_training(network, info, name)
    check_all_used(network, (), info, name)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("network", [Idle, IdleFrozen, Flat])
def test_data_parallel_training_refuses_what_the_rehearsal_refuses(
    network: type[Flat], info: DataInfo, process_group: None
) -> None:
    """Compared with torch's own wrapper, which notices in the second step."""

    def steps() -> None:
        parallel = DistributedDataParallel(network(10, 1))
        for _ in range(2):
            parallel(torch.zeros(2, 1, 8, 8)).sum().backward()

    if network is not Idle:
        steps()
        check_all_used(network(10, 1), (), info, "own")
        return
    with pytest.raises(RuntimeError, match=r"did not receive grad|not used in producing loss"):
        steps()
    with pytest.raises(RaykdError, match="do not depend on unused"):
        check_all_used(network(10, 1), (), info, "own")
