"""The files of search spaces: where they are found, and what is refused before a study starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import raykd
import raykd.shipped
from raykd.errors import RaykdError
from raykd.search.space_file import load_space, space_names
from tests.helpers.paths import ROOT
from tests.helpers.spaces import BASE, space_of


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
            "in {f}, bias.form, choices: did you mean 'pair'?",
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
            "in {f}, bias.strength, when: did you mean 'pair'?",
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
