"""Settings: read, overridden and written by dotted names; mistakes answered in a line or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raykd.command_line import parse
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.saved_settings import save_experiment
from raykd.settings_errors import SettingsError
from raykd.settings_io import (
    experiment_from_yaml,
    friendly,
    load_experiment,
    override,
    read_yaml,
    resolve_setting,
    setting_names,
    setting_value,
)

BASE = Experiment()


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(RaykdError) as caught:
        load_experiment(write(folder, text), BASE)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


def test_nested_dotted_and_mixed_names_lie_over_the_base(tmp_path: Path) -> None:
    base = override(BASE, {"training.epochs": 7, "study.trials": 5})
    text = "training: {batch_size: 32}\nmethod:\n  dkd.non_target_weight: 2\nbias.form: swap\ncluster:\n"
    loaded = load_experiment(write(tmp_path, text), base)
    changes = {"training.batch_size": 32, "method.dkd.non_target_weight": 2.0, "bias.form": "swap"}
    assert loaded == override(base, changes)
    assert loaded.training.epochs == 7
    assert base.training.batch_size == 64


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load_experiment(write(tmp_path, "# nothing yet\n"), BASE) == BASE


def test_a_file_replaces_arguments_and_a_dotted_name_sets_one(tmp_path: Path) -> None:
    base = override(BASE, {"student.arguments": {"width": 2, "depth": 3}})
    assert load_experiment(write(tmp_path, "student: {arguments: {width: 0.5}}"), base).student.arguments == {
        "width": 0.5
    }
    dotted = load_experiment(write(tmp_path, "student.arguments.width: 0.5"), base)
    assert dotted.student.arguments == {"width": 0.5, "depth": 3}


def test_numbers_in_exponent_notation_are_numbers(tmp_path: Path) -> None:
    loaded = load_experiment(write(tmp_path, "student.arguments: {a: 1e-4, b: '1e-4', c: -2E3, d: 1.5e3}"), BASE)
    assert loaded.student.arguments == {"a": 1e-4, "b": "1e-4", "c": -2000.0, "d": 1500.0}


def test_override_leaves_experiment_and_values_alone() -> None:
    arguments = {"width": 1}
    changed = override(BASE, {"student.arguments": arguments, "student.arguments.depth": 2})
    assert changed.student.arguments == {"width": 1, "depth": 2}
    assert arguments == {"width": 1}
    assert Experiment() == BASE


def test_override_keeps_the_types_of_arguments() -> None:
    values = {"student.arguments": {"a": True, "b": 1, "c": 1.0, "d": "1"}}
    kinds = [type(value) for value in override(BASE, values).student.arguments.values()]
    assert kinds == [bool, int, float, str]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: {trails: 3}", "unknown setting 'study.trails' in {file}: did you mean 'study.trials'?"),
        ("traning.epochs: 3", "unknown setting 'traning.epochs' in {file}: did you mean 'training.epochs'?"),
        ("bias.strengh: 3", "unknown setting 'bias.strengh' in {file}: did you mean 'bias.strength'?"),
        ("study.trials: -1", "study.trials: Input should be greater than or equal to 1 (got -1) in {file}"),
        (
            "bias: {form: pears}",
            "bias.form: Input should be 'pair', 'swap', 'one_hot', 'smooth', 'revision', 'margin', 'drop' or 'keep' "
            "(got 'pears') in {file}: did you mean 'pair'?",
        ),
        ("training.milestones: [0.5, 3]", "training.milestones[1]: Input should be less than 1 (got 3) in {file}"),
        (
            "student.arguments.width: [1]",
            "student.arguments.width: Input should be a valid boolean, or a valid integer, or a valid number, or text "
            "(got [1]) in {file}",
        ),
        (
            "objective: {ce_weight: 0, kd_weight: 0}",
            "objective.ce_weight and objective.kd_weight are both 0: the student would learn nothing ({file})",
        ),
        (
            "bias: pair",
            "'bias' in {file} is a section, not a setting: "
            "name one of bias.form, bias.strength, bias.smoothing, bias.eta, ...",
        ),
        ("bias.form: swap\nbias: {form: drop}", "bias.form is given twice in {file}"),
        ("bias: {form: swap, form: drop}", "{file} is not valid YAML: line 1: 'form' is given twice"),
        ("bias: {form: swap\nx", "{file} is not valid YAML: line 2: expected ',' or '}}', but got '<stream end>'"),
        ("- bias", "{file} must hold names with their values, such as 'study.trials: 32'"),
        ("3: 4", "{file} must hold names with their values, such as 'study.trials: 32'"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message.format(file=tmp_path / "experiment.yaml")


def test_an_unknown_name_like_no_other_is_answered_with_the_sections(tmp_path: Path) -> None:
    message = refusal(tmp_path, "zzz: 3")
    assert "known: bank, bias, claims, cluster, comparison, confirm, data" in message
    assert "bias.form" not in message


def test_two_wrong_values_take_two_lines(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "study.trials: 0\nbias.strength: 2").splitlines()
    assert [line.split(":")[0] for line in lines] == ["bias.strength", "study.trials"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RaykdError, match=r"cannot read .*nowhere.yaml: No such file or directory"):
        load_experiment(tmp_path / "nowhere.yaml", BASE)


def test_friendly_names_unknown_settings_that_pydantic_found() -> None:
    with pytest.raises(SettingsError) as caught:
        Experiment.model_validate({"bias": {"strenght": 1}})
    assert str(friendly(caught.value, "here")) == (
        "unknown setting 'bias.strenght' in here: did you mean 'bias.strength'?"
    )


def test_long_inputs_are_cut() -> None:
    with pytest.raises(RaykdError) as caught:
        override(BASE, {"training.epochs": "x" * 500})
    assert len(str(caught.value)) < 200


def test_setting_names_are_leaves_and_all_resolve() -> None:
    names = setting_names()
    assert {"temperature.multiplier", "student.arguments", "method.dkd.target_weight", "teacher.cache"} <= set(names)
    assert not {"bias", "method.dkd"} & set(names)
    for name in names:
        assert resolve_setting(name).description
    assert setting_value(BASE, "teacher.model.name") == "resnet56"
    assert override(BASE, {name: setting_value(BASE, name) for name in names}) == BASE


def test_resolve_setting_reaches_into_dictionaries() -> None:
    assert resolve_setting("student.arguments.width").annotation == bool | int | float | str
    assert setting_value(BASE, "student.arguments.width") is None
    for name in ("student.arguments.a.b", "student.arguments.", "bias.form.x"):
        with pytest.raises(RaykdError, match="unknown setting"):
            resolve_setting(name)


def test_read_yaml_allows_merge_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(path)["b"] == {"x": 3, "y": 2}


def test_an_infinite_number_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "training.learning_rate: .inf").startswith(
        "training.learning_rate: Input should be a finite number (got inf)"
    )


SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(["1e-4", "yes", "null", "~", "0x1f", "1_000", "2020-01-01", ".5", "", "1:30", "=", "<<"]),
)
OVERRIDES: dict[str, st.SearchStrategy[Any]] = {
    "student.arguments": st.dictionaries(st.text(min_size=1), SCALARS, max_size=4),
    "training.learning_rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    "training.milestones": st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), max_size=3),
    "training.gradient_clip": st.none() | st.floats(1e-9, 1e9),
    "data.root": st.none() | st.sampled_from(["/data/x", "1e3", "~/y"]).map(Path),
    "bias.form": st.sampled_from(["pair", "swap", "keep"]),
    "tracking.log_model": st.booleans(),
    "tracking.uri": st.none()
    | st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"], exclude_characters="~"), min_size=1),
}


@given(values=st.fixed_dictionaries({}, optional=OVERRIDES))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_save_and_load_give_an_equal_experiment(tmp_path: Path, values: dict[str, Any]) -> None:
    experiment = override(BASE, values)
    path = tmp_path / "new folder" / "saved.yaml"
    save_experiment(experiment, path)
    loaded = load_experiment(path, override(BASE, {"study.trials": 3, "student.arguments": {"other": 1}}))
    assert loaded == experiment
    assert {k: type(v) for k, v in loaded.student.arguments.items()} == {
        k: type(v) for k, v in experiment.student.arguments.items()
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["saved.yaml"]


@pytest.mark.parametrize("text", ["tracking: {registered_name: null, registered_alias: champion}", "study.trials: 3"])
def test_files_of_earlier_releases_are_read(text: str) -> None:
    experiment = experiment_from_yaml(text, Experiment(), "old.yaml")
    assert experiment.tracking == Experiment().tracking


@pytest.mark.parametrize("text", ["tracking.registered_name: digits", "tracking: {registered_alias: best}"])
def test_a_retired_setting_that_was_used_is_refused_with_what_to_use_instead(text: str) -> None:
    with pytest.raises(RaykdError, match=r"^tracking\.registered_\w+ in old\.yaml: .*raykd register STUDY --name NAME"):
        experiment_from_yaml(text, Experiment(), "old.yaml")
    with pytest.raises(RaykdError, match="raykd register STUDY"):
        override(Experiment(), {"tracking.registered_name": None})


SCRIPT = Experiment.model_validate(
    {
        "data": {"name": "digits", "train_images": 400, "validation_share": 0.4, "cache": "/cache"},
        "student": {"name": "resnet8", "arguments": {"width": 0.5}},
        "teacher": {"model": {"name": "resnet20", "arguments": {"width": 2}}},
    }
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--data.name", "digits", "--student.name", "resnet8"], {}),
        (
            ["--data.name=fashion_mnist"],
            {"data.name": "fashion_mnist", "data.train_images": None, "data.validation_share": 0.2},
        ),
        (
            ["--data.name", "fashion_mnist", "--data.train-images", "70"],
            {"data.name": "fashion_mnist", "data.train_images": 70, "data.validation_share": 0.2},
        ),
        (["--student.name", "vgg8"], {"student.name": "vgg8", "student.arguments": {}}),
        (["--teacher.model.name", "vgg13"], {"teacher.model.name": "vgg13", "teacher.model.arguments": {}}),
    ],
)
def test_another_data_set_or_network_drops_what_was_said_of_the_former(
    arguments: list[str], expected: dict[str, object], tmp_path: Path
) -> None:
    parsed = parse(SCRIPT, "", arguments)
    assert parsed == override(SCRIPT, expected)
    # A file of settings is read in the same way.
    names = {name: value for name, value in expected.items() if name.endswith(".name") or value == 70}
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(names) if names else "")
    assert load_experiment(file, SCRIPT) == parsed
