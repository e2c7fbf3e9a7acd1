"""Feature methods against torchdistill and references in another style, and where their formulas divide by nothing."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchdistill.losses.mid_level import ATLoss, RKDLoss

from raykd.config import TrainingSpec
from raykd.errors import RaykdError
from raykd.knowledge import Hints
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.at import At
from raykd.knowledge.methods.base import FeatureMethod, HintShapes
from raykd.knowledge.methods.fitnet import Fitnet
from raykd.knowledge.methods.rkd import Rkd
from raykd.knowledge.methods.sp import Sp
from raykd.training.build import build_objective

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)
FEATURE_METHODS = {name: method for name, method in METHODS.items() if issubclass(method, FeatureMethod)}
MAPS, VECTORS = [(4, 6, 6), (6, 3, 3)], [(7,)]
ROWS = 6


def tensors(shapes: list[tuple[int, ...]], seed: int, rows: int = ROWS, dtype=torch.float64) -> tuple[Tensor, ...]:
    numbers = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, *shape, generator=numbers, dtype=dtype) for shape in shapes)


def hints(student, teacher) -> Hints:
    rows = len(student[0])
    return Hints(tuple(student), tuple(teacher), torch.arange(rows) % 3, torch.arange(rows))


def term(method: FeatureMethod, student, teacher):
    shapes = [tuple(tuple(each.shape[1:]) for each in features) for features in (student, teacher)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = method.term(HintShapes(*shapes, torch.arange(len(student[0])) % 3))
    return built.double() if isinstance(built, nn.Module) else built


def suiting(method: type[FeatureMethod]) -> list[tuple[int, ...]]:
    return {"embedding": VECTORS, "stages and embedding": MAPS + VECTORS}.get(method.where, MAPS)


def torchdistill_at(student, teacher):
    pairs = {
        str(number): {side: {"io": "output", "path": str(number)} for side in ("student", "teacher")}
        for number in range(len(student))
    }
    sides = [{str(number): {"output": each} for number, each in enumerate(side)} for side in (student, teacher)]
    return ATLoss(pairs, mode="code")(*sides)


def loops_of_sp(student, teacher):
    """One pair of samples at a time. (torchdistill's rows have sum 1, not length 1 as in the paper.)"""
    total = 0
    for s, t in zip(student, teacher, strict=True):
        grams = [[[(one * other).sum() for other in features] for one in features] for features in (s, t)]
        rows = [[[g / sum(h * h for h in row) ** 0.5 for g in row] for row in gram] for gram in grams]
        total += sum((rows[0][i][j] - rows[1][i][j]) ** 2 for i in range(ROWS) for j in range(ROWS)) / ROWS**2
    return total


def torchdistill_rkd(student, teacher):
    oracle = RKDLoss(".", ".", dist_factor=25.0, angle_factor=50.0, reduction="mean")
    return oracle({".": {"output": student[0]}}, {".": {"output": teacher[0]}})


@pytest.mark.parametrize(
    ("method", "oracle", "shapes"),
    [(At(), torchdistill_at, MAPS), (Sp(), loops_of_sp, MAPS), (Rkd(), torchdistill_rkd, VECTORS)],
    ids=["at", "sp", "rkd"],
)
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_those_of_others(method, oracle, shapes, seed):
    teacher = tensors(shapes, seed + 100)
    ours, theirs = ([each.requires_grad_() for each in tensors(shapes, seed)] for _ in range(2))
    loss, expected = method.loss(hints(ours, teacher)), oracle(theirs, teacher)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-7, atol=1e-10)


def test_rkd_is_the_sum_over_pairs_and_triples():
    student, teacher = (each.numpy() for each in tensors([(3,), (5,)], 3, rows=4))

    def huber(x: float) -> float:
        return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5

    def relations(rows):
        pairs = [math.dist(rows[i], rows[j]) for i, j in product(range(4), repeat=2) if i != j]
        distance = [math.dist(rows[i], rows[j]) * len(pairs) / sum(pairs) for i, j in product(range(4), repeat=2)]
        angles = []
        for i, j, k in product(range(4), repeat=3):
            one, other = rows[j] - rows[i], rows[k] - rows[i]
            lengths = np.linalg.norm(one) * np.linalg.norm(other)
            angles.append(one @ other / lengths if lengths else 0.0)
        return distance, angles

    (d_s, a_s), (d_t, a_t) = relations(student), relations(teacher)
    distance = sum(huber(s - t) for s, t in zip(d_s, d_t, strict=True)) / 16
    angle = sum(huber(s - t) for s, t in zip(a_s, a_t, strict=True)) / 64
    features = hints([torch.tensor(student)], [torch.tensor(teacher)])
    assert Rkd(distance_weight=2, angle_weight=3).loss(features).item() == pytest.approx(2 * distance + 3 * angle)


