"""The whole loss of every method with every repair, under every policy, against a float64 reference."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raykd.knowledge import Objective
from tests.helpers.logit_batches import (
    ANSWER_METHODS,
    FORMS,
    batch,
    constant,
    cosine,
    gradient,
    policy_of,
    repair_of,
    std,
    term_of,
)
from tests.helpers.logit_reference import objective as reference
from tests.helpers.logit_reference import slope

TEMPERATURES = [constant(4.0), std(1.5), std(2.0, "multiplier")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ANSWER_METHODS)
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    wrong_rows=st.integers(0, 7),
    epoch=st.integers(0, 10),
    amount=st.floats(0.01, 0.95),
    warmup_epochs=st.sampled_from([0, 4]),
    hand_over=st.sampled_from(["rectified", "labels", "right"]),
)
def test_value_and_gradient_are_those_of_the_formula(
    method, form, seed, wrong_rows, epoch, amount, warmup_epochs, hand_over
):
    student, teacher, labels = batch(seed, rows=7, classes=5, wrong_rows=wrong_rows)
    v, z = student.detach().double().numpy(), teacher.double().numpy()
    direction = np.random.default_rng(seed).normal(size=v.shape)
    for temperature in TEMPERATURES:
        for denominator in ("subset", "batch"):
            objective = Objective(
                term_of(method),
                temperature,
                repair_of(form, amount, denominator),
                cosine().model_copy(update={"hand_over": hand_over}),
                0.3,
                0.7,
                warmup_epochs,
            )
            total = objective(student, teacher, labels, epoch=epoch, epochs=10).total

            def expected(v, temperature=temperature, denominator=denominator):
                return reference(
                    v,
                    z,
                    labels.tolist(),
                    method=method,
                    policy=policy_of(temperature),
                    form=form,
                    amount=amount,
                    denominator=denominator,
                    ce_weight=0.3,
                    kd_weight=0.7 * (min(epoch / warmup_epochs, 1) if warmup_epochs else 1),
                    right_weight=math.cos(math.pi * epoch / 20) ** 2,
                    hand_over=hand_over,
                )

            # CTKD multiplies differences of nearly equal float32 log-probabilities by a T^2 of some 250.
            precision = 3e-4 if method == "ctkd" else 1e-4
            assert total.item() == pytest.approx(expected(v), rel=precision, abs=1e-4)
            along = (gradient(total, student).double().numpy() * direction).sum()
            assert along == pytest.approx(slope(expected, v, direction), rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("temperature", TEMPERATURES, ids=["constant", "std", "multiplier"])
@pytest.mark.parametrize("form", ["pair", "one_hot", "margin"])
@pytest.mark.parametrize("method", sorted({*ANSWER_METHODS} - {"mse", "logit_standardisation"}))
def test_a_repair_to_certainty_has_the_value_of_its_limit(method, form, temperature):
    student, teacher, labels = batch(21, rows=40, classes=30, wrong_rows=20)
    repair = repair_of(form, 1.0)
    objective = Objective(term_of(method), temperature, repair, cosine(), 0.3, 0.7, 0)
    # Where nothing but the label is left, these two compare the others by their last trace.
    amount = 1 - 1e-12 if method in ("dkd", "rld") and form != "pair" else 1.0
    expected = reference(
        student.detach().double().numpy(),
        teacher.double().numpy(),
        labels.tolist(),
        method=method,
        policy=policy_of(temperature),
        form=form,
        amount=amount,
        denominator="subset",
        ce_weight=0.3,
        kd_weight=0.7,
        right_weight=math.cos(math.pi / 4) ** 2,
    )
    total = objective(student, teacher, labels, epoch=1, epochs=2).total
    assert total.item() == pytest.approx(expected, rel=1e-3)
    assert torch.isfinite(gradient(total, student)).all()
