"""The split into right and wrong, and the repairs, against their formulas in probabilities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raykd.errors import RaykdError
from raykd.knowledge import BiasSettings, rectify, wrong
from tests.helpers.logit_batches import REPAIRS, repair_of
from tests.helpers.logit_reference import repaired, softmax

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 10**6)
strengths = st.floats(0, 1)


def wrong_rows(seed: int, rows: int = 6, classes: int = 5, scale: float = 2.0):
    """Logits whose argmax is never the label."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    offset = torch.randint(1, classes, (rows,), generator=generator)
    return logits, (logits.argmax(dim=1) + offset) % classes


def loop_reference(logits: torch.Tensor, labels: torch.Tensor, form: str, amount: float) -> np.ndarray:
    rows = zip(logits.double().numpy(), labels.tolist(), strict=True)
    return np.array([softmax(z) if z.argmax() == y else repaired(softmax(z), y, form, amount) for z, y in rows])


def test_wrong_is_an_argmax_that_is_not_the_label():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-9.0, -1.0, -2.0]])
    assert wrong(logits, torch.tensor([0, 2, 1])).tolist() == [False, True, False]


@pytest.mark.parametrize("form", REPAIRS)
@few
@given(seed=seeds, strength=strengths, classes=st.integers(2, 12))
def test_repairs_follow_their_formulas_and_leave_right_rows(form, seed, strength, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, classes, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(classes, (8,), generator=generator)
    labels[0] = logits[0].argmax()
    log_p = rectify(logits, labels, repair_of(form, strength))
    np.testing.assert_allclose(log_p.exp().numpy(), loop_reference(logits, labels, form, strength), atol=1e-12)
    torch.testing.assert_close(log_p[0], torch.log_softmax(logits[0], dim=0), rtol=0, atol=0)
    torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(8, dtype=torch.float64))


@pytest.mark.parametrize("repair", [repair_of(form, 0.0) for form in ("pair", "one_hot", "smooth")])
@few
@given(seed=seeds, scale=st.sampled_from([1.0, 100.0, 1e4]))
def test_strength_0_leaves_the_distribution_as_it_is(repair, seed, scale):
    logits, labels = wrong_rows(seed, scale=scale)
    log_p = torch.log_softmax(logits.float(), dim=1)
    torch.testing.assert_close(rectify(logits.float(), labels, repair), log_p, rtol=1e-6, atol=1e-6)


@few
@given(seed=seeds, classes=st.integers(2, 12))
def test_strength_half_of_the_pair_is_the_authors_formula(seed, classes):
    logits, labels = wrong_rows(seed, classes=classes)
    p = torch.softmax(logits, dim=1)
    repaired = rectify(logits, labels, repair_of("pair", 0.5)).exp()
    for i, (label, rival) in enumerate(zip(labels.tolist(), logits.argmax(dim=1).tolist(), strict=True)):
        mass = p[i, label] + p[i, rival]
        expected = p[i].clone()
        expected[label] = mass * (p[i, label] + 1) / (mass + 1)
        expected[rival] = mass * p[i, rival] / (mass + 1)
        torch.testing.assert_close(repaired[i], expected)


@pytest.mark.parametrize("form", ["pair", "swap"])
@few
@given(seed=seeds, strength=strengths)
def test_the_pair_keeps_its_mass_and_the_others_theirs(form, seed, strength):
    logits, labels = wrong_rows(seed)
    log_p, repaired = torch.log_softmax(logits, dim=1), rectify(logits, labels, repair_of(form, strength))
    pair = torch.zeros_like(logits, dtype=torch.bool).scatter(1, labels[:, None], True)
    pair.scatter_(1, logits.argmax(dim=1, keepdim=True), True)
    assert pair.sum() == 2 * len(labels)
    assert torch.equal(repaired[~pair], log_p[~pair])
    mass = (log_p.exp() * pair).sum(dim=1)
    torch.testing.assert_close((repaired.exp() * pair).sum(dim=1), mass)


@few
@given(seed=seeds, distance=st.floats(1e-4, 0.5), scale=st.floats(0.1, 10))
def test_the_label_overtakes_just_above_the_threshold(seed, distance, scale):
    logits, labels = wrong_rows(seed, rows=1, scale=scale)
    p = torch.softmax(logits, dim=1)[0]
    label, rival = int(labels), int(logits.argmax())
    gap = float(p[rival] - p[label])
    threshold = gap / (1 + gap)
    assert threshold <= 0.5
    above, below = threshold + distance * (1 - threshold), threshold * (1 - distance)
    repaired = rectify(logits, labels, repair_of("pair", above))[0]
    assert repaired[label] > repaired[rival]
    repaired = rectify(logits, labels, repair_of("pair", below))[0]
    assert repaired[label] < repaired[rival] or threshold - below < 1e-6


