"""ReviewKD against torchdistill's parts and a reference of the whole in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchdistill.losses.mid_level import HierarchicalContextLoss
from torchdistill.models.wrapper import AttentionBasedFusion

from raykd.knowledge import Hints
from raykd.knowledge.methods.base import HintShapes
from raykd.knowledge.methods.reviewkd import Reviewkd
from raykd.knowledge.review import Fusion, Review, hierarchical_context


def features(*shapes: tuple[int, ...], seed: int = 0) -> tuple[Tensor, ...]:
    numbers = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(5, *shape, generator=numbers, dtype=torch.float64) for shape in shapes)


def review(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], **settings) -> Review:
    shapes = [tuple(tuple(each.shape[1:]) for each in side) for side in (student, teacher)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = Reviewkd(**settings).term(HintShapes(*shapes, torch.arange(5)))
    assert isinstance(built, Review)
    return built.double()


def hints(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Hints:
    return Hints(student, teacher, torch.arange(5), torch.arange(5))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 14])
def test_the_hierarchical_context_is_torchdistill_s(size):
    (student,), (teacher,) = features((3, size, size)), features((3, size, size), seed=1)
    one, other = student.clone().requires_grad_(), student.clone().requires_grad_()
    oracle = HierarchicalContextLoss(".", "output", ".", "output")
    loss, expected = (
        hierarchical_context(one, teacher),
        oracle({".": {"output": (other, None)}}, {".": {"output": teacher}}),
    )
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(one.grad, other.grad)


def as_torchdistill(fusion: Fusion, student: int, fused: int, teacher: int) -> AttentionBasedFusion:
    oracle = AttentionBasedFusion(student, fused, teacher, uses_attention=fusion.attention is not None).double()
    names = {"conv1": "reduce", "conv2": "project", "attention_conv": "attention"}
    state = fusion.state_dict()
    oracle.load_state_dict(
        {key: state[f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}"] for key in oracle.state_dict()}
    )
    return oracle


def test_values_and_gradients_are_those_of_torchdistill_s_parts_from_deep_to_shallow():
    channels, sizes = (4, 6, 8), (8, 4, 2)
    shapes = [(count, size, size) for count, size in zip(channels, sizes, strict=True)]
    student, teacher = features(*shapes, (8,)), features(*((2 * c, s, s) for c, s, _ in shapes), (16,), seed=1)
    built = review(student, teacher)
    oracles = [
        as_torchdistill(fusion, s, 8, t)
        for fusion, s, t in zip(built.fusions, (*channels, 8), (8, 12, 16, 16), strict=True)
    ]
    ours, theirs = ([each.clone().requires_grad_() for each in student] for _ in range(2))
    loss = built.loss(hints(tuple(ours), teacher))
    loss.backward()
    maps = [each if each.dim() == 4 else each[:, :, None, None] for each in theirs]
    targets = [each if each.dim() == 4 else each[:, :, None, None] for each in teacher]
    context = HierarchicalContextLoss(".", "output", ".", "output")
    compared, deeper = oracles[3](maps[3])
    expected = context({".": {"output": (compared, None)}}, {".": {"output": targets[3]}})
    for stage in (2, 1, 0):
        compared, deeper = oracles[stage](maps[stage], deeper, sizes[stage])
        expected = expected + context({".": {"output": (compared, None)}}, {".": {"output": targets[stage]}})
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_fusion_is_a_weighted_sum_at_the_teachers_resolution():
    (student, deeper) = features((3, 4, 6), (5, 2, 3))
    fusion = Fusion(3, 5, 7, deepest=False).double()
    compared, fused = fusion(student, deeper, torch.Size((8, 12)))
    weights = {name: tensor.numpy() for name, tensor in fusion.state_dict().items()}

    def normal(maps):
        mean, variance = (moment(maps, axis=(0, 2, 3), keepdims=True) for moment in (np.mean, np.var))
        return (maps - mean) / np.sqrt(variance + 1e-5)

    own = normal(np.einsum("oi,bihw->bohw", weights["reduce.0.weight"][:, :, 0, 0], student.numpy()))
    above = np.repeat(np.repeat(deeper.numpy(), 2, axis=2), 2, axis=3)
    both = np.concatenate([own, above], axis=1)
    logits = np.einsum("oi,bihw->bohw", weights["attention.0.weight"][:, :, 0, 0], both)
    attention = 1 / (1 + np.exp(-logits - weights["attention.0.bias"][:, None, None]))
    expected = own * attention[:, :1] + above * attention[:, 1:]
    expected = np.repeat(np.repeat(expected, 2, axis=2), 2, axis=3)
    np.testing.assert_allclose(fused.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    padded = np.pad(expected, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    projected = normal(np.einsum("oikl,bihwkl->bohw", weights["project.0.weight"], patches))
    np.testing.assert_allclose(compared.detach().numpy(), projected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("most", "expected"), [(512, 9), (4, 4)])
def test_fused_features_have_no_more_channels_than_the_embedding(most, expected):
    student, teacher = features((4, 4, 4), (9,)), features((6, 4, 4), (12,), seed=1)
    built = review(student, teacher, most_channels=most)
    assert [fusion.reduce[0].out_channels for fusion in built.fusions] == [expected] * 2
    assert [fusion.attention is None for fusion in built.fusions] == [False, True]


def test_deep_features_reach_the_loss_of_shallow_stages():
    student, teacher = features((4, 4, 4), (9,)), features((6, 4, 4), (12,), seed=1)
    built = review(student, teacher)
    deep = student[1].clone().requires_grad_()
    _, fused = built.fusions[1](deep[:, :, None, None], None, torch.Size((1, 1)))
    compared, _ = built.fusions[0](student[0], fused, torch.Size((4, 4)))
    hierarchical_context(compared, teacher[0]).backward()
    assert deep.grad.abs().max() > 1e-6


def test_every_learned_parameter_has_a_part_in_the_loss():
    student, teacher = features((4, 4, 4), (6, 2, 2), (9,)), features((6, 8, 8), (8, 2, 2), (12,), seed=1)
    built = review(student, teacher)
    built.loss(hints(student, teacher)).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in built.parameters())