def test_fitnet_is_the_error_after_convolution_normalisation_and_rectification():
    (student,), (teacher,) = tensors([(3, 4, 4)], 1), tensors([(5, 4, 4)], 2)
    built = term(Fitnet(), [student], [teacher])
    with torch.no_grad():
        built.projections[0][1].weight.uniform_(0.5, 2)
        built.projections[0][1].bias.uniform_(-1, 1)
    weight, scale, shift = (parameter.detach().numpy() for parameter in built.parameters())
    mixed = np.einsum("oi,bihw->bohw", weight[:, :, 0, 0], student.numpy())
    mean, variance = (moment(mixed, axis=(0, 2, 3), keepdims=True) for moment in (np.mean, np.var))
    normal = (mixed - mean) / np.sqrt(variance + 1e-5) * scale[:, None, None] + shift[:, None, None]
    expected = ((np.maximum(normal, 0) - teacher.numpy()) ** 2).mean()
    assert built.loss(hints([student], [teacher])).item() == pytest.approx(expected)


def test_fitnet_projects_where_channels_differ_and_only_there():
    student, teacher = tensors([(4, 6, 6), (4, 6, 6), (7,), (7,)], 1), tensors([(4, 3, 3), (5, 6, 6), (7,), (9,)], 2)
    built = term(Fitnet(), student, teacher)
    assert [len(list(each.parameters())) for each in built.projections] == [0, 3, 0, 2]
    expected = (nn.functional.adaptive_avg_pool2d(student[0], 3) - teacher[0]).square().mean()
    first = term(Fitnet(), student[:1], teacher[:1]).loss(hints(student[:1], teacher[:1]))
    torch.testing.assert_close(first, expected)


def test_at_compares_maps_of_different_sizes_at_the_smaller():
    (student,), (teacher,) = tensors([(4, 8, 4)], 1), tensors([(6, 4, 8)], 2)
    small = [nn.functional.adaptive_avg_pool2d(each, (4, 4)) for each in (student, teacher)]
    torch.testing.assert_close(At().loss(hints([student], [teacher])), torchdistill_at([small[0]], [small[1]]))


def test_at_takes_other_powers_of_magnitudes():
    (student,), (teacher,) = tensors([(4, 3, 3)], 1), tensors([(4, 3, 3)], 2)
    maps = []
    for features in (student.numpy(), teacher.numpy()):
        rows = (np.abs(features) ** 3).sum(axis=1).reshape(ROWS, -1)
        maps.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    expected = ((maps[0] - maps[1]) ** 2).mean()
    assert At(power=3).loss(hints([student], [teacher])).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        At(power=0.5)


@pytest.mark.parametrize("name", [name for name in FEATURE_METHODS if name != "crd"])
def test_gradients_are_those_of_small_steps(name):
    shapes = suiting(FEATURE_METHODS[name])
    student, teacher = tensors(shapes, 1), tensors([(shape[0] + 1, *shape[1:]) for shape in shapes], 2)
    built = term(FEATURE_METHODS[name](), student, teacher)
    inputs = tuple(each.requires_grad_() for each in student)
    assert torch.autograd.gradcheck(lambda *features: built.loss(hints(features, teacher)), inputs)


@pytest.mark.parametrize("name", FEATURE_METHODS)
@few
@given(seed=seeds)
def test_the_order_of_the_samples_does_not_matter(name, seed):
    shapes = suiting(FEATURE_METHODS[name])
    student, teacher = tensors(shapes, seed), tensors(shapes, seed + 1)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
    losses = []
    for rows in (torch.arange(ROWS), order):
        # All samples of other classes, in place of drawn ones.
        built = term(FEATURE_METHODS[name](), student, teacher)
        if name == "crd":
            built.other_classes.draw = lambda labels, count: torch.stack(
                [(torch.arange(ROWS) % 3 != label).nonzero()[:, 0] for label in labels]
            )
        given = Hints(
            tuple(each[rows] for each in student),
            tuple(each[rows] for each in teacher),
            (torch.arange(ROWS) % 3)[rows],
            rows,
        )
        losses.append(built.loss(given))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", ["fitnet", "at", "sp", "rkd"])
@few
@given(seed=seeds)
def test_equal_features_have_no_loss_and_different_ones_have(name, seed):
    shapes = suiting(FEATURE_METHODS[name])
    student, teacher = tensors(shapes, seed), tensors(shapes, seed + 1)
    built = term(FEATURE_METHODS[name](), student, teacher)
    assert built.loss(hints(teacher, teacher)).item() == pytest.approx(0, abs=1e-20)
    assert built.loss(hints(student, teacher)).item() > 1e-4


@pytest.mark.parametrize("name", ["at", "sp", "rkd"])
@few
@given(seed=seeds, scale=st.floats(1e-4, 1e4))
def test_the_students_scale_does_not_matter(name, seed, scale):
    shapes = suiting(FEATURE_METHODS[name])
    student, teacher = tensors(shapes, seed), tensors(shapes, seed + 1)
    method = FEATURE_METHODS[name]()
    scaled = method.loss(hints([scale * each for each in student], teacher))
    torch.testing.assert_close(scaled, method.loss(hints(student, teacher)))


