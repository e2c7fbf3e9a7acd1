"""Temperatures: values, invariances, and rows without spread."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raykd.errors import RaykdError
from raykd.knowledge import TemperatureSettings, kd
from tests.helpers.logit_batches import constant, std

few = settings(max_examples=25, deadline=None)


def logits_of(seed: int, rows: int = 4, classes: int = 7, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * scale


def test_constant_temperature_is_the_same_for_every_row():
    temperature = constant(4.0).of(logits_of(0))
    assert temperature.tolist() == [[4.0]] * 4
    assert constant(4.0).squared_weight(temperature).tolist() == [16.0] * 4


@few
@given(seed=st.integers(0, 10**6), multiplier=st.floats(0.1, 10), classes=st.integers(2, 40))
def test_std_temperature_is_the_unbiased_std_of_each_row(seed, multiplier, classes):
    logits = logits_of(seed, classes=classes)
    expected = [multiplier * np.std(row, ddof=1) for row in logits.double().numpy()]
    temperature = std(multiplier).of(logits)
    np.testing.assert_allclose(temperature.numpy()[:, 0], expected, rtol=1e-4)


def test_loss_weight_is_the_temperature_or_the_multiplier_squared():
    temperature = torch.tensor([[2.0], [3.0]])
    assert std(5.0).squared_weight(temperature).tolist() == [4.0, 9.0]
    assert std(5.0, "multiplier").squared_weight(temperature).tolist() == [25.0, 25.0]


@few
@given(seed=st.integers(0, 10**6), log_scale=st.floats(-2, 4), shift=st.floats(-20, 20))
def test_std_tempered_logits_keep_their_softmax_under_scale_and_shift(seed, log_scale, shift):
    logits = logits_of(seed).double()
    changed = logits * 10**log_scale + shift
    temperature = std(1.5)
    before = torch.softmax(logits / temperature.of(logits), dim=1)
    after = torch.softmax(changed / temperature.of(changed), dim=1)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-9)


def test_std_temperature_is_not_detached():
    logits = logits_of(1).double().requires_grad_()
    assert torch.autograd.gradcheck(std(2.0).of, [logits])
    std(2.0).of(logits).sum().backward()
    assert logits.grad is not None and (logits.grad.abs() > 1e-3).any()


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4])
def test_constant_rows_have_a_finite_value_and_a_bounded_gradient(value):
    student = torch.full((2, 10), value).requires_grad_()
    teacher = logits_of(2, rows=2, classes=10)
    temperature = std(1.0)
    of_teacher = temperature.of(teacher)
    loss = kd(student / temperature.of(student), teacher / of_teacher, torch.zeros(2, dtype=torch.long))
    (temperature.squared_weight(of_teacher) * loss).sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(student.grad).all()
    # 1 / the smallest std, times T^2 of about 9: far below the 1e6 and more that an epsilon of 1e-7 gives.
    assert 1e3 < student.grad.abs().max() < 3e5


def test_a_constant_teacher_is_finite_too():
    temperature = std(0.5).of(torch.zeros(3, 4))
    assert (temperature > 0).all() and torch.isfinite(torch.zeros(3, 4) / temperature).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("setting", ["value", "multiplier"])
def test_temperatures_that_are_not_positive_and_finite_are_refused(setting, bad):
    with pytest.raises(RaykdError, match=setting):
        TemperatureSettings.model_validate({setting: bad})


def test_unknown_loss_weight_and_a_single_class_are_refused():
    with pytest.raises(RaykdError, match="loss_weight"):
        std(1.0, "std")
    with pytest.raises(ValueError, match="2 classes"):
        std(1.0).of(torch.zeros(3, 1))
