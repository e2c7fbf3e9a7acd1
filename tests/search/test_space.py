"""Search spaces: the format, the shipped files, what is sampled, and what is refused before a study starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import raykd
import raykd.shipped
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.search.space import Row, SearchSpace
from raykd.search.space_file import load_space, space_names
from raykd.settings_io import override
from tests.helpers.paths import ROOT

BASE = Experiment()

EXAMPLE = """
# How wrong answers are repaired.
temperature.multiplier: {low: 0.5, high: 8.0, log: true, default: 2.0}
bias.form: {choices: [swap, pair, one_hot]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: [pair, one_hot]}}
training.batch_size: {low: 32, high: 128, step: 32}
"""


def space_of(folder: Path, text: str, base: Experiment = BASE) -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(str(path), base)


def samples(space: SearchSpace, count: int, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.sample(study.ask()) for _ in range(count)]


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
        Row("bias.form", "swap | pair | one_hot", "pair"),
        Row("bias.strength", "0.0 to 1.0 (if bias.form is pair or one_hot)", "0.5"),
        Row("training.batch_size", "32 to 128, step 32", "64"),
    ]
    assert repr(space) == f"SearchSpace({tmp_path / 'space.yaml'}: {', '.join(space.names)})"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bias.strenght: {low: 0, high: 1}", "unknown setting 'bias.strenght' in {f}: did you mean 'bias.strength'?"),
        (
            "bias: {form: {choices: [pair]}}",
            "'bias' in {f} is a section, not a setting: name one of bias.form, bias.strength, "
            "bias.smoothing, bias.eta, ...",
        ),
        (
            "training.milestones: {choices: [0.5]}",
            "{f}: training.milestones: training.milestones is not a single value, which is all that a space can handle",
        ),
        (
            "bias.form: {low: 0, high: 1}",
            "{f}: bias.form: its values are no numbers, so a range means nothing; give {{choices: [...]}}",
        ),
        (
            "training.nesterov: {low: 0, high: 1}",
            "{f}: training.nesterov: its values are no numbers, so a range means nothing; "
            "give {{choices: [true, false]}}",
        ),
        (
            "training.batch_size: {low: 32.5, high: 64}",
            "{f}: training.batch_size: it is a whole number, so low, high and step must be whole numbers too",
        ),
        (
            "training.batch_size: {low: 32, high: 64, step: 0.5}",
            "{f}: training.batch_size: it is a whole number, so low, high and step must be whole numbers too",
        ),
        (
            "bias.strength: {low: a, high: 1}",
            "low: Input should be a valid integer, or a valid number (got 'a') in {f}, bias.strength",
        ),
        (
            "training.batch_size: {choices: [32, many]}",
            "training.batch_size: Input should be a valid integer, unable to parse string as an integer "
            "(got 'many') in {f}, training.batch_size, choices",
        ),
        (
            "training.batch_size: {choices: [32, true]}",
            "training.batch_size cannot be true in {f}, training.batch_size, choices",
        ),
        ("bias.strength: {low: 1.0, high: 0.5}", "{f}: bias.strength: low 1.0 must be below high 0.5"),
        ("bias.strength: {low: 0.5, high: 0.5}", "{f}: bias.strength: low 0.5 must be below high 0.5"),
        ("bias.strength: {low: 0, high: .inf}", "{f}: bias.strength: low, high and step must be finite"),
        (
            "bias.strength: {low: 0, high: 1, log: true}",
            "{f}: bias.strength: `low > 0` must hold for `log=True`, but got (low=0, high=1)",
        ),
        (
            "bias.strength: {low: 0.1, high: 1, log: true, step: 0.1}",
            "{f}: bias.strength: The parameter `step` is not supported when `log` is true",
        ),
        (
            "training.batch_size: {low: 0, high: 64, log: true}",
            "{f}: training.batch_size: `low >= 1` must hold for `log=True`, but got (low=0, high=64)",
        ),
        (
            "training.batch_size: {low: 2, high: 64, log: true, step: 2}",
            "{f}: training.batch_size: Samplers and other components in Optuna only accept step is 1 "
            "when `log` argument is True",
        ),
        ("bias.strength: {low: 0, high: 1, step: 0}", "{f}: bias.strength: `step > 0` must hold, but got step=0"),
        (
            "training.batch_size: {low: 32, high: 64, step: -32}",
            "{f}: training.batch_size: `step > 0` must hold, but got step=-32",
        ),
        (
            "bias.strength: {low: 0, high: 1, step: 0.3}",
            "{f}: bias.strength: steps of 0.3 from 0 do not meet high 1; the last before it is 0.9",
        ),
        (
            "training.batch_size: {low: 32, high: 100, step: 32}",
            "{f}: training.batch_size: steps of 32 from 32 do not meet high 100; the last before it is 96",
        ),
        (
            "bias.strength: {low: 0, high: 1, choices: [0.5]}",
            "{f}: bias.strength: give either choices or a range (low, high), not both",
        ),
        ("bias.strength: {low: 0}", "{f}: bias.strength: high missing; an entry has low and high, or choices"),
        ("bias.strength: {high: 1}", "{f}: bias.strength: low missing; an entry has low and high, or choices"),
        ("bias.strength: {}", "{f}: bias.strength: low and high missing; an entry has low and high, or choices"),
        ("bias.strength: {lo: 0, high: 1}", "unknown key 'lo' in {f}, bias.strength: did you mean 'low'?"),
        (
            "bias.strength: 0.5",
            "{f}: bias.strength: expected {{low: ..., high: ...}} or {{choices: [...]}}, got 0.5",
        ),
        ("bias.form: {choices: []}", "{f}: bias.form: The `choices` must contain one or more elements"),
        ("bias.form: {choices: [pair, pair]}", "{f}: bias.form: choice pair is given twice"),
        (
            "bias.form: {choices: [pair, pears]}",
            "bias.form: Input should be 'pair', 'swap', 'one_hot', 'smooth', 'revision', 'margin', "
            "'drop' or 'keep' (got 'pears') "
            "in {f}, bias.form, choices",
        ),
        (
            "bias.strength: {low: 0, high: 2}",
            "bias.strength: Input should be less than or equal to 1 (got 2) in {f}, bias.strength, high",
        ),
        (
            "training.learning_rate: {low: 0, high: 1}",
            "training.learning_rate: Input should be greater than 0 (got 0) in {f}, training.learning_rate, low",
        ),
        (
            "bias.strength: {low: 0, high: 0.5, default: 0.7}",
            "{f}: bias.strength: default 0.7 is not in its range: 0.0 to 0.5",
        ),
        (
            "training.batch_size: {low: 32, high: 96, step: 32, default: 40}",
            "{f}: training.batch_size: default 40 is not in its range: 32 to 96, step 32",
        ),
        (
            "bias.form: {choices: [pair, swap], default: drop}",
            "{f}: bias.form: default drop is not in its range: pair | swap",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {bias.from: pair}}",
            "unknown setting 'bias.from' in {f}, bias.strength: did you mean 'bias.form'?",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {bias: pair}}",
            "'bias' in {f}, bias.strength is a section, not a setting: name one of bias.form, bias.strength, "
            "bias.smoothing, bias.eta, ...",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {training.milestones: 0.5}}",
            "{f}: bias.strength: training.milestones is not a single value, which is all that a space can handle",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {study.scheduler: asha}}",
            "{f}: bias.strength: when cannot name study.scheduler: "
            "it steers the search itself and is the same for all trials",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {bias.form: pair}}\nbias.form: {choices: [pair, swap]}",
            "{f}: bias.strength: when names bias.form, which must stand above it in the file",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {bias.strength: 0.5}}",
            "{f}: bias.strength: when names bias.strength, which must stand above it in the file",
        ),
        (
            "bias.form: {choices: [pair, swap]}\nbias.strength: {low: 0, high: 1, when: {bias.form: [pair, drop]}}",
            "{f}: bias.strength: when waits for bias.form drop, which it never takes: pair | swap",
        ),
        (
            "training.batch_size: {low: 32, high: 64, step: 32}\n"
            "bias.strength: {low: 0, high: 1, when: {training.batch_size: 48}}",
            "{f}: bias.strength: when waits for training.batch_size 48, which it never takes: 32 to 64, step 32",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {bias.form: pears}}",
            "bias.form: Input should be 'pair', 'swap', 'one_hot', 'smooth', 'revision', 'margin', "
            "'drop' or 'keep' (got 'pears') "
            "in {f}, bias.strength, when",
        ),
        (
            "bias.strength: {low: 0, high: 1, when: {bias.form: []}}",
            "{f}: bias.strength: when: bias.form has no value to wait for",
        ),
        (
            "data.seed: {low: 0, high: 5}",
            "{f}: data.seed cannot be searched: trials on different data, splits or views would not be comparable",
        ),
        (
            "training.epochs: {low: 10, high: 50}",
            "{f}: training.epochs cannot be searched: trials of different length would not be comparable, "
            "and schedulers count epochs",
        ),
        (
            "study.scheduler: {choices: [asha]}",
            "{f}: study.scheduler cannot be searched: it steers the search itself and is the same for all trials",
        ),
        (
            "cluster.workers: {low: 1, high: 2}",
            "{f}: cluster.workers cannot be searched: it says where trials run, which must not change what they give",
        ),
        (
            "tracking.log_model: {choices: [true]}",
            "{f}: tracking.log_model cannot be searched: it says where trials are logged, "
            "which must not change what they give",
        ),
        (
            "teacher.cache: {choices: [a]}",
            "{f}: teacher.cache cannot be searched: it is a folder, shared by all trials",
        ),
        ("", "{f} names no setting to search, such as 'bias.strength: {{low: 0.0, high: 1.0}}'"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RaykdError) as caught:
        space_of(tmp_path, text)
    assert str(caught.value) == message.format(f=tmp_path / "space.yaml")


def test_augmentations_are_the_data_settings_that_may_be_searched(tmp_path: Path) -> None:
    text = "data.crop_padding: {low: 0, high: 4}\ndata.horizontal_flip: {choices: [true, false]}"
    drawn = samples(space_of(tmp_path, text), 20)
    assert {values["data.crop_padding"] for values in drawn} == {0, 1, 2, 3, 4}
    assert {values["data.horizontal_flip"] for values in drawn} == {True, False}


def test_spaces_are_found_here_first_then_in_the_package_then_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        Path(load_space("dkd_bias", BASE).source) == Path(raykd.__file__).parent.parent / "search_spaces/dkd_bias.yaml"
    )

    wheel = tmp_path / "site-packages" / "raykd"
    (wheel / "search_spaces").mkdir(parents=True)
    shutil.copy(ROOT / "search_spaces" / "dkd_bias.yaml", wheel / "search_spaces")
    monkeypatch.setattr(raykd.shipped, "__file__", str(wheel / "shipped.py"))
    assert Path(load_space("dkd_bias", BASE).source) == wheel / "search_spaces" / "dkd_bias.yaml"
    assert space_names() == ["dkd_bias"]

    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "dkd_bias.yaml").write_text("bias.strength: {low: 0, high: 1}")
    assert load_space("dkd_bias", BASE).names == ["bias.strength"]


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(RaykdError) as caught:
        load_space("dkd_bais", BASE)
    assert str(caught.value) == "unknown search space 'dkd_bais' in study.space: did you mean 'dkd_bias'?"
    with pytest.raises(RaykdError, match=r"no search space at nowhere/dkd_bias\.yaml"):
        load_space("nowhere/dkd_bias.yaml", BASE)


@pytest.mark.parametrize("name", ["dkd_bias", "generous"])
@pytest.mark.parametrize("changes", [{}, {"method.name": "kd", "temperature.policy": "constant"}])
def test_shipped_spaces(name: str, changes: dict[str, Any]) -> None:
    base = override(BASE, changes)
    space = load_space(name, base)
    drawn = [space.defaults(), *samples(space, 100)]
    for values in drawn:
        override(base, values)
    sampled = set().union(*drawn)
    out_of_play = {name for name in space.names if changes and name.startswith(("method.dkd", "temperature"))}
    assert sampled == set(space.names) - out_of_play
    assert (ROOT / "search_spaces" / f"{name}.yaml").read_text().startswith("# What:")


def test_dkd_bias_starts_at_the_experiment_itself() -> None:
    assert override(BASE, load_space("dkd_bias", BASE).defaults()) == BASE


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
