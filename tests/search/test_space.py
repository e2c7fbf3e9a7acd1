"""Search spaces: the format, what is sampled, where the search starts, and the shipped files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from raykd.search.space import Row
from raykd.search.space_file import load_space
from raykd.settings_io import override
from tests.helpers.paths import ROOT
from tests.helpers.spaces import BASE, samples, space_of

EXAMPLE = """
# How wrong answers are repaired.
temperature.multiplier: {low: 0.5, high: 8.0, log: true, default: 2.0}
bias.form: {choices: [swap, pair, one_hot]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: [pair, one_hot]}}
training.batch_size: {low: 32, high: 128, step: 32}
"""


def test_sampled_values_have_the_type_and_range_of_their_setting(tmp_path: Path) -> None:
    drawn = samples(space_of(tmp_path, EXAMPLE), 60)
    assert {type(values["training.batch_size"]) for values in drawn} == {int}
    assert {values["training.batch_size"] for values in drawn} == {32, 64, 96, 128}
    assert {values["bias.form"] for values in drawn} == {"swap", "pair", "one_hot"}
    multipliers = [values["temperature.multiplier"] for values in drawn]
    assert all(0.5 <= multiplier <= 8.0 for multiplier in multipliers)
    # log: as many below the geometric mean as above; on a linear range a fifth would be.
    assert sum(multiplier < 2.0 for multiplier in multipliers) > 20


def test_whole_bounds_on_a_float_setting_give_floats(tmp_path: Path) -> None:
    drawn = samples(space_of(tmp_path, "bias.strength: {low: 0, high: 1}"), 5)
    assert all(isinstance(values["bias.strength"], float) for values in drawn)
    assert len({values["bias.strength"] for values in drawn}) == 5


def test_conditions_decide_what_is_sampled(tmp_path: Path) -> None:
    for values in samples(space_of(tmp_path, EXAMPLE), 40):
        assert ("bias.strength" in values) == (values["bias.form"] in ("pair", "one_hot"))


def test_an_entry_left_out_fulfils_no_condition(tmp_path: Path) -> None:
    text = """
teacher.kind: {choices: [standard, generous]}
teacher.generous.multiplier: {choices: [1.0, 2.0], when: {teacher.kind: generous}}
teacher.generous.weight: {choices: [0.5, 2.0], when: {teacher.generous.multiplier: 1.0}}
"""
    drawn = samples(space_of(tmp_path, text), 60)
    for values in drawn:
        assert ("teacher.generous.weight" in values) == (values.get("teacher.generous.multiplier") == 1.0)
    assert any("teacher.generous.weight" in values for values in drawn)
    assert any(values["teacher.kind"] == "standard" for values in drawn)


def test_conditions_on_settings_that_are_not_searched_ask_the_experiment(tmp_path: Path) -> None:
    text = "method.dkd.target_weight: {low: 0.5, high: 2.0, when: {method.name: dkd, data.name: digits}}"
    assert samples(space_of(tmp_path, text), 1)[0].keys() == {"method.dkd.target_weight"}
    assert samples(space_of(tmp_path, text, override(BASE, {"method.name": "kd"})), 1) == [{}]


def test_defaults_are_given_or_the_experiments_own_or_the_nearest(tmp_path: Path) -> None:
    base = override(BASE, {"training.batch_size": 300, "training.learning_rate": 0.1, "bias.form": "keep"})
    text = """
