"""The whole loss: against float64 references, torchdistill, split batches, and devices that are not there."""

import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torchdistill.losses.mid_level import KDLoss, LogitStdKDLoss

from raykd.knowledge import (
    ConstantSchedule,
    ConstantTemperature,
    CosineSchedule,
    Objective,
    StdTemperature,
    StepSchedule,
    Workers,
    dkd,
    kd,
)

few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 10**6)
host_dkd = partial(dkd, target_weight=1.0, non_target_weight=2.0)
REPAIRED = Objective(
    method=kd,
    temperature=ConstantTemperature(4.0),
    form="pair",
    strength=0.5,
    schedule=CosineSchedule(),
    ce_weight=0.5,
    kd_weight=0.5,
    warmup_epochs=0,
)
PARTS = {
    "cross_entropy",
    "distillation",
    "right",
    "rectified",
    "wrong_share",
    "teacher_temperature",
    "student_temperature",
}


def batch(seed: int = 0, rows: int = 12, classes: int = 6, wrong_rows: int | None = None, scale: float = 3.0):
    """Student and teacher logits and labels, with exactly so many wrong rows (default: a third), in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, classes, generator=generator) * scale
    wrong_rows = rows // 3 if wrong_rows is None else wrong_rows
    offset = torch.randint(1, classes, (rows,), generator=generator)
    offset[torch.randperm(rows, generator=generator)[wrong_rows:]] = 0
    return student.requires_grad_(), teacher, (teacher.argmax(dim=1) + offset) % classes


def gradient(loss: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, student, retain_graph=True)[0]


def softmax(row: torch.Tensor) -> torch.Tensor:
    return row.exp() / row.exp().sum()


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log()).sum()


def host(method, p, q, y):
    """The host method on probabilities."""
    if method is kd:
        return kl(p, q)
    rest = torch.arange(len(p)) != y
    binary = kl(torch.stack([p[y], 1 - p[y]]), torch.stack([q[y], 1 - q[y]]))
    return binary + 2.0 * kl(p[rest] / p[rest].sum(), q[rest] / q[rest].sum())


def reference(objective: Objective, student, teacher, labels, epoch: int, epochs: int) -> torch.Tensor:
    """Methods.md, section 1, in float64 and probabilities, row by row."""
    right, rectified, cross_entropy = [], [], []
    for v, z, y in zip(student.double(), teacher.double(), labels.tolist(), strict=True):
        cross_entropy.append(-softmax(v)[y].log())
        if isinstance(objective.temperature, ConstantTemperature):
            t_student = t_teacher = torch.tensor(objective.temperature.value, dtype=torch.float64)
            weight = t_teacher**2
        else:
            spread = [((x - x.mean()).square().sum() / (len(x) - 1)).sqrt() for x in (v, z)]
            t_student, t_teacher = (objective.temperature.multiplier * s for s in spread)
            by_temperature = objective.temperature.loss_weight == "temperature"
            weight = t_teacher**2 if by_temperature else objective.temperature.multiplier**2
        p, q, w, s = softmax(z / t_teacher), softmax(v / t_student), int(z.argmax()), objective.strength
        if w == y:
            right.append(weight * host(objective.method, p, q, y))
            continue
        p_l, p_w, new = p[y], p[w], p.clone()
        if objective.form == "pair":
            mass = p_l + p_w
            d = (1 - s) * mass + s
            new[y], new[w] = mass * ((1 - s) * p_l + s) / d, mass * (1 - s) * p_w / d
        elif objective.form == "swap":
            new[y], new[w] = p_w, p_l
        elif objective.form == "one_hot":
            new = (1 - s) * p
            new[y] += s
        rectified.append(weight * host(objective.method, new, q, y))
    rows = len(labels)
    subset = objective.denominator == "subset"
    zero = torch.zeros((), dtype=torch.float64)
    l_right = sum(right, zero) / ((len(right) or 1) if subset else rows)
    l_rectified = sum(rectified, zero) / ((len(rectified) or 1) if subset else rows)
    b = float(torch.cos(torch.tensor(torch.pi * epoch / (2 * epochs), dtype=torch.float64)) ** 2)
    if objective.form == "drop":
        l_rectified = zero
    distillation = b * l_right + (1 - b) * l_rectified
    if objective.form == "keep":
        distillation = (sum(right, zero) + sum(rectified, zero)) / rows
    warmup = min(epoch / objective.warmup_epochs, 1.0) if objective.warmup_epochs else 1.0
    cross_entropy = sum(cross_entropy, zero) / rows
    return objective.ce_weight * cross_entropy + objective.kd_weight * warmup * distillation


@pytest.mark.parametrize("denominator", ["subset", "batch"])
@pytest.mark.parametrize("method", [kd, host_dkd], ids=["kd", "dkd"])
@pytest.mark.parametrize("form", ["pair", "swap", "one_hot", "drop", "keep"])
@settings(max_examples=6, deadline=None)
@given(
    seed=seeds,
    wrong_rows=st.integers(0, 9),
    epoch=st.integers(0, 10),
    strength=st.floats(0, 0.95),
    temperature=st.sampled_from([ConstantTemperature(4.0), StdTemperature(1.5), StdTemperature(2.0, "multiplier")]),
    warmup_epochs=st.sampled_from([0, 4]),
)
def test_value_and_gradient_are_those_of_the_formula(
    form, method, denominator, seed, wrong_rows, epoch, strength, temperature, warmup_epochs
):
    objective = Objective(
        method, temperature, form, strength, CosineSchedule(), 0.3, 0.7, warmup_epochs, denominator=denominator
    )
    student, teacher, labels = batch(seed, rows=9, wrong_rows=wrong_rows)
    losses = objective(student, teacher, labels, epoch=epoch, epochs=10)
    expected = reference(objective, student, teacher, labels, epoch, 10)
    torch.testing.assert_close(losses.total.double(), expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student), rtol=1e-3, atol=1e-5)


@few
@given(seed=seeds, multiplier=st.floats(0.5, 3), weight=st.floats(0.1, 4), epoch=st.integers(0, 30))
def test_generous_loss_is_the_paper_s(seed, multiplier, weight, epoch):
    generous, standard, labels = batch(seed)
    losses = Objective.generous(multiplier, weight, 20)(generous, standard, labels, epoch=epoch, epochs=40)
    total = torch.zeros((), dtype=torch.float64)
    for g, t, y in zip(generous.double(), standard.double(), labels.tolist(), strict=True):
        rest = [k for k in range(len(t)) if k != y]
        tau_t, tau_g = multiplier * t.std(), multiplier * g.std()
        p, q = (t[rest] / tau_t).exp(), (g[rest] / tau_g).exp()
        p, q = p / p.sum(), q / q.sum()
        divergence = sum(p[k] * (p[k].log() - q[k].log()) for k in range(len(rest)))
        cross_entropy = g.exp().sum().log() - g[y]
        total = total + (cross_entropy + weight * min(epoch / 20, 1) * tau_t**2 * divergence) / len(labels)
    torch.testing.assert_close(losses.total.double(), total, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(gradient(losses.total, generous), gradient(total, generous), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("temperature", "oracle"),
    [(ConstantTemperature(4.0), partial(KDLoss, temperature=4.0)), (StdTemperature(2.0, "multiplier"), None)],
    ids=["kd", "standardised"],
)
def test_keep_is_the_field_s_plain_distillation(temperature, oracle):
    oracle = (oracle or partial(LogitStdKDLoss, temperature=2.0))(".", "output", ".", "output", alpha=0.1, beta=9.0)
    student, teacher, labels = batch(1)
    expected = oracle({".": {"output": student}}, {".": {"output": teacher}}, labels)
    objective = Objective(kd, temperature, "keep", 0.5, StepSchedule(0.2), 0.1, 9.0, 0)
    losses = objective(student, teacher, labels, epoch=3, epochs=4)
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [kd, host_dkd], ids=["kd", "dkd"])
@pytest.mark.parametrize("denominator", ["subset", "batch"])
def test_drop_is_the_method_on_right_rows_only(method, denominator):
    objective = replace(REPAIRED, form="drop", method=method, denominator=denominator)
    student, teacher, labels = batch(2)
    losses = objective(student, teacher, labels, epoch=1, epochs=4)
    is_right = teacher.argmax(dim=1) == labels
    distilled = 16 * method(student[is_right] / 4, teacher[is_right] / 4, labels[is_right])
    l_right = distilled.mean() if denominator == "subset" else distilled.sum() / len(labels)
    b = CosineSchedule().right_weight(0.25)
    expected = 0.5 * F.cross_entropy(student, labels) + 0.5 * b * l_right
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student))
    assert losses.parts["rectified"] == 0 and losses.parts["wrong_share"] == pytest.approx(1 / 3)


def test_strength_0_in_pair_form_is_the_teacher_as_it_is():
    student, teacher, labels = batch(3)
    losses = replace(REPAIRED, strength=0.0)(student, teacher, labels, epoch=1, epochs=3)
    per_sample = 16 * kd(student / 4, teacher / 4, labels)
    is_wrong = teacher.argmax(dim=1) != labels
    torch.testing.assert_close(losses.parts["right"], per_sample[~is_wrong].mean().detach())
    torch.testing.assert_close(losses.parts["rectified"], per_sample[is_wrong].mean().detach())


def test_denominators_differ_by_the_subset_s_share():
    student, teacher, labels = batch(4, rows=12, wrong_rows=3)
    subset = REPAIRED(student, teacher, labels, epoch=1, epochs=2).parts
    whole = replace(REPAIRED, denominator="batch")(student, teacher, labels, epoch=1, epochs=2).parts
    torch.testing.assert_close(whole["right"], subset["right"] * 9 / 12)
    torch.testing.assert_close(whole["rectified"], subset["rectified"] * 3 / 12)


@pytest.mark.parametrize("denominator", ["subset", "batch"])
@pytest.mark.parametrize(("wrong_rows", "empty", "full"), [(0, "rectified", "right"), (12, "right", "rectified")])
@pytest.mark.parametrize("form", ["pair", "swap", "one_hot", "drop", "keep"])
def test_an_empty_subset_gives_0(form, wrong_rows, empty, full, denominator):
    objective = replace(REPAIRED, form=form, denominator=denominator)
    student, teacher, labels = batch(5, wrong_rows=wrong_rows)
    losses = objective(student, teacher, labels, epoch=1, epochs=2)
    assert losses.parts[empty] == 0
    assert torch.isfinite(losses.total) and torch.isfinite(gradient(losses.total, student)).all()
    assert losses.parts[full] > 0 or (form == "drop" and full == "rectified")


def test_schedule_and_warmup_weigh_the_parts():
    student, teacher, labels = batch(6)
    objective = replace(REPAIRED, warmup_epochs=8, ce_weight=0.25, kd_weight=3.0)
    for epoch in (0, 1, 4, 8, 16):
        losses = objective(student, teacher, labels, epoch=epoch, epochs=16)
        parts, b = losses.parts, CosineSchedule().right_weight(epoch / 16)
        torch.testing.assert_close(parts["distillation"], b * parts["right"] + (1 - b) * parts["rectified"])
        expected = 0.25 * parts["cross_entropy"] + 3.0 * min(epoch / 8, 1) * parts["distillation"]
        torch.testing.assert_close(losses.total.detach(), expected)
    by_step = replace(REPAIRED, schedule=StepSchedule(0.5))
    before, after = (by_step(student, teacher, labels, epoch=epoch, epochs=16).parts for epoch in (7, 8))
    torch.testing.assert_close(before["distillation"], before["right"])
    torch.testing.assert_close(after["distillation"], after["rectified"])
    assert abs(before["right"] - before["rectified"]) > 0.01


def test_parts_are_detached_float32_scalars_with_the_documented_values():
    student, teacher, labels = batch(7)
    parts = replace(REPAIRED, temperature=StdTemperature(2.0))(student, teacher, labels, epoch=0, epochs=1).parts
    assert set(parts) == PARTS
    for part in parts.values():
        assert part.shape == () and part.dtype == torch.float32 and not part.requires_grad
    torch.testing.assert_close(parts["cross_entropy"], F.cross_entropy(student, labels).detach())
    torch.testing.assert_close(parts["teacher_temperature"], 2 * teacher.std(dim=1).mean())
    torch.testing.assert_close(parts["student_temperature"], 2 * student.detach().std(dim=1).mean())
    assert parts["wrong_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_teacher_or_kd_weight_it_is_cross_entropy(smoothing):
    student, teacher, labels = batch(8)
    expected = 0.5 * F.cross_entropy(student, labels, label_smoothing=smoothing)
    objective = replace(REPAIRED, label_smoothing=smoothing)
    untaught = objective(student, None, labels, epoch=1, epochs=2)
    unweighed = replace(objective, kd_weight=0.0)(student, teacher, labels, epoch=1, epochs=2)
    for losses in (untaught, unweighed):
        torch.testing.assert_close(losses.total, expected)
        torch.testing.assert_close(gradient(losses.total, student), gradient(expected, student))
        assert set(losses.parts) == {"cross_entropy"}
    taught = objective(student, teacher, labels, epoch=1, epochs=2).parts
    torch.testing.assert_close(taught["cross_entropy"], untaught.parts["cross_entropy"])


def test_the_teacher_gets_no_gradient():
    student, teacher, labels = batch(9)
    teacher.requires_grad_()
    REPAIRED(student, teacher, labels, epoch=1, epochs=2).total.backward()
    assert teacher.grad is None and student.grad is not None


@pytest.mark.parametrize("temperature", [ConstantTemperature(1e-3), ConstantTemperature(1e4), StdTemperature(0.01)])
@pytest.mark.parametrize("method", [kd, host_dkd], ids=["kd", "dkd"])
@pytest.mark.parametrize("form", ["pair", "swap", "one_hot", "drop", "keep"])
def test_extreme_logits_temperatures_and_strength_stay_finite(form, method, temperature):
    objective = replace(REPAIRED, form=form, strength=1.0, method=method, temperature=temperature)
    student, teacher, labels = batch(10, rows=32, classes=10, scale=1e4)
    with torch.no_grad():
        student[0], teacher[1] = 7.0, 7.0  # rows without spread
        student[2] = teacher[2]
    losses = objective(student, teacher, labels, epoch=1, epochs=2)
    assert torch.isfinite(losses.total) and all(torch.isfinite(part) for part in losses.parts.values())
    assert torch.isfinite(gradient(losses.total, student)).all()


@few
@given(seed=seeds, scale=st.floats(0.1, 50), student_shift=st.floats(-20, 20), teacher_shift=st.floats(-20, 20))
def test_shift_and_with_std_temperature_scale_change_no_distillation(seed, scale, student_shift, teacher_shift):
    student, teacher, labels = batch(seed)

    def distillation(objective, factor):
        moved = objective(student * factor + student_shift, teacher * factor + teacher_shift, labels, epoch=1, epochs=2)
        return moved.parts["distillation"], objective(student, teacher, labels, epoch=1, epochs=2).parts["distillation"]

    moved, still = distillation(REPAIRED, 1.0)
    torch.testing.assert_close(moved, still, rtol=1e-3, atol=1e-4)
    moved, still = distillation(replace(REPAIRED, temperature=StdTemperature(2.0, "multiplier")), scale)
    torch.testing.assert_close(moved, still, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrong_rows", [0, 1, 5, 13])
@pytest.mark.parametrize("denominator", ["subset", "batch"])
@pytest.mark.parametrize("form", ["pair", "drop", "keep", "untaught"])
def test_workers_average_to_the_joined_batch(form, denominator, wrong_rows):
    student, teacher, labels = batch(11, rows=13, wrong_rows=wrong_rows)
    objective = replace(REPAIRED, denominator=denominator, temperature=StdTemperature(2.0))
    if form == "untaught":
        teacher = None
    else:
        objective = replace(objective, form=form)
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
    for name, part in whole.parts.items():
        torch.testing.assert_close((parts[0].parts[name] + parts[1].parts[name]) / 2, part)


def product(student, teacher, labels):
    """A method with a matrix product, which autocast would take in bfloat16 even for float32 inputs."""
    return (student @ teacher.T).diagonal()


@pytest.mark.parametrize("method", [kd, host_dkd, product], ids=["kd", "dkd", "product"])
def test_bfloat16_under_autocast_is_float32_maths(method):
    objective = replace(REPAIRED, method=method, temperature=StdTemperature(2.0))
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


@pytest.mark.parametrize(
    "temperature", [ConstantTemperature(4.0), StdTemperature(2.0, "multiplier"), StdTemperature(1.0)]
)
@pytest.mark.parametrize("form", ["pair", "swap", "one_hot", "drop", "keep"])
def test_other_devices_see_no_stray_tensor_and_no_question_about_values(form, temperature):
    objective = replace(REPAIRED, form=form, temperature=temperature, method=host_dkd)
    devices = []
    colleagues = Workers(2, lambda counts: devices.append(counts.device.type) or counts)
    # Both modes raise if a value is asked for (.item(), a branch, a boolean index).
    with FakeTensorMode():
        student, teacher = torch.empty(2, 8, 5, device="cuda", dtype=torch.float16)
        labels = torch.zeros(8, dtype=torch.long, device="cuda")
        for knowledge in (teacher, None):
            losses = objective(student, knowledge, labels, epoch=1, epochs=2, workers=colleagues)
            assert all(t.device.type == "cuda" for t in (losses.total, *losses.parts.values()))
    assert devices == ["cuda", "cuda"]  # what the workers sum must be where their network is fast
    student = torch.empty(8, 5, device="meta", requires_grad=True)
    teacher, labels = torch.empty(8, 5, device="meta"), torch.zeros(8, dtype=torch.long, device="meta")
    objective(student, teacher, labels, epoch=1, epochs=2).total.backward()
    assert student.grad is not None and student.grad.shape == (8, 5)


def test_objectives_travel_between_processes():
    objective = Objective.generous(1.0, 2.0, 20)
    student, teacher, labels = batch(13)
    travelled = pickle.loads(pickle.dumps(objective))
    expected = objective(student, teacher, labels, epoch=30, epochs=40)
    assert torch.equal(travelled(student, teacher, labels, epoch=30, epochs=40).total, expected.total)


@pytest.mark.parametrize(
    "change",
    [
        {"form": "mend"},
        {"denominator": "half"},
        {"strength": 1.5},
        {"strength": float("nan")},
        {"label_smoothing": -0.1},
        {"ce_weight": -1.0},
        {"kd_weight": float("inf")},
        {"warmup_epochs": -1},
    ],
)
def test_settings_out_of_range_are_refused_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(REPAIRED, **change)


def test_batches_that_do_not_fit_are_refused():
    student, teacher, labels = batch(14)
    for misfit, message in (
        ((student, teacher[:, :-1], labels), "same shape"),
        ((student, teacher, labels[:-1]), "class numbers"),
        ((student, teacher, F.one_hot(labels, 6).float()), "mixed labels"),
        ((student, teacher, labels.float()), "class numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            REPAIRED(*misfit, epoch=1, epochs=2)
    for epoch, epochs in ((-1, 2), (3, 2), (0, 0)):
        with pytest.raises(ValueError, match="epoch"):
            REPAIRED(student, teacher, labels, epoch=epoch, epochs=epochs)


def test_keep_ignores_schedule_strength_and_denominator():
    student, teacher, labels = batch(15)
    plain = replace(REPAIRED, form="keep")
    other = replace(plain, schedule=ConstantSchedule(0.0), strength=1.0, denominator="batch")
    expected = plain(student, teacher, labels, epoch=1, epochs=2).total
    assert torch.equal(other(student, teacher, labels, epoch=1, epochs=2).total, expected)
