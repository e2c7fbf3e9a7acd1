"""Schedules of right against rectified knowledge."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raykd.errors import RaykdError
from raykd.knowledge import ScheduleSettings
from tests.helpers.logit_batches import always, cosine, linear, rising, step

few = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("schedule", "weights"),
    [
        (cosine(), [1, 0.853553, 0.5, 0.146447, 0]),
        (cosine(2.0), [1, 0.990393, 0.853553, 0.402455, 0]),
        (rising(), [0, 0.146447, 0.5, 0.853553, 1]),
        (rising(2.0), [0, 0.009607, 0.146447, 0.597545, 1]),
        (linear(), [1, 0.75, 0.5, 0.25, 0]),
        (linear(2.0), [1, 0.9375, 0.75, 0.4375, 0]),
        (always(0.3), [0.3] * 5),
        (step(0.5), [1, 1, 0, 0, 0]),
        (step(0.0), [0] * 5),
    ],
)
def test_weights_at_quarters(schedule, weights):
    assert [schedule.right_weight(quarter / 4) for quarter in range(5)] == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize("kind", [cosine, linear])
@few
@given(shape=st.floats(0.05, 20), progress=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_shaped_schedules_fall_from_1_to_0_within_bounds(kind, shape, progress):
    schedule = kind(shape)
    earlier, later = sorted(progress)
    assert 1 >= schedule.right_weight(earlier) >= schedule.right_weight(later) >= 0
    assert schedule.right_weight(0.0) == 1
    assert schedule.right_weight(1.0) == pytest.approx(0, abs=1e-12)
    # A larger shape falls later.
    assert kind(shape * 2).right_weight(later) >= schedule.right_weight(later)


@pytest.mark.parametrize("schedule", [cosine(), linear(), rising(), always(0.5), step(0.5)])
def test_progress_outside_0_to_1_is_refused_and_schedules_travel(schedule):
    for progress in (-0.01, 1.01, float("nan")):
        with pytest.raises(ValueError, match="progress"):
            schedule.right_weight(progress)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_shapes_are_refused(bad):
    with pytest.raises(RaykdError, match="shape"):
        ScheduleSettings(shape=bad)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("setting", ["weight", "step_at"])
def test_bad_weights_and_steps_are_refused(setting, bad):
    with pytest.raises(RaykdError, match=setting):
        ScheduleSettings.model_validate({setting: bad})
