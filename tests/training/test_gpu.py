"""What only a GPU shows: `pytest -m gpu`. Without one, each test is skipped with a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.cudagraph_trees import CUDAGraphTreeManager

from raykd.config import TrainingSpec
from raykd.data import Batch, ImageData, load_data, training_batches
from raykd.knowledge import captured
from raykd.knowledge.methods import METHODS
from raykd.training.classroom import Classroom
from raykd.training.members import Members
from raykd.training.stacks.section import Section
from raykd.training.stacks.stack import Stack
from raykd.training.student import Student
from raykd.training.teacher import Knowledge, Teacher
from raykd.training.team import Team
from tests.helpers.specs import plain, request_for, spec, state, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]

CUDA = torch.device("cuda", 0)
WEIGHTS = {"objective": {"ce_weight": 1.0, "kd_weight": 0.5}, "training": {"learning_rate": 0.01}}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(spec().data)


class Bench:
    """A student with its teacher and the batches of an epoch, on one device."""

    def __init__(self, what: TrainingSpec, folder: Path, teacher: Path, data: ImageData, device: torch.device) -> None:
        self.team = Team(device=device)
        here = data.to(device)
        precision = torch.bfloat16 if device.type == "cuda" else None
        self.teacher = Teacher(str(teacher), data.info, precision, device)
        self.student = Student(request_for(what, folder, teacher), here, self.team, self.teacher)
        self.batches: list[Batch] = list(training_batches(here, batch_size=25, device=device).epoch(0))

    def knowledge(self, batch: Batch) -> Knowledge:
        return self.teacher.teach(batch, self.student.teacher_layers)

    def step(self, number: int) -> None:
        batch = self.batches[number]
        self.student.learn(number, batch, self.knowledge(batch))


@contextmanager
def without_waits() -> Iterator[None]:
    """Whatever makes the CPU wait for the GPU raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", METHODS)
def test_a_step_in_bfloat16_is_that_of_the_cpu_in_float32(
    tmp_path: Path, teacher: Path, data: ImageData, name: str
) -> None:
    what = spec(method={"name": name}, **WEIGHTS)
    found = []
    for device in (torch.device("cpu"), CUDA):
        bench = Bench(what, tmp_path / device.type, teacher, data, device)
        before = {key: value.clone() for key, value in bench.student.network.state_dict().items()}
        bench.step(0)
        after = bench.student.network.state_dict()
        moved = torch.cat([(after[key] - before[key]).float().flatten().cpu() for key in before if "weight" in key])
        found.append((bench.student.metrics.means(bench.team), moved))
    (expected, cpu), (ours, gpu) = found
    for metric, value in expected.items():
        assert ours[metric] == pytest.approx(value, rel=0.05, abs=0.05), metric
    assert torch.nn.functional.cosine_similarity(cpu, gpu, dim=0) > 0.95


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_gpu(tmp_path: Path, teacher: Path, data: ImageData, name: str) -> None:
    bench = Bench(spec(method={"name": name}, **WEIGHTS), tmp_path / "student", teacher, data, CUDA)
    bench.step(0)
    with without_waits():
        bench.step(1)
        bench.step(2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_no_step_of_a_stack_waits_for_the_gpu(tmp_path: Path, teacher: Path, data: ImageData, optimizer: str) -> None:
    training = {"optimizer": optimizer, "learning_rate": 0.01, "gradient_clip": 1.0}
    benches = [Bench(spec(training=training), tmp_path / str(slot), teacher, data, CUDA) for slot in range(3)]
    students = [bench.student for bench in benches]
    stack = Stack([student.network.train() for student in students])
    section = Section(dict(enumerate(students)), stack, torch.bfloat16, benches[0].team)
    members = Members(students, benches[0].team)

    def step(number: int) -> None:
        batch = benches[0].batches[number]
        section.learn(number, batch, dict.fromkeys(students, benches[0].knowledge(batch)), members)

    with section.open():
        step(0)
        with without_waits():
            step(1)
            step(2)
    assert not members.failures


def test_networks_and_batches_are_channels_last(tmp_path: Path, teacher: Path, data: ImageData) -> None:
    bench = Bench(spec(), tmp_path / "student", teacher, data, CUDA)
    batch, network = bench.batches[0], bench.student.network
    with captured(network, ["layer1"]) as features, torch.autocast("cuda", torch.bfloat16):
        network(batch.images)
    last: dict[str, Any] = {"memory_format": torch.channels_last}
    assert batch.images.is_contiguous(**last)
    assert features["layer1"].is_contiguous(**last) and features["layer1"].dtype == torch.bfloat16
    assert all(each.is_contiguous(**last) for each in network.parameters() if each.dim() == 4)


def test_students_stacked_become_those_alone(tmp_path: Path, teacher: Path) -> None:
    folders = {}
    for mode in ("on", "off"):
        training = {"stacking": mode, "precision": "float32", "learning_rate": 0.01}
        specs = [spec(training=training | {"seed": seed}) for seed in range(4)]
        requests = [request_for(what, tmp_path / mode / str(n), teacher) for n, what in enumerate(specs)]
        assert train(*requests, classroom=Classroom(Team(device=CUDA)))[-1].finished
        folders[mode] = tmp_path / mode
    for number in range(4):
        ours, theirs = (state(folders[mode] / str(number))["network"] for mode in ("on", "off"))
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=5e-3, atol=5e-3, msg=key)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["off", "on"])
def test_compiled_students_become_those_uncompiled(tmp_path: Path, teacher: Path, mode: str, precision: str) -> None:
    reports, tolerance = {}, 5e-3 if precision == "float32" else 5e-2
    skips = counters["inductor"]["cudagraph_skips"]
    for compiled in (True, False):
        training = {"stacking": mode, "compile": compiled, "precision": precision, "learning_rate": 0.01}
        specs = [spec(training=training | {"seed": seed}) for seed in range(3)]
        requests = [request_for(what, tmp_path / str(compiled) / str(n), teacher) for n, what in enumerate(specs)]
        reports[compiled] = train(*requests, classroom=Classroom(Team(device=CUDA)))
    assert counters["inductor"]["cudagraph_skips"] == skips, "all passes are recorded as CUDA graphs"
    for ours, theirs in zip(reports[True], reports[False], strict=True):
        assert (ours.metrics["compiled"], theirs.metrics["compiled"]) == (1, 0)
        for metric in ("loss", "validation_loss"):
            assert ours.metrics[metric] == pytest.approx(theirs.metrics[metric], rel=tolerance, abs=tolerance), metric
    for number in range(3):
        ours, theirs = (state(tmp_path / str(compiled) / str(number))["network"] for compiled in (True, False))
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=tolerance, atol=tolerance, msg=key)


