"""CRD against torchdistill with the same negatives, and against loops; what is drawn, remembered, brought together."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchdistill.losses.mid_level import CRDLoss

from raykd.knowledge import Hints
from raykd.knowledge.contrast import Contrast, Contrasts, OtherClasses
from raykd.knowledge.methods.base import HintShapes
from raykd.knowledge.methods.crd import Crd

SAMPLES, NEGATIVES, DIMENSION, BATCH = 40, 12, 6, 8


def contrast(seed: int = 0, dtype=torch.float64, **changes) -> Contrast:
    settings = {
        "samples": SAMPLES,
        "negatives": NEGATIVES,
        "dimension": DIMENSION,
        "temperature": 0.07,
        "momentum": 0.5,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Contrast(5, 9, **(settings | changes)).to(dtype)


def batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    student = torch.randn(BATCH, 5, generator=numbers, dtype=torch.float64)
    teacher = torch.randn(BATCH, 9, generator=numbers, dtype=torch.float64)
    indices = torch.randperm(SAMPLES, generator=numbers)[:BATCH]
    return student, teacher, indices, torch.randint(SAMPLES, (BATCH, NEGATIVES), generator=numbers)


def torchdistill(ours: Contrast) -> CRDLoss:
    """Its loss with our memories; its constructor is past repair, and only its two parts are called."""
    oracle = CRDLoss.__new__(CRDLoss)
    torch.nn.Module.__init__(oracle)
    oracle.eps, oracle.num_negative_samples, oracle.num_samples = 1e-7, NEGATIVES, SAMPLES
    oracle.register_buffer("params", torch.tensor([NEGATIVES, 0.07, -1, -1, 0.5], dtype=torch.float64))
    oracle.register_buffer("memory_v1", ours.student_memory.clone())
    oracle.register_buffer("memory_v2", ours.teacher_memory.clone())
    return oracle


def test_values_gradients_and_memories_are_torchdistill_s_over_several_batches():
    ours = contrast()
    oracle = torchdistill(ours)
    for seed in range(4):
        student, teacher, indices, negatives = batch(seed)
        one, other = student.clone().requires_grad_(), student.clone().requires_grad_()
        ours.zero_grad()
        loss = ours.loss(one, teacher, indices, negatives)
        loss.backward()
        gradient = ours.teacher_embedding.weight.grad.clone()
        ours.zero_grad()
        embedded = [
            F.normalize(embed(features))
            for embed, features in ((ours.student_embedding, other), (ours.teacher_embedding, teacher))
        ]
        chosen = torch.cat([indices[:, None], negatives], dim=1)
        scores = oracle.contrast_memory(*embedded, indices, chosen)
        expected = sum(oracle.compute_contrast_loss(each) for each in scores).squeeze()
        expected.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(gradient, ours.teacher_embedding.weight.grad, rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(ours.student_memory, oracle.memory_v1)
        torch.testing.assert_close(ours.teacher_memory, oracle.memory_v2)
        torch.testing.assert_close(ours.log_normalisers.exp(), oracle.params[2:4], rtol=1e-6, atol=0)


def test_the_loss_is_the_sum_of_logarithms_over_positives_and_negatives():
    ours = contrast(3)
    memories = [ours.teacher_memory.tolist(), ours.student_memory.tolist()]
    student, teacher, indices, negatives = batch(3)
    embedded = [ours.student_embedding(student).tolist(), ours.teacher_embedding(teacher).tolist()]
    expected = 0.0
    for rows, memory in zip(embedded, memories, strict=True):
        powers = []
        for row, index, others in zip(rows, indices.tolist(), negatives.tolist(), strict=True):
            length = math.hypot(*row)
            scores = [sum(a / length * b for a, b in zip(row, memory[i], strict=True)) for i in (index, *others)]
            powers.append([math.exp(score / 0.07) for score in scores])
        z = SAMPLES * sum(map(sum, powers)) / (BATCH * (NEGATIVES + 1))
        noise = NEGATIVES / SAMPLES
        for same, *others in powers:
            expected -= math.log(same / z / (same / z + noise)) / BATCH
            expected -= sum(math.log(noise / (other / z + noise)) for other in others) / BATCH
    assert ours.loss(student, teacher, indices, negatives).item() == pytest.approx(expected)


def test_a_cold_temperature_stays_finite():
    ours = contrast(1, torch.float32, temperature=0.002)
    student, teacher, indices, negatives = batch(1)
    student = student.float().requires_grad_()
    loss = ours.loss(student, teacher.float(), indices, negatives)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_the_backward_pass_survives_the_update_of_the_memory_and_gets_the_old_one():
    student, teacher, indices, negatives = batch(2)
    gradients = []
    for momentum in (1.0, 0.0):
        ours = contrast(2, momentum=momentum)
        ours.loss(student, teacher, indices, negatives).backward()
        gradients.append(ours.student_embedding.weight.grad)
    assert torch.equal(*gradients)


def test_only_the_batch_s_samples_are_remembered_with_length_one():
    ours = contrast()
    before = ours.student_memory.clone()
    student, teacher, indices, negatives = batch(5)
    ours.loss(student, teacher, indices, negatives)
    changed = (ours.student_memory != before).any(dim=1)
    assert sorted(changed.nonzero()[:, 0].tolist()) == sorted(indices.tolist())
    torch.testing.assert_close(ours.student_memory[indices].norm(dim=1), torch.ones(BATCH, dtype=torch.float64))


def test_normalisers_are_set_by_the_first_batch_and_kept():
    ours = contrast()
    assert ours.log_normalisers.isnan().all()
    ours.loss(*batch(1))
    first = ours.log_normalisers.clone()
    ours.loss(*batch(2))
    assert torch.equal(ours.log_normalisers, first)


def test_all_that_is_remembered_is_in_the_state_and_nothing_that_the_data_tells():
    shapes = HintShapes(((5,),), ((9,),), torch.arange(SAMPLES) % 4)
    term = Crd(feature_dimension=DIMENSION).term(shapes)
    names = {name.removeprefix("contrasts.0.") for name in term.state_dict()}
    assert names == {
        *("student_embedding.weight", "student_embedding.bias", "teacher_embedding.weight", "teacher_embedding.bias"),
        *("student_memory", "teacher_memory", "log_normalisers"),
    }


def test_negatives_are_capped_by_the_samples_of_other_classes():
    labels = torch.tensor([0] * 7 + [1] * 3)
    term = Crd().term(HintShapes(((5,),), ((9,),), labels))
    assert isinstance(term, Contrasts)
    assert term.negatives == 3
    assert Crd(negatives=2).term(HintShapes(((5,),), ((9,),), labels)).negatives == 2


@examples(max_examples=40, deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=30).filter(lambda labels: len(set(labels)) > 1))
def test_negatives_are_of_other_classes(labels):
    own = torch.tensor(labels)
    drawn = OtherClasses(own).draw(own, 50)
    assert drawn.shape == (len(labels), 50)
    assert (own[drawn] != own.unsqueeze(1)).all()


def test_every_sample_of_another_class_is_drawn_as_often():
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 4, 0])
    torch.manual_seed(0)
    drawn = OtherClasses(labels).draw(labels, 20_000)
    for row, label in zip(drawn, labels, strict=True):
        counts = torch.bincount(row, minlength=8)
        others = labels != label
        assert counts[~others].sum() == 0
        torch.testing.assert_close(
            counts[others] / 20_000, torch.full((others.sum(),), 1 / others.sum()), rtol=0.1, atol=0
        )


def test_the_same_seed_draws_the_same_loss():
    shapes = HintShapes(((5,),), ((9,),), torch.arange(SAMPLES) % 4)
    student, teacher, indices, _ = batch(4)
    hints = Hints((student.float(),), (teacher.float(),), indices % 4, indices)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        term = Crd(negatives=5).term(shapes)
        torch.manual_seed(seed)
        losses.append(term.loss(hints).item())
    assert losses[0] == losses[1] != losses[2]


def workers(*memories: Contrast):
    """Sums over workers that take part in this process: each call of `agree` is recorded, then answered."""
    told: list[list[Tensor]] = []
    for memory in memories:
        values: list[Tensor] = []
        probe = contrast()
        probe.load_state_dict(memory.state_dict())
        probe._seen.copy_(memory._seen)
        probe.agree(lambda value, values=values: values.append(value.clone()) or value.clone())
        told.append(values)
    sums = [sum(parts) for parts in zip(*told, strict=True)]
    return SimpleNamespace(told=sums, sum=lambda: iter(sums))


def test_workers_agree_on_the_embedding_of_the_one_that_saw_the_sample():
    ours, other = contrast(), contrast()
    for memory, seed in ((ours, 1), (other, 2)):
        student, teacher, _, negatives = batch(seed)
        memory.loss(student, teacher, torch.arange(BATCH) + BATCH * seed, negatives)
    before = {
        "ours": ours.student_memory.clone(),
        "other": other.student_memory.clone(),
        "start": contrast().student_memory,
    }
    normalisers = (ours.log_normalisers + other.log_normalisers) / 2
    together = workers(ours, other)
    for memory in (ours, other):
        answers = together.sum()
        memory.agree(lambda value, answers=answers: next(answers))
    for memory in (ours, other):
        assert torch.equal(memory.student_memory[BATCH : 2 * BATCH], before["ours"][BATCH : 2 * BATCH])
        assert torch.equal(memory.student_memory[2 * BATCH : 3 * BATCH], before["other"][2 * BATCH : 3 * BATCH])
        assert torch.equal(memory.student_memory[3 * BATCH :], before["start"][3 * BATCH :])
        assert torch.equal(memory.log_normalisers, normalisers)
        assert not memory._seen.any()
    assert torch.equal(ours.teacher_memory, other.teacher_memory)
