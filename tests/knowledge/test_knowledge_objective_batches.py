"""The whole loss of split batches, under autocast, and on devices that are not there."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from raykd.knowledge import Workers
from raykd.knowledge.methods.own import OwnFunction
from tests.helpers.logit_batches import (
    ANSWER_METHODS,
    FORMS,
    REPAIRED,
    SAMPLE_METHODS,
    batch,
    constant,
    gradient,
    repair_of,
    std,
    term_of,
)

SHARED = [(name, "pair") for name in SAMPLE_METHODS] + [("dkd", form) for form in FORMS] + [("kd", "untaught")]
"""Methods of each sample for itself with a repair; the last has no teacher."""


@pytest.mark.parametrize("wrong_rows", [0, 1, 5, 13])
@pytest.mark.parametrize("denominator", ["subset", "batch"])
@pytest.mark.parametrize(("method", "form"), SHARED)
def test_workers_average_to_the_joined_batch(method, form, denominator, wrong_rows):
    student, teacher, labels = batch(11, rows=13, wrong_rows=wrong_rows)
    term = term_of(method)
    objective = replace(REPAIRED, method=term, temperature=std(2.0))
    if form == "untaught":
        teacher = None
    else:
        objective = replace(objective, bias=repair_of(form, denominator=denominator))
    whole = objective(student, teacher, labels, epoch=1, epochs=3)
    shards = [slice(0, 4), slice(4, 13)]  # local batches of different size

    def on(shard, workers):
        taught_by = None if teacher is None else teacher[shard]
        return objective(student[shard], taught_by, labels[shard], epoch=1, epochs=3, workers=workers)

    sent: list[torch.Tensor] = []
    for shard in shards:
        on(shard, Workers(2, lambda counts: sent.append(counts) or counts))
    assert len(sent) == 2  # one sum per call
    parts = [on(shard, Workers(2, lambda counts: sent[0] + sent[1])) for shard in shards]
    total = (parts[0].total + parts[1].total) / 2
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(gradient(total, student), gradient(whole.total, student))
    if form != "untaught":
        for learned in objective.modules:
            ours, theirs = (
                torch.autograd.grad(loss, learned.theta, retain_graph=True) for loss in (total, whole.total)
            )
            torch.testing.assert_close(ours, theirs)
    for name, part in whole.parts.items():
        torch.testing.assert_close((parts[0].parts[name] + parts[1].parts[name]) / 2, part)


def product(student, teacher, labels):
    """A method with a matrix product, which autocast would take in bfloat16 even for float32 inputs."""
    return (student @ teacher.T).diagonal()


@pytest.mark.parametrize("method", [*ANSWER_METHODS, product])
def test_bfloat16_under_autocast_is_float32_maths(method):
    term = OwnFunction("batches:product", method) if method is product else term_of(method)
    objective = replace(REPAIRED, method=term, temperature=std(2.0))
    student, teacher, labels = batch(12)
    half_student, half_teacher = student.detach().bfloat16().requires_grad_(), teacher.bfloat16()
    full = half_student.detach().float().requires_grad_()
    expected = objective(full, half_teacher.float(), labels, epoch=1, epochs=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(half_student, half_teacher, labels, epoch=1, epochs=2)
    assert losses.total.dtype == torch.float32
    assert torch.equal(losses.total, expected.total)
    for name, part in losses.parts.items():
        assert part.dtype == torch.float32 and torch.equal(part, expected.parts[name])
    assert torch.equal(gradient(losses.total, half_student), gradient(expected.total, full).bfloat16())


@pytest.mark.parametrize("temperature", [constant(4.0), std(2.0, "multiplier"), std(1.0)])
@pytest.mark.parametrize(("method", "form"), [*SHARED[:-1], ("dist", "pair")])
def test_other_devices_see_no_stray_tensor_and_no_question_about_values(method, form, temperature):
    untaught = replace(REPAIRED, bias=repair_of(form, 0.5), temperature=temperature, method=None)
    devices = []
    colleagues = Workers(2, lambda counts: devices.append(counts.device.type) or counts)
    # Both modes raise if a value is asked for (.item(), a branch, a boolean index).
    with FakeTensorMode(), torch.device("cuda"):
        objective = replace(untaught, method=term_of(method))
        student, teacher = torch.empty(2, 8, 5, dtype=torch.float16)
        labels = torch.zeros(8, dtype=torch.long)
        for knowledge in (teacher, None):
            losses = objective(student, knowledge, labels, epoch=1, epochs=2, workers=colleagues)
            assert all(t.device.type == "cuda" for t in (losses.total, *losses.parts.values()))
    assert devices == ["cuda", "cuda"]  # what the workers sum must be where their network is fast
    with torch.device("meta"):
        objective = replace(untaught, method=term_of(method))
        student, teacher = torch.empty(8, 5, requires_grad=True), torch.empty(8, 5)
        labels = torch.zeros(8, dtype=torch.long)
    objective(student, teacher, labels, epoch=1, epochs=2).total.backward()
    assert student.grad is not None and student.grad.shape == (8, 5)