@pytest.mark.parametrize("mode", ["off", "on"])
def test_graphs_are_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    recorded = []

    def record(manager: CUDAGraphTreeManager, *arguments: Any) -> Any:
        recorded.append(manager)
        return before(manager, *arguments)

    before = CUDAGraphTreeManager.record_function
    monkeypatch.setattr(CUDAGraphTreeManager, "record_function", record)
    classroom = Classroom(Team(device=CUDA))
    counts = []
    for seed in range(3):
        # Others of the same architecture enter as the ones before them leave.
        training = {"stacking": mode, "compile": True, "epochs": 2}
        specs = [plain(training=training | {"seed": 2 * seed + number}) for number in range(2)]
        train(*(request_for(what, tmp_path / str(seed) / str(n)) for n, what in enumerate(specs)), classroom=classroom)
        counts.append(len(recorded))
    assert counts[0] > 0 and counts == counts[:1] * 3


@pytest.mark.parametrize(("mode", "limit"), [("off", 4.0), ("on", 9.0)])
def test_the_memory_of_eight_students(tmp_path: Path, teacher: Path, mode: str, limit: float) -> None:
    # Not stacked, one student's activations are there at a time.
    peaks = []
    for count in (1, 8):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        specs = [spec(training={"stacking": mode, "batch_size": 100, "seed": seed}) for seed in range(count)]
        requests = [request_for(what, tmp_path / str(count) / str(n), teacher) for n, what in enumerate(specs)]
        train(*requests, classroom=Classroom(Team(device=CUDA)), epochs=1)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < limit * peaks[0]


def test_the_bank_holds_what_the_teacher_answers_here(tmp_path: Path, teacher: Path) -> None:
    found = []
    for mode in ("off", "on", "on"):
        folder = tmp_path / str(len(found)) / "student"
        reports = train(request_for(spec(bank={"mode": mode}), folder, teacher), classroom=Classroom(Team(device=CUDA)))
        found.append(reports[-1])
    assert found[1].weights == found[2].weights
    assert found[1].metrics["loss"] == pytest.approx(found[0].metrics["loss"], rel=0.05)