def test_strength_1_gives_the_label_the_whole_mass():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    p = torch.softmax(logits, dim=1)[0]
    pair = rectify(logits, torch.tensor([0]), repair_of("pair", 1.0)).exp()[0]
    torch.testing.assert_close(pair, torch.stack([p[0] + p[1], torch.tensor(0.0), p[2]]))
    one_hot = rectify(logits, torch.tensor([0]), repair_of("one_hot", 1.0)).exp()[0]
    torch.testing.assert_close(one_hot, torch.tensor([1.0, 0.0, 0.0]))


def test_strength_1_of_smooth_replaces_the_answer():
    logits, labels = wrong_rows(1)
    smoothed = rectify(logits, labels, BiasSettings(form="smooth", strength=1.0, smoothing=0.2)).exp()
    expected = 0.8 * torch.nn.functional.one_hot(labels, 5) + 0.2 / 5
    torch.testing.assert_close(smoothed, expected.double())


@few
@given(seed=seeds, amount=strengths, classes=st.integers(2, 12), scale=st.floats(0.1, 10))
def test_margin_is_the_lead_and_revision_leads_by_what_eta_leaves(seed, amount, classes, scale):
    logits, labels = wrong_rows(seed, classes=classes, scale=scale)
    rival = logits.argmax(dim=1, keepdim=True)
    for repair, lead in ((repair_of("margin", amount), amount), (repair_of("revision", amount), 1 - amount)):
        p = rectify(logits, labels, repair).exp()
        leads = (p.gather(1, labels[:, None]) - p.gather(1, rival))[:, 0]
        torch.testing.assert_close(leads, torch.full_like(leads, lead), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", REPAIRS)
@few
@given(seed=seeds, amount=st.floats(0.01, 0.99))
def test_the_other_classes_keep_their_order(form, seed, amount):
    logits, labels = wrong_rows(seed, classes=8)
    pair = torch.zeros_like(logits, dtype=torch.bool).scatter(1, labels[:, None], True)
    pair.scatter_(1, logits.argmax(dim=1, keepdim=True), True)
    log_p = rectify(logits, labels, repair_of(form, amount))
    others, before = (x[~pair].view(len(labels), -1) for x in (log_p, logits))
    assert torch.equal(others.argsort(dim=1), before.argsort(dim=1))


@pytest.mark.parametrize("form", REPAIRS)
@few
@given(seed=seeds, amount=strengths, scale=st.sampled_from([1.0, 100.0]))
def test_right_rows_come_back_as_they_are_to_the_bit(form, seed, amount, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, 5, generator=generator) * scale
    labels = logits.argmax(dim=1)
    assert torch.equal(rectify(logits, labels, repair_of(form, amount)), torch.log_softmax(logits, dim=1))


@pytest.mark.parametrize("strength", [0.0, 1e-12, 0.5, 1 - 1e-12, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8])
@pytest.mark.parametrize("form", REPAIRS)
def test_log_p_stays_finite_and_normalised(form, scale, strength):
    logits, labels = wrong_rows(2, rows=32, classes=10, scale=scale)
    log_p = rectify(logits.float(), labels, repair_of(form, strength))
    assert torch.isfinite(log_p).all()
    torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(32), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", REPAIRS)
def test_a_tie_of_label_and_rival_is_repaired_among_different_classes(form):
    # Wrong before temperature, tied after it: the rival must be the other class, whichever argmax would pick.
    log_p = rectify(torch.tensor([[2.0, 2.0, 0.0]] * 2), torch.tensor([0, 1]), repair_of(form, 0.5))
    torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(2))
    torch.testing.assert_close(log_p[0, [1, 0, 2]], log_p[1])
    assert form == "swap" or log_p[0, 0] > log_p[0, 1]


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("setting", ["strength", "smoothing", "eta", "margin"])
def test_numbers_out_of_range_are_refused_by_name(setting, bad):
    with pytest.raises(RaykdError, match=setting):
        BiasSettings.model_validate({setting: bad})


@pytest.mark.parametrize("form", REPAIRS)
def test_a_single_class_is_refused(form):
    with pytest.raises(ValueError, match="2 classes"):
        rectify(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), repair_of(form, 0.5))
