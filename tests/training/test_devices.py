"""Mistakes of device and precision, shown without a GPU: on fake CUDA tensors, on meta, and in bfloat16 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lessons import enrolled, lesson, state, taught
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from raykd.config import Lesson
from raykd.data import Batch, DataInfo, load_data
from raykd.models import build_model
from raykd.training.build import autocast_type, build_objective
from raykd.training.classroom import Teacher
from raykd.training.saved import load_model
from raykd.training.student import Student
from raykd.training.tally import Tally
from raykd.training.team import Team

CUDA = torch.device("cuda", 0)

FORMS = [
    lesson(),
    lesson(method={"name": "kd"}, temperature={"policy": "constant"}, bias={"form": "swap"}),
    lesson(bias={"form": "one_hot", "denominator": "batch"}, schedule={"form": "step"}),
    lesson(bias={"form": "drop"}, training={"optimizer": "adamw", "gradient_clip": 1.0, "label_smoothing": 0.1}),
    lesson(bias={"form": "keep"}, objective={"warmup_epochs": 2}),
]


@pytest.fixture(scope="module")
def data() -> DataInfo:
    return load_data(lesson().data).info


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


@pytest.mark.parametrize("what", FORMS, ids=lambda what: what.bias.form)
def test_student_teacher_and_objective_meet_on_a_gpu(what: Lesson) -> None:
    networks = [build_model(what.student, num_classes=10, in_channels=1) for _ in range(2)]
    with fake_cuda():
        student, teacher = (network.to(CUDA, memory_format=torch.channels_last) for network in networks)
        batch = fake_batch()
        logits, teacher_logits = student(batch.images), teacher.eval()(batch.images)
        losses = build_objective(what)(logits, teacher_logits, batch.labels, epoch=1, epochs=3)
        assert logits.dtype == teacher_logits.dtype == torch.bfloat16
        assert student.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
        for value in (losses.total, *losses.parts.values()):
            assert (value.device, value.dtype, value.shape) == (CUDA, torch.float32, ())
        tally = Tally()
        tally.add(losses.parts | {"loss": losses.total.detach()}, 1)
        tally.add({"train_accuracy": (logits.argmax(1) == batch.labels).sum()}, 8)


@pytest.mark.parametrize("what", FORMS, ids=lambda what: what.bias.form)
def test_a_student_steps_and_is_judged_on_the_meta_device(tmp_path: Path, data: DataInfo, what: Lesson) -> None:
    student = Student(enrolled(what, tmp_path / "student"), data, Team(device=torch.device("meta")))
    with torch.device("meta"):
        images, labels = torch.empty(8, 1, 8, 8), torch.empty(8, dtype=torch.int64)
        teacher_logits = torch.empty(8, 10, dtype=torch.bfloat16)
    student.learn(0, images, labels, teacher_logits)
    student.be_judged(images, labels, teacher_logits.argmax(1))
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in student.network.parameters())
    assert all(tensor.is_meta for tensor in student.network.state_dict().values())


def test_bfloat16_is_the_gpus_habit_and_the_cpus_choice() -> None:
    def chosen(precision: str | None, device: str) -> torch.dtype | None:
        return autocast_type(lesson(training={"precision": precision}).training, torch.device(device))

    assert [chosen(precision, "cuda") for precision in (None, "bfloat16", "float32")] == [
        torch.bfloat16,
        torch.bfloat16,
        None,
    ]
    assert [chosen(precision, "cpu") for precision in (None, "bfloat16", "float32")] == [None, torch.bfloat16, None]


def test_bfloat16_trains_on_a_cpu_with_float32_weights_and_losses(
    tmp_path: Path, teacher: Path, data: DataInfo
) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = {"precision": precision, "epochs": 6, "learning_rate": 0.02}
        reports = taught(enrolled(lesson(training=training), tmp_path / precision, teacher))
        losses[precision] = [report.metrics["loss"] for report in reports]
        tensors = state(tmp_path / precision)["network"].values()
        assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    # A loss in bfloat16 would keep two or three digits.
    assert losses["bfloat16"][0] == pytest.approx(losses["float32"][0], rel=0.02)
    assert losses["bfloat16"][-1] < losses["bfloat16"][0]


def test_a_teacher_answers_in_the_precision_of_its_group(teacher: Path, data: DataInfo) -> None:
    batch = Batch(*(torch.rand(4, 1, 8, 8) for _ in range(2)), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    for precision, dtype in ((torch.bfloat16, torch.bfloat16), (None, torch.float32)):
        assert Teacher(str(teacher), data, precision, torch.device("cpu")).logits(batch).dtype == dtype


def test_a_students_losses_are_float32_under_autocast(tmp_path: Path, data: DataInfo) -> None:
    student = Student(enrolled(lesson(training={"precision": "bfloat16"}), tmp_path / "student"), data, Team())
    numbers = torch.Generator().manual_seed(0)
    images, labels = torch.randn(25, 1, 8, 8, generator=numbers), torch.arange(25) % 10
    teacher_logits = torch.randn(25, 10, generator=numbers).bfloat16()
    answers: list[torch.Tensor] = []
    student.network.register_forward_hook(lambda module, inputs, output: answers.append(output.detach()))
    student.learn(0, images, labels, teacher_logits)
    exact = build_objective(student.lesson)(answers[0].double(), teacher_logits.double(), labels, epoch=0, epochs=3)
    told = student._tally.means(Team())
    assert answers[0].dtype == torch.bfloat16
    assert told["loss"] == pytest.approx(exact.total.item(), rel=1e-5)


def test_a_student_is_judged_in_float32_whatever_its_precision(tmp_path: Path) -> None:
    what = lesson(training={"precision": "bfloat16", "epochs": 1}).without_teacher()
    (report,) = taught(enrolled(what, tmp_path / "student"))
    model, split = load_model(tmp_path / "student"), load_data(what.data).split("validation")
    pixels = split.images.float() / 255
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits = model.network((pixels - model.mean) / model.std)
    assert logits.dtype == torch.bfloat16
    exact = nn.functional.cross_entropy(logits.double(), split.labels).item()
    assert report.metrics["validation_loss"] == pytest.approx(exact, rel=1e-5)
