"""Mistakes of device and precision, shown without a GPU: on fake CUDA tensors, on meta, and in bfloat16 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from raykd.config import TrainingSpec
from raykd.data import Batch, ImageData, load_data
from raykd.knowledge import Hints, captured
from raykd.knowledge.methods import METHODS
from raykd.knowledge.objective import Objective
from raykd.models import build_model
from raykd.seeds import seed_of
from raykd.training.build import autocast_type, build_objective
from raykd.training.hint_layers import find_hint_layers
from raykd.training.metrics import MetricSums
from raykd.training.random_numbers import seed_step
from raykd.training.saved import load_model
from raykd.training.student import Student
from raykd.training.teacher import Knowledge, Teacher
from raykd.training.team import Team
from tests.helpers.specs import request_for, spec, state, train

CUDA = torch.device("cuda", 0)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

SPECS = {
    **{name: spec(method={"name": name}) for name in METHODS},
    "swap": spec(method={"name": "kd"}, temperature={"policy": "constant"}, bias={"form": "swap"}),
    "one_hot": spec(bias={"form": "one_hot", "denominator": "batch"}, schedule={"form": "step"}),
    "drop": spec(bias={"form": "drop"}, training={"optimizer": "adamw", "gradient_clip": 1.0, "label_smoothing": 0.1}),
    "keep": spec(bias={"form": "keep"}, objective={"warmup_epochs": 2}),
}
"""Every method, and every form of the rest."""


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(spec().data)


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Fake tensors on a GPU that is not there, under the autocast that a real one would have.

    `torch.autocast` looks for a GPU before it turns itself on, so it is turned on by hand.
    """
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            yield
        finally:
            torch.set_autocast_enabled("cuda", before[0])
            torch.set_autocast_dtype("cuda", before[1])


def fake_batch() -> Batch:
    images = torch.empty(8, 1, 8, 8, device=CUDA).to(memory_format=torch.channels_last)
    return Batch(images, images, torch.zeros(8, dtype=torch.int64, device=CUDA), torch.arange(8, device=CUDA))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_a_step_is_seeded_as_torch_seeds_everything(device: str) -> None:
    torch.manual_seed(2**62 + 1)
    expected = torch.rand(3), torch.rand(3, device=device)
    seed_step(torch.device(device), 2**62 + 1)
    assert torch.equal(torch.rand(3), expected[0])
    assert torch.equal(torch.rand(3, device=device), expected[1])


@pytest.mark.parametrize("name", SPECS)
def test_student_teacher_and_objective_meet_on_a_gpu(data: ImageData, name: str) -> None:
    what = SPECS[name]
    wide = spec(student={"name": "resnet8", "arguments": {"width": 0.5}}).student
    networks = [build_model(settings, num_classes=10, in_channels=1) for settings in (what.student, wide)]
    heard = find_hint_layers(what, networks[0], networks[1], data.info, data.split("train").labels)
    objective = build_objective(what, heard.shapes if heard else None)
    with fake_cuda():
        student, teacher = (network.to(CUDA, memory_format=torch.channels_last) for network in networks)
        parts = nn.ModuleList(objective.modules).to(CUDA)
        batch, hints = fake_batch(), None
        with captured(student, heard.student if heard else ()) as mine:
            logits = student(batch.images)
        with torch.no_grad(), captured(teacher, heard.teacher if heard else ()) as theirs:
            teacher_logits = teacher.eval()(batch.images)
        if heard is not None:
            sides = ([mine[name] for name in heard.student], [theirs[name] for name in heard.teacher])
            assert {features.dtype for side in sides for features in side} == {torch.bfloat16}
            hints = Hints(*map(tuple, sides), batch.labels, batch.indices)
        losses = objective(logits, teacher_logits, batch.labels, epoch=1, epochs=3, hints=hints)
        assert logits.dtype == teacher_logits.dtype == torch.bfloat16
        assert student.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
        for value in (losses.total, *losses.parts.values()):
            assert (value.device, value.dtype, value.shape) == (CUDA, torch.float32, ())
        assert all(buffer.device == CUDA for buffer in parts.buffers())
        tally = MetricSums()
        tally.add(losses.parts | {"loss": losses.total.detach()}, 1)
        tally.add({"train_accuracy": (logits.argmax(1) == batch.labels).sum()}, 8)


@pytest.mark.parametrize("name", SPECS)
def test_a_student_steps_and_is_judged_on_the_meta_device(
    tmp_path: Path, teacher: Path, data: ImageData, name: str
) -> None:
    # No tensor has a value here: whoever looks at one fails, as it would make a GPU wait.
    meta = torch.device("meta")
    taught_by = Teacher(str(teacher), data.info, torch.bfloat16, meta)
    student = Student(request_for(SPECS[name], tmp_path / "student"), data, Team(device=meta), taught_by)
    with meta:
        images, labels = torch.empty(8, 1, 8, 8), torch.empty(8, dtype=torch.int64)
        batch = Batch(images, images, labels, torch.empty(8, dtype=torch.int64))
    hints = Knowledge(torch.empty(8, 10, dtype=torch.bfloat16, device=meta), meta_hints(taught_by, batch, student))
    student.learn(0, batch, hints)
    student.evaluate_batch(images, labels, hints.logits.argmax(1))
    for parameter in student._learner.parameters():
        assert parameter.grad is not None
        assert parameter.grad.is_meta
    assert all(tensor.is_meta for tensor in student._learner.state_dict().values())