temperature.multiplier: {low: 0.5, high: 8.0, default: 3}
training.learning_rate: {low: 0.01, high: 1.0, log: true}
training.batch_size: {low: 32, high: 128, step: 32}
training.momentum: {low: 0.0, high: 0.5, step: 0.1}
training.gradient_clip: {low: 1.0, high: 100.0, log: true}
training.weight_decay: {low: 0.0, high: 0.01, step: 0.002}
bias.form: {choices: [swap, pair]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: pair}}
"""
    defaults = space_of(tmp_path, text, base).defaults()
    assert defaults == {
        "temperature.multiplier": 3.0,
        "training.learning_rate": 0.1,
        "training.batch_size": 128,
        "training.momentum": 0.5,
        "training.gradient_clip": 10.0,
        "training.weight_decay": 0.0,
        "bias.form": "swap",
    }
    assert [type(value) for value in defaults.values()] == [float, float, int, float, float, float, str]


def test_null_is_a_choice_and_a_default_where_the_setting_takes_it(tmp_path: Path) -> None:
    space = space_of(tmp_path, "training.gradient_clip: {choices: [1, null, 5]}")
    assert space.defaults() == {"training.gradient_clip": None}
    assert {values["training.gradient_clip"] for values in samples(space, 30)} == {1.0, None, 5.0}


def test_arguments_of_a_model_can_be_searched(tmp_path: Path) -> None:
    text = "student.arguments.width: {low: 0.5, high: 2.0}\nstudent.arguments.depth: {low: 1, high: 3}"
    for values in samples(space_of(tmp_path, text), 5):
        assert isinstance(values["student.arguments.width"], float)
        assert isinstance(values["student.arguments.depth"], int)
        assert override(BASE, values).student.arguments["width"] == values["student.arguments.width"]


def test_small_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    space = space_of(tmp_path, "training.weight_decay: {low: 1e-5, high: 1e-3, log: true}")
    assert all(1e-5 <= values["training.weight_decay"] <= 1e-3 for values in samples(space, 20))


def test_table_names_and_repr(tmp_path: Path) -> None:
    space = space_of(tmp_path, EXAMPLE)
    assert space.names == ["temperature.multiplier", "bias.form", "bias.strength", "training.batch_size"]
    assert space.describe() == [
        Row("temperature.multiplier", "0.5 to 8.0, log", "2.0"),
        Row("bias.form", "swap | pair | one_hot", "swap"),
        Row("bias.strength", "0.0 to 1.0 (if bias.form is pair or one_hot)", "0.5"),
        Row("training.batch_size", "32 to 128, step 32", "64"),
    ]
    assert repr(space) == f"SearchSpace({tmp_path / 'space.yaml'}: {', '.join(space.names)})"


def test_augmentations_are_the_data_settings_that_may_be_searched(tmp_path: Path) -> None:
    text = "data.crop_padding: {low: 0, high: 4}\ndata.horizontal_flip: {choices: [true, false]}"
    drawn = samples(space_of(tmp_path, text), 20)
    assert {values["data.crop_padding"] for values in drawn} == {0, 1, 2, 3, 4}
    assert {values["data.horizontal_flip"] for values in drawn} == {True, False}


@pytest.mark.parametrize("name", ["dkd_bias", "teachers_bias", "generous", "recipe", "teachers"])
@pytest.mark.parametrize("changes", [{}, {"method.name": "kd", "temperature.policy": "std"}])
def test_shipped_spaces(name: str, changes: dict[str, Any]) -> None:
    base = override(BASE, changes)
    space = load_space(name, base)
    drawn = [space.defaults(), *samples(space, 100)]
    for values in drawn:
        override(base, values)
    sampled = set().union(*drawn)
    # One space searches the policy itself.
    searched = name == "teachers_bias"
    out_of_play = set() if searched else {"temperature.value" if changes else "temperature.multiplier"}
    assert sampled == set(space.names) - out_of_play
    assert (ROOT / "search_spaces" / f"{name}.yaml").read_text().startswith("# What:")


def test_dkd_bias_starts_at_the_experiment_itself() -> None:
    start = override(BASE, load_space("dkd_bias", BASE).defaults())
    assert start.training_spec().identity() == BASE.training_spec().identity()


def test_generous_trains_ten_teachers_at_most() -> None:
    drawn = samples(load_space("generous", BASE), 300)
    teachers = {tuple(v for name, v in values.items() if name.startswith("teacher")) for values in drawn}
    assert len(teachers) == 10


FLOATS = st.floats(min_value=1e-6, max_value=1e3, allow_nan=False)
RANGES = st.tuples(FLOATS, FLOATS, st.booleans()).filter(lambda r: r[0] < r[1])
GRIDS = st.tuples(st.integers(1, 512), st.integers(1, 64), st.integers(1, 9))


@given(
    rate=RANGES,
    batch=GRIDS,
    forms=st.lists(st.sampled_from(["pair", "swap", "one_hot", "drop", "keep"]), min_size=1, unique=True),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_and_defaults_lie_inside_and_are_accepted(
    tmp_path: Path, rate: tuple[float, float, bool], batch: tuple[int, int, int], forms: list[str], seed: int
) -> None:
    low, step, steps = batch
    document = {
        "training.learning_rate": {"low": rate[0], "high": rate[1], "log": rate[2]},
        "training.batch_size": {"low": low, "high": low + step * steps, "step": step},
        "bias.form": {"choices": forms},
        "bias.strength": {"low": 0.0, "high": 1.0, "step": 0.1, "when": {"bias.form": forms[0]}},
    }
    space = space_of(tmp_path, yaml.safe_dump(document, sort_keys=False))
    for values in [space.defaults(), *samples(space, 5, seed)]:
        assert rate[0] <= values["training.learning_rate"] <= rate[1]
        assert values["training.batch_size"] in range(low, low + step * steps + 1, step)
        assert values["bias.form"] in forms
        assert ("bias.strength" in values) == (values["bias.form"] == forms[0])
        assert override(BASE, values).bias.form == values["bias.form"]


@given(low=st.decimals(0, 10, places=2), step=st.decimals("0.01", 3, places=2), steps=st.integers(1, 30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decimal_steps_meet_their_end(tmp_path: Path, low: Any, step: Any, steps: int) -> None:
    high = low + step * steps
    assume(float(low) < float(high))
    space = space_of(tmp_path, f"objective.kd_weight: {{low: {low}, high: {high}, step: {step}}}")
    grid = {float(low + step * i) for i in range(steps + 1)}
    assert space.defaults()["objective.kd_weight"] in grid
    for values in samples(space, 5):
        assert min(abs(values["objective.kd_weight"] - point) for point in grid) < 1e-9


@pytest.mark.parametrize(
    ("text", "changes", "epochs"),
    [
        ("bias.strength: {low: 0.0, high: 1.0}", {}, 0),
        ("bias.strength: {low: 0.0, high: 1.0}", {"objective.warmup_epochs": 3}, 3),
        ("objective.warmup_epochs: {choices: [0, 5]}", {}, 5),
        ("objective.warmup_share: {low: 0.0, high: 0.25}", {}, 10),
        ("objective.warmup_share: {low: 0.0, high: 0.25}", {"objective.warmup_epochs": 30}, 10),
    ],
)
def test_the_longest_warmup(tmp_path: Path, text: str, changes: dict[str, Any], epochs: int) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    base = override(BASE, {"training.epochs": 40, "bias.form": "pair"} | changes)
    assert load_space(str(file), base).longest_warmup == epochs


def test_a_share_that_is_not_set_begins_at_what_the_experiment_has(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("objective.warmup_share: {low: 0.0, high: 0.25}")
    base = override(BASE, {"training.epochs": 40, "objective.warmup_epochs": 4})
    start = load_space(str(file), base).defaults()
    assert start == {"objective.warmup_share": 0.1}
    assert override(base, start).training_spec().identity() == base.training_spec().identity()
