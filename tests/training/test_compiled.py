"""Students whose passes are compiled become those that they would become without, or are trained without."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from raykd.config import TrainingSpec
from raykd.models import build_model
from raykd.training.classroom import Classroom
from raykd.training.compiled.alone import Alone
from raykd.training.messages import Report, WorkerCommands
from raykd.training.stacks import stacking
from raykd.training.team import Team
from tests.helpers.networks import Plain
from tests.helpers.specs import assert_close, of, plain, request_for, spec, train

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here")

TOLERANCE = 2e-4
"""Between weights of one student after twelve steps, compiled and not, in float32."""
HERE = "tests.training.test_compiled"
NORMED = {"name": "tests.helpers.networks:Normed"}


def compiled(what: TrainingSpec, mode: str = "off", **training: Any) -> TrainingSpec:
    settings = what.training.model_copy(update={"compile": True, "stacking": mode, **training})
    return what.model_copy(update={"training": settings})


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "compiled: " in record.getMessage()]


def graphs() -> int:
    """How many graphs have been compiled in this process."""
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("mode", ["off", "on"])
def test_compiled_students_become_the_same(tmp_path: Path, teacher: Path, mode: str) -> None:
    specs = {
        "plain": plain(student=NORMED, training={"learning_rate": 0.01}),
        "kd": spec(student=NORMED, training={"learning_rate": 0.01, "seed": 3}, method={"name": "kd"}),
    }
    requests = [request_for(compiled(what, mode), tmp_path / name, teacher) for name, what in specs.items()]
    reports = train(*requests)
    for name, what in specs.items():
        alone = train(request_for(what, tmp_path / "uncompiled" / name, teacher))
        assert_close(tmp_path / name, tmp_path / "uncompiled" / name, TOLERANCE)
        for ours, theirs in zip(of(reports, name), alone, strict=True):
            assert (ours.metrics["compiled"], theirs.metrics["compiled"]) == (1, 0)
            assert ours.metrics["stack_size"] == (2 if mode == "on" else 1)
            for metric in ("loss", "validation_loss", "validation_accuracy"):
                assert ours.metrics[metric] == pytest.approx(theirs.metrics[metric], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("mode", ["off", "on"])
def test_trained_again_they_are_the_same_to_the_bit(tmp_path: Path, teacher: Path, mode: str) -> None:
    found = []
    for run in ("first", "again"):
        specs = [compiled(spec(student=NORMED, training={"seed": seed}), mode) for seed in range(2)]
        requests = [request_for(what, tmp_path / run / str(n), teacher) for n, what in enumerate(specs)]
        found.append([report.weights for report in train(*requests)])
    assert found[0] == found[1]


def test_alone_they_are_the_same_to_the_bit_in_any_class(tmp_path: Path, teacher: Path) -> None:
    what = compiled(spec(student=NORMED, training={"seed": 1}))
    expected = [report.weights for report in train(request_for(what, tmp_path / "alone", teacher))]
    first = request_for(compiled(plain(student=NORMED)), tmp_path / "first")
    uncompiled = request_for(spec(student=NORMED), tmp_path / "uncompiled", teacher)
    reports = train(first, uncompiled, request_for(what, tmp_path / "last", teacher))
    assert [report.weights for report in of(reports, "last")] == expected
    assert [report.metrics["compiled"] for report in of(reports, "uncompiled")] == [0, 0, 0]


def test_students_with_and_without_compilation_share_a_class_but_no_stack(tmp_path: Path) -> None:
    specs = [plain(student=NORMED, training={"seed": seed, "stacking": "on"}) for seed in range(4)]
    mixed = [compiled(what, "on") if number % 2 else what for number, what in enumerate(specs)]
    reports = train(*(request_for(what, tmp_path / str(number)) for number, what in enumerate(mixed)))
    for number in range(4):
        last = of(reports, str(number))[-1].metrics
        assert (last["class_size"], last["stack_size"], last["compiled"]) == (4, 2, number % 2)


def test_auto_times_compiled_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "KNOWN", (*stacking.KNOWN, "tests"))
    specs = [compiled(plain(student=NORMED, training={"seed": seed}), "auto") for seed in range(2)]
    reports = train(*(request_for(what, tmp_path / str(number)) for number, what in enumerate(specs)))
    assert {report.metrics["compiled"] for report in reports} == {1}
    for number, what in enumerate(specs):
        assert train(request_for(compiled(what), tmp_path / "alone" / str(number)))[-1].finished
        assert_close(tmp_path / str(number), tmp_path / "alone" / str(number), TOLERANCE)


def test_nothing_is_compiled_again_from_one_epoch_to_the_next(tmp_path: Path) -> None:
    # 35 held-out images make a batch of 20 and one of 15.
    what = plain(student=NORMED, data={"validation_share": 0.35}, training={"batch_size": 5, "epochs": 4})
    classroom = Classroom(Team())
    stays, leaves, comes, alone, beside = (
        request_for(compiled(what, how, seed=seed), tmp_path / name)
        for seed, (name, how) in enumerate(
            [("stays", "on"), ("leaves", "on"), ("comes", "on"), ("alone", "off"), ("beside", "off")]
        )
    )
    before = graphs()
    first = classroom.follow(
        WorkerCommands(
            enter=(stays, leaves, alone, beside),
            learn=(stays.ticket, leaves.ticket, alone.ticket, beside.ticket),
        )
    )
    assert {report.metrics["compiled"] for report in first} == {1}
    assert graphs() - before == 6, "one of training and two of evaluation, alone and stacked"
    classroom.follow(WorkerCommands(leave=(leaves.ticket,), learn=(stays.ticket, alone.ticket)))
    classroom.follow(WorkerCommands(enter=(comes,), learn=(comes.ticket, stays.ticket, beside.ticket)))
    assert graphs() - before == 6


def test_a_network_that_draws_random_numbers_draws_the_same(tmp_path: Path) -> None:
    student = {"name": "tests.helpers.networks:WithDropout"}
    what = plain(student=student, training={"learning_rate": 0.01})
    reports = train(request_for(compiled(what), tmp_path / "compiled"))
    assert [report.metrics["compiled"] for report in reports] == [1, 1, 1]
    train(request_for(what, tmp_path / "not"))
    assert_close(tmp_path / "compiled", tmp_path / "not", TOLERANCE)


class LooksAtValues(Plain):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if logits.sum() > 0 else 2 * logits


@contextmanager
def without_compiler(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "empty"))
        yield


@pytest.mark.parametrize("mode", ["off", "on"])
@pytest.mark.parametrize("fault", ["network", "compiler"])
def test_what_cannot_be_compiled_is_trained_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, fault: str
) -> None:
    student = {"name": f"{HERE}:LooksAtValues"} if fault == "network" else {"name": "resnet8"}
    specs = [plain(student=student, training={"seed": seed, "stacking": mode, "epochs": 1}) for seed in range(2)]
    found: dict[str, list[Report]] = {}
    missing = without_compiler(tmp_path) if fault == "compiler" else nullcontext()
    with caplog.at_level(logging.WARNING, "raykd"), missing:
        for way, change in (("compiled", compiled), ("not", lambda what, _: what)):
            requests = [request_for(change(what, mode), tmp_path / way / str(n)) for n, what in enumerate(specs)]
            found[way] = train(*requests)
    assert [report.weights for report in found["compiled"]] == [report.weights for report in found["not"]]
    assert {report.metrics["compiled"] for report in found["compiled"]} == {0}
    (line,) = lines(caplog)
    stacked = mode == "on" and fault == "compiler"
    assert line.startswith(f"{'stacks' if stacked else 'students'} of {student['name']} are not compiled: ")
    assert len(line.splitlines()) == 1


def test_methods_of_features_are_not_compiled(tmp_path: Path, teacher: Path, caplog: pytest.LogCaptureFixture) -> None:
    what = spec(method={"name": "fitnet"}, objective={"ce_weight": 1.0, "kd_weight": 0.5}, training={"epochs": 1})
    with caplog.at_level(logging.WARNING, "raykd"):
        (report,) = train(request_for(compiled(what), tmp_path / "compiled", teacher))
    assert report.weights == train(request_for(what, tmp_path / "not", teacher))[-1].weights
    (line,) = lines(caplog)
    assert line == "students of resnet8 are not compiled: their method compares features of their layers"


def test_a_networks_own_error_stays_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    student = {"name": "tests.helpers.networks:FallsIll", "arguments": {"steps": 0}}
    with caplog.at_level(logging.WARNING, "raykd"):
        (report,) = train(request_for(compiled(plain(student=student)), tmp_path / "student"))
    assert "feeling unwell" in str(report.failure) and not lines(caplog)


LATE: list[bool] = []


class LaterLooksAtValues(Plain):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if LATE and logits.sum() > 0 else 1.0 * logits


def test_what_fails_later_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    what = plain(student={"name": f"{HERE}:LaterLooksAtValues"}, training={"learning_rate": 0.01})
    classroom = Classroom(Team())
    with caplog.at_level(logging.WARNING, "raykd"):
        first = train(request_for(compiled(what), tmp_path / "compiled"), classroom=classroom, epochs=1)
        monkeypatch.setattr(f"{HERE}.LATE", [True])
        others = train(classroom=classroom)
    train(request_for(what, tmp_path / "not"))
    assert_close(tmp_path / "compiled", tmp_path / "not", TOLERANCE)
    assert [report.metrics["compiled"] for report in (*first, *others)] == [1, 0, 0]
    (line,) = lines(caplog)
    assert line.startswith(f"students of {HERE}:LaterLooksAtValues are no longer compiled: ")


def test_a_closed_pass_leaves_a_network_of_its_own() -> None:
    network = build_model(spec().student, num_classes=10, in_channels=1).to(memory_format=torch.channels_last)
    known = {name: (tensor.clone(), tensor.stride()) for name, tensor in network.state_dict().items()}
    addresses = [tensor.data_ptr() for tensor in network.parameters()]
    memory: list[Tensor] = []
    with Alone(network, memory=memory).open():
        inside = [tensor.data_ptr() for tensor in network.parameters()]
        nn.init.ones_(network.fc.bias)
    with Alone(network, memory=memory).open():
        assert [tensor.data_ptr() for tensor in network.parameters()] == inside
    assert [tensor.data_ptr() for tensor in network.parameters()] == addresses
    for name, tensor in network.state_dict().items():
        assert tensor.stride() == known[name][1]
        assert torch.equal(tensor, torch.ones_like(tensor) if name == "fc.bias" else known[name][0])


def test_compilation_is_part_of_a_trainings_identity() -> None:
    assert compiled(spec()).identity() != spec().identity()
    assert "compile" not in spec().identity()["training"], "checkpoints of before are found again"
