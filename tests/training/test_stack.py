"""Students that pass batches as one stacked network become those that they would become alone, but for rounding."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.config import ModelSettings, TrainingSpec
from raykd.knowledge.methods import METHODS
from raykd.models import build_model
from raykd.training.classroom import Classroom
from raykd.training.compiled.rehearsal import loss_of
from raykd.training.folder import FAILURE
from raykd.training.messages import Report, TrainRequest, WorkerCommands
from raykd.training.stacks.code import StackCode
from raykd.training.stacks.stack import Stack, reason_against
from raykd.training.stacks.stacking import ROUNDS, Stacking
from raykd.training.team import Team
from tests.helpers.networks import Plain, Tied, WithDropout
from tests.helpers.specs import assert_close, of, plain, request_for, spec, train

TOLERANCE = 2e-4
"""Between weights of one student after twelve steps, alone and stacked, in float32."""
HERE = "tests.training.test_stack"


def stacked(what: TrainingSpec, mode: str = "on", **training: Any) -> TrainingSpec:
    settings = what.training.model_copy(update={"stacking": mode, **training})
    return what.model_copy(update={"training": settings})


def places(reports: list[Report], student: str) -> list[tuple[float, float]]:
    return [(report.metrics["stack_size"], report.metrics["stack_slot"]) for report in of(reports, student)]


def compare(folder: Path, specs: dict[str, TrainingSpec], teacher: Path | None) -> list[Report]:
    """Train students stacked and alone, compare them, and return the reports of the stacked ones."""
    requests = [request_for(stacked(what), folder / "stacked" / name, teacher) for name, what in specs.items()]
    reports = train(*requests)
    for name, what in specs.items():
        assert train(request_for(what, folder / "alone" / name, teacher))[-1].finished
        assert_close(folder / "stacked" / name, folder / "alone" / name, TOLERANCE)
    return reports


@pytest.mark.parametrize("name", METHODS)
def test_students_of_every_method_become_the_same(tmp_path: Path, teacher: Path, name: str) -> None:
    settings = {"method": {"name": name}, "objective": {"ce_weight": 1.0, "kd_weight": 0.5}}
    specs = {
        "one": spec(**settings, training={"learning_rate": 0.01}),
        "two": spec(**settings, training={"learning_rate": 0.002, "seed": 3, "weight_decay": 0.01}),
    }
    reports = compare(tmp_path, specs, teacher)
    assert places(reports, "one") == [(2, 0)] * 3 and places(reports, "two") == [(2, 1)] * 3


def test_students_of_unequal_settings_share_a_stack(tmp_path: Path, teacher: Path) -> None:
    specs = {
        "pair": spec(training={"learning_rate": 0.01}),
        "adamw": spec(training={"optimizer": "adamw", "learning_rate": 1e-3}, bias={"form": "one_hot"}),
        "clipped": spec(training={"gradient_clip": 0.1, "nesterov": True}, method={"name": "kd"}),
        "smooth": spec(training={"label_smoothing": 0.1, "decay": "cosine"}, temperature={"policy": "constant"}),
        "plain": plain(training={"learning_rate": 0.01, "warmup_epochs": 2}),
    }
    reports = compare(tmp_path, specs, teacher)
    assert [places(reports, name)[0] for name in specs] == [(5, slot) for slot in range(5)]


@pytest.mark.parametrize(
    "name",
    [
        *("resnet20", "resnet8x4", "wrn_16_1", "vgg8", "mobilenet_v2", "ShuffleNetV1", "ShuffleNetV2"),
        "torchvision/resnet18",
    ],
)
def test_networks_of_the_zoo_answer_and_learn_alike(name: str) -> None:
    # In float64: the gradients of deep networks on few small images are so large that float32 hides a mistake.
    torch.manual_seed(0)
    model = ModelSettings(name=name)
    networks = [build_model(model, num_classes=10, in_channels=3).double().train() for _ in range(3)]
    alone = [deepcopy(network) for network in networks]
    images, labels = torch.rand(8, 3, 32, 32, dtype=torch.float64), torch.arange(8)
    with Stack(networks).open() as stack:
        answers = [logits for logits, _ in stack(images)]
        torch.stack([F.cross_entropy(logits, labels) for logits in answers]).sum().backward()
        stack.hand_out_gradients()
        for logits, ours, network in zip(answers, networks, alone, strict=True):
            expected = network(images)
            F.cross_entropy(expected, labels).backward()
            torch.testing.assert_close(logits, expected)
            for mine, theirs in zip(ours.parameters(), network.parameters(), strict=True):
                torch.testing.assert_close(mine.grad, theirs.grad)
    for ours, network in zip(networks, alone, strict=True):
        for mine, theirs in zip(ours.buffers(), network.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        ("resnet8", True),
        *((name, False) for name in ("resnet20", "mobilenet_v2", "ShuffleNetV1", "torchvision/resnet18")),
    ],
)
def test_in_bfloat16_networks_answer_and_learn_alike(name: str, compiled: bool) -> None:
    torch.manual_seed(0)
    networks = [build_model(ModelSettings(name=name), num_classes=10, in_channels=3).train() for _ in range(2)]
    alone, exact = ([deepcopy(network) for network in networks] for _ in range(2))
    images = torch.rand(8, 3, 32, 32)
    code = StackCode(networks[0], "stacks", torch.device("cpu")) if compiled else None
    with torch.autocast("cpu", torch.bfloat16), Stack(networks, code=code).open() as stack:
        answers = stack.logits(images)
        loss_of(answers).backward()
        stack.hand_out_gradients()
        ours = [_gradients(network) for network in networks]
        expected = [network(images) for network in alone]
        loss_of(expected).backward()
    loss_of([network(images) for network in exact]).backward()
    for mine, theirs in zip(answers, expected, strict=True):
        assert mine.dtype == theirs.dtype == torch.bfloat16
        torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.02)
    for mine, theirs, true in zip(ours, map(_gradients, alone), map(_gradients, exact), strict=True):
        # Rounding differs, and deep networks enlarge it: no further from the truth than bfloat16 is anyhow.
        assert (mine - true).norm() < 1.5 * (theirs - true).norm()


def _gradients(network: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def test_students_in_bfloat16_are_stacked(tmp_path: Path, teacher: Path, caplog: pytest.LogCaptureFixture) -> None:
    specs = [stacked(spec(training={"seed": seed, "precision": "bfloat16"})) for seed in range(2)]
    requests = [request_for(what, tmp_path / str(seed), teacher) for seed, what in enumerate(specs)]
    reports = train(*requests)
    assert [places(reports, str(slot))[0] for slot in range(2)] == [(2, 0), (2, 1)]
    assert not caplog.records
    assert all(report.finished for report in reports[-2:])


def test_architectures_make_stacks_of_their_own(tmp_path: Path) -> None:
    wide = {"name": "resnet8", "arguments": {"width": 0.5}}
    specs = [plain(), plain(student=wide), plain(training={"seed": 1}), plain(student=wide, training={"seed": 1})]
    requests = [request_for(stacked(what), tmp_path / str(number)) for number, what in enumerate(specs)]
    reports = train(*requests)
    assert [places(reports, str(number))[0] for number in range(4)] == [(2, 0), (2, 0), (2, 1), (2, 1)]


def test_students_enter_and_leave_between_epochs(tmp_path: Path) -> None:
    stays, leaves, comes = (
        request_for(stacked(plain(training={"seed": seed})), tmp_path / name)
        for seed, name in enumerate(["stays", "leaves", "comes"])
    )
    classroom = Classroom(Team())
    reports = [
        *classroom.follow(WorkerCommands(enter=(stays, leaves), learn=(stays.ticket, leaves.ticket))),
        *classroom.follow(WorkerCommands(leave=(leaves.ticket,), learn=(stays.ticket,))),
        *classroom.follow(WorkerCommands(enter=(comes,), learn=(comes.ticket, stays.ticket))),
    ]
    assert places(reports, "stays") == [(2, 0), (1, 0), (2, 1)]
    assert train(request_for(plain(), tmp_path / "alone"))[-1].finished
    assert_close(tmp_path / "stays", tmp_path / "alone", TOLERANCE)
    # A slice of a stack would be saved with all of it.
    sizes = {name: (tmp_path / name / "checkpoint.pt").stat().st_size for name in ("leaves", "comes")}
    assert all(size < 1.1 * (tmp_path / "alone/checkpoint.pt").stat().st_size for size in sizes.values())


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_replay_in_a_stack_of_copies_is_the_same_to_the_bit(tmp_path: Path, teacher: Path, slot: int) -> None:
    specs = [stacked(spec(training={"seed": seed, "learning_rate": 0.01 * (seed + 1)})) for seed in range(3)]
    requests = [request_for(what, tmp_path / str(seed), teacher) for seed, what in enumerate(specs)]
    recorded = of(train(*requests), str(slot))
    again = request_for(specs[slot], tmp_path / "again", teacher)
    stacks = tuple((int(size), int(place)) for size, place in places(recorded, str(slot)))
    assert stacks == ((3, slot),) * 3
    replayed = train(replace(again, views=(0, 1, 2), stacks=stacks))
    assert [report.weights for report in replayed] == [report.weights for report in recorded]


def method_of(name: str) -> dict[str, Any]:
    return {"method": {"name": f"{HERE}:failing", "arguments": {"fails": name == "bad"}}}


def failing(student: Tensor, teacher: Tensor, labels: Tensor, fails: bool) -> Tensor:
    """The loss of each sample; fails where asked to."""
    if fails:
        raise ValueError("not with me")
    return (student - teacher).square().mean(dim=1)


def test_a_student_that_fails_leaves_the_others_as_they_were_without_its_fault(tmp_path: Path, teacher: Path) -> None:
    def requests(folder: Path, first: str) -> list[TrainRequest]:
        return [
            request_for(stacked(spec(**method_of(name), training={"seed": seed})), folder / f"s{seed}", teacher)
            for seed, name in enumerate([first, "good", "good"])
        ]

    whole, broken = train(*requests(tmp_path / "whole", "good")), train(*requests(tmp_path / "broken", "bad"))
    (report,) = of(broken, "s0")
    assert "not with me" in str(report.failure) and (tmp_path / "broken/s0" / FAILURE).exists()
    for name in ("s1", "s2"):
        # The epoch of the fault; from then on the stack has one student less.
        assert of(broken, name)[0].weights == of(whole, name)[0].weights
        assert [size for size, _ in places(broken, name)] == [3, 2, 2]
        assert of(broken, name)[-1].finished


def test_a_student_that_diverges_leaves_the_others_as_they_were(tmp_path: Path, teacher: Path) -> None:
    def reports(folder: Path, rate: float) -> list[Report]:
        rates = [rate, 0.01]
        return train(
            *(
                request_for(stacked(spec(training={"seed": seed, "learning_rate": each})), folder / f"s{seed}", teacher)
                for seed, each in enumerate(rates)
            )
        )

    broken, whole = reports(tmp_path / "broken", 1e30), reports(tmp_path / "whole", 0.02)
    assert of(broken, "s0")[-1].diverged
    assert of(broken, "s1")[0].weights == of(whole, "s1")[0].weights
    assert of(broken, "s1")[-1].finished


def test_what_draws_random_numbers_is_taught_alone_with_a_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    student = {"name": "tests.helpers.networks:WithDropout"}
    requests = [
        request_for(stacked(plain(student=student, training={"seed": seed})), tmp_path / f"s{seed}") for seed in (0, 1)
    ]
    with caplog.at_level(logging.WARNING):
        reports = train(*requests)
    assert places(reports, "s1") == [(1, 0)] * 3
    (line,) = [record.getMessage() for record in caplog.records if "are not stacked" in record.getMessage()]
    assert line.startswith("students of tests.helpers.networks:WithDropout are not stacked: vmap: called random")
    assert train(request_for(plain(student=student), tmp_path / "alone"))[-1].weights == of(reports, "s0")[-1].weights


class LooksAtValues(Plain):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if logits.sum() > 0 else 2 * logits


@pytest.mark.parametrize(
    ("network", "reason"),
    [(Plain, None), (Tied, None), (WithDropout, "random"), (LooksAtValues, "data-dependent")],
)
def test_reasons_against_a_stack(network: type[nn.Module], reason: str | None) -> None:
    torch.manual_seed(0)
    networks = [network(num_classes=10) for _ in range(2)]
    before = [{name: tensor.clone() for name, tensor in each.state_dict().items()} for each in networks]
    images = torch.rand(4, 1, 8, 8)
    state_before = torch.get_rng_state()
    found = reason_against(networks, images)
    assert (found is None) if reason is None else (reason in str(found))
    assert torch.equal(torch.get_rng_state(), state_before)
    for each, known in zip(networks, before, strict=True):
        assert all(torch.equal(tensor, known[name]) for name, tensor in each.state_dict().items())


def test_a_closed_stack_leaves_networks_of_their_own(tmp_path: Path) -> None:
    networks = [build_model(spec().student, num_classes=10, in_channels=1) for _ in range(3)]
    for network in networks:
        network.to(memory_format=torch.channels_last)
    known = [{name: tensor.clone() for name, tensor in each.state_dict().items()} for each in networks]
    with pytest.raises(KeyError), Stack(networks).open():
        raise KeyError
    for each, state_before in zip(networks, known, strict=True):
        for name, tensor in each.state_dict().items():
            assert torch.equal(tensor, state_before[name])
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
            assert tensor.stride() == state_before[name].stride()


@pytest.mark.parametrize("faster", [True, False])
def test_auto_keeps_the_faster_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    taken = {"each_alone": 2.0 if faster else 1.0, "together": 1.5}
    timed: list[str] = []

    def seconds(self: Stacking, step: Callable[[], None]) -> float:
        step()
        timed.append(step.__name__)
        return taken[step.__name__]

    monkeypatch.setattr(Stacking, "_seconds", seconds)
    requests = [
        request_for(stacked(plain(training={"seed": seed}), "auto"), tmp_path / f"s{seed}") for seed in range(2)
    ]
    reports = train(*requests)
    assert places(reports, "s1") == ([(2, 1)] if faster else [(1, 0)]) * 3
    assert timed == ["each_alone", "together"] * (1 + ROUNDS), "timed in turn, once; the answer is kept"


def test_auto_leaves_networks_of_the_users_own_alone(tmp_path: Path) -> None:
    own = plain(student={"name": "tests.helpers.networks:Plain"})
    for mode, size in (("auto", 1), ("on", 2)):
        requests = [request_for(stacked(own, mode), tmp_path / mode / str(number)) for number in range(2)]
        assert {report.metrics["stack_size"] for report in train(*requests)} == {size}


def test_stacking_is_no_part_of_a_trainings_identity() -> None:
    assert stacked(spec(), "on").identity() == stacked(spec(), "off").identity()