@few
@given(seed=seeds)
def test_sp_and_rkd_do_not_depend_on_the_axes_of_the_features_nor_rkd_on_their_origin(seed):
    student, teacher = tensors(VECTORS, seed), tensors([(5,)], seed + 1)
    turn = torch.linalg.qr(tensors([(7,)], seed + 2, rows=7)[0])[0]
    for method in (Sp(), Rkd()):
        turned = method.loss(hints([student[0] @ turn], teacher))
        torch.testing.assert_close(turned, method.loss(hints(student, teacher)))
    moved = Rkd().loss(hints([student[0] + 3], teacher))
    torch.testing.assert_close(moved, Rkd().loss(hints(student, teacher)))


@pytest.mark.parametrize("name", FEATURE_METHODS)
@pytest.mark.parametrize("kind", ["zero", "constant", "twins", "huge", "tiny"])
@pytest.mark.parametrize("who", ["student", "teacher"])
def test_odd_features_have_finite_losses_and_gradients_in_bounds(name, kind, who):
    shapes = suiting(FEATURE_METHODS[name])
    odd = [each.float() for each in tensors(shapes, 1)]
    match kind:
        case "zero" | "constant":
            odd = [torch.full_like(each, float(kind == "constant")) for each in odd]
        case "twins":
            odd = [torch.cat([each[:3], each[:3]]) for each in odd]
        case "huge" | "tiny":
            odd = [each * (1e6 if kind == "huge" else 1e-6) for each in odd]
    normal = [each.float() for each in tensors(shapes, 2)]
    student, teacher = (odd, normal) if who == "student" else (normal, odd)
    student = [each.clone().requires_grad_() for each in student]
    built = term(FEATURE_METHODS[name](), student, teacher)
    if isinstance(built, nn.Module):
        built.float()
    loss = built.loss(hints(student, teacher))
    loss.backward()
    assert loss.isfinite()
    for each in student:
        assert each.grad.isfinite().all()
        # Loss and gradient of a typical batch are about 1; what grows with the features' size may.
        assert (each.grad * each.detach().abs().clamp(min=1)).abs().max() < (1e14 if kind == "huge" else 1e8)


def test_rkd_of_a_collapsed_student_has_no_direction_to_blow_up():
    student, (teacher,) = torch.ones(ROWS, 7), tensors(VECTORS, 2)
    student[0] = 2
    student.requires_grad_()
    Rkd().loss(hints([student], [teacher.float()])).backward()
    assert 0 < student.grad.abs().max() < 100


def test_rkd_keeps_its_digits_far_from_the_origin():
    # |a|^2 + |b|^2 - 2ab of rows of length 1e4 that are 1 apart has no right digit in float32.
    student, teacher = tensors(VECTORS, 1), tensors(VECTORS, 2)
    far = (student[0] + 4096).float()
    exact = Rkd().loss(hints([far.double()], teacher))
    ours = Rkd().loss(hints([far], [teacher[0].float()]))
    torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=0)


def test_a_single_sample_has_no_relations():
    student, teacher = tensors(VECTORS, 1, rows=1), tensors(VECTORS, 2, rows=1)
    for method in (Sp(), Rkd()):
        student[0].requires_grad_().grad = None
        loss = method.loss(hints(student, teacher))
        loss.backward()
        assert loss.item() == 0
        assert not student[0].grad.any()


@pytest.mark.parametrize(
    ("name", "student", "teacher", "reason"),
    [
        ("at", (7,), (7,), "hints must be feature maps (channels, height, width), not of shape (7,)"),
        ("fitnet", (4, 6, 6), (7,), "hints must both be feature maps"),
        ("fitnet", (16, 8), (16, 8), "both vectors, not of shapes (16, 8) and (16, 8)"),
        ("reviewkd", (16, 8), (16, 8), "hints must be feature maps (channels, height, width) or vectors, not (16, 8)"),
    ],
)
def test_impossible_shapes_are_refused_by_the_methods_name(name, student, teacher, reason):
    shapes = HintShapes((student,), (teacher,), torch.arange(6) % 3)
    with pytest.raises(RaykdError) as caught:
        build_objective(TrainingSpec.model_validate({"method": {"name": name}}), shapes)
    assert str(caught.value).startswith(f"method {name}: ")
    assert reason in str(caught.value)


def test_one_class_cannot_be_contrasted():
    shapes = HintShapes(((7,),), ((7,),), torch.zeros(6, dtype=torch.int64))
    with pytest.raises(RaykdError, match=r"method crd: .*all training images are of one"):
        build_objective(TrainingSpec.model_validate({"method": {"name": "crd"}}), shapes)