def meta_hints(taught_by: Teacher, batch: Batch, student: Student) -> dict[str, torch.Tensor]:
    """What the teacher's hint layers give, in the precision of a GPU."""
    with torch.no_grad(), captured(taught_by.network, student.teacher_layers) as hints:
        taught_by.network(batch.images)
    return {name: features.bfloat16() for name, features in hints.items()}


def test_bfloat16_is_the_gpus_habit_and_the_cpus_choice() -> None:
    def chosen(precision: str | None, device: str) -> torch.dtype | None:
        return autocast_type(spec(training={"precision": precision}).training, torch.device(device))

    assert [chosen(precision, "cuda") for precision in (None, "bfloat16", "float32")] == [
        torch.bfloat16,
        torch.bfloat16,
        None,
    ]
    assert [chosen(precision, "cpu") for precision in (None, "bfloat16", "float32")] == [None, torch.bfloat16, None]


def test_bfloat16_trains_on_a_cpu_with_float32_weights_and_losses(tmp_path: Path, teacher: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = {"precision": precision, "epochs": 6, "learning_rate": 0.02}
        reports = train(request_for(spec(training=training), tmp_path / precision, teacher))
        losses[precision] = [report.metrics["loss"] for report in reports]
        tensors = state(tmp_path / precision)["network"].values()
        assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    # A loss in bfloat16 would keep two or three digits.
    assert losses["bfloat16"][0] == pytest.approx(losses["float32"][0], rel=0.02)
    assert losses["bfloat16"][-1] < losses["bfloat16"][0]


def test_a_teacher_answers_in_the_precision_of_its_group(teacher: Path, data: ImageData) -> None:
    batch = Batch(*(torch.rand(4, 1, 8, 8) for _ in range(2)), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    for precision, dtype in ((torch.bfloat16, torch.bfloat16), (None, torch.float32)):
        given = Teacher(str(teacher), data.info, precision, torch.device("cpu")).teach(
            batch, ["fc:input", "layer1.0.conv1"]
        )
        assert given.logits.dtype == given.hints["layer1.0.conv1"].dtype == dtype


@pytest.mark.parametrize("method", ["dkd", "fitnet", "crd", "reviewkd"])
def test_a_students_losses_are_float32_under_autocast(
    tmp_path: Path, teacher: Path, data: ImageData, method: str
) -> None:
    what = spec(training={"precision": "bfloat16"}, method={"name": method})
    taught_by = Teacher(str(teacher), data.info, torch.bfloat16, torch.device("cpu"))
    student = Student(request_for(what, tmp_path / "student"), data, Team(), taught_by)
    numbers = torch.Generator().manual_seed(0)
    images, labels = torch.randn(25, 1, 8, 8, generator=numbers), torch.arange(25) % 10
    batch = Batch(images, images, labels, torch.arange(25))
    knowledge = taught_by.teach(batch, student.teacher_layers)
    exact_parts = build_exactly(student, what)
    answers: list[torch.Tensor] = []
    layers = student._hint_layers.student if student._hint_layers else ()
    student.network.register_forward_hook(lambda module, inputs, output: answers.append(output.detach()))
    with captured(student.network, layers) as mine:
        student.learn(0, batch, knowledge)
    assert answers[0].dtype == torch.bfloat16
    hints = None
    if student._hint_layers is not None:
        sides = ([mine[name] for name in layers], [knowledge.hints[name] for name in student._hint_layers.teacher])
        hints = Hints(*(tuple(each.detach() for each in side) for side in sides), labels, batch.indices)
    torch.manual_seed(seed_of(what.training.seed, "step", 0, 0, 0))
    exact = exact_parts(answers[0], knowledge.logits, labels, epoch=0, epochs=3, hints=hints)
    told = student.metrics.means(Team())
    assert told["loss"] == pytest.approx(exact.total.item(), rel=1e-5)


def build_exactly(student: Student, what: TrainingSpec) -> Objective:
    """The objective as the student started with it, for use outside autocast."""
    objective = build_objective(what, student._hint_layers.shapes if student._hint_layers else None)
    for mine, its in zip(objective.modules, student._learner.parts, strict=True):
        mine.load_state_dict(its.state_dict())
    return objective


def test_a_student_is_judged_in_float32_whatever_its_precision(tmp_path: Path) -> None:
    what = spec(training={"precision": "bfloat16", "epochs": 1}).without_teacher()
    (report,) = train(request_for(what, tmp_path / "student"))
    model, split = load_model(tmp_path / "student"), load_data(what.data).split("validation")
    pixels = split.images.float() / 255
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits = model.network((pixels - model.mean) / model.std)
    assert logits.dtype == torch.bfloat16
    exact = nn.functional.cross_entropy(logits.double(), split.labels).item()
    assert report.metrics["validation_loss"] == pytest.approx(exact, rel=1e-5)
