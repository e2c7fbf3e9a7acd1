"""What `--help` shows first: on a page, with the defaults of the command at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tyro

from raykd.cli import main
from raykd.command_line import parse
from raykd.config import Experiment, StudySettings
from raykd.errors import RaykdError
from raykd.settings_help import MAIN_SETTINGS, first_sentence, print_help
from raykd.settings_io import override, resolve_setting, setting_names, setting_value
from raykd.shipped import shipped
from raykd.study.confirm.setup import OWN


def test_help_shows_what_matters_with_the_defaults_at_hand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training.epochs: 7\n")
    with pytest.raises(SystemExit) as ended:
        parse(Experiment(study=StudySettings(name="mine")), "Do it.", ["--config", str(file), "--help"], program="do")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: do [--SETTING VALUE ...]\n\nDo it.\n")
    rows = {line.split()[0]: line.split()[1] for line in shown.splitlines() if line.startswith("  --")}
    assert list(rows) == [f"--{name.replace('_', '-')}" for name in MAIN_SETTINGS]
    assert (rows["--study.name"], rows["--training.epochs"], rows["--study.resume"]) == ("mine", "7", "off")
    assert "do --help-all" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_all_settings_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(Experiment(), "Do it.", ["--help-all"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    shown_options = set(re.findall(r"--([\w.-]+)", shown.replace("_", "-")))
    missing = [name for name in setting_names() if name.replace("_", "-") not in shown_options]
    assert missing == [name for name in setting_names() if tyro.conf.Suppress in resolve_setting(name).metadata]


def test_a_command_shows_only_what_it_hears(capsys: pytest.CaptureFixture[str]) -> None:
    main(["confirm", "--help"])
    shown = capsys.readouterr().out
    options = [line.split()[0].removeprefix("--") for line in shown.splitlines() if line.startswith("  --")]
    assert options == [name.replace("_", "-") for name in setting_names() if name.startswith(OWN)]
    assert "--help-all" not in shown


def test_a_recipe_is_named_without_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named, path = "cifar100_resnet56_resnet20", shipped("recipes")["cifar100_resnet56_resnet20"]
    by_path = parse(Experiment(), arguments=["--config", str(path)])
    assert parse(Experiment(), arguments=["--config", named]) == by_path
    assert parse(Experiment(), arguments=["--experiment", named]) == by_path
    with pytest.raises(RaykdError, match=r"unknown file or recipe .*did you mean 'cifar100_resnet56_resnet20'"):
        parse(Experiment(), arguments=["--config", "cifar100_resnet56_resnet2"])
    Path(named).write_text("training.epochs: 3\n")
    assert parse(Experiment(), arguments=["--config", named]).training.epochs == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Peak rate. It falls.", "Peak rate."),
        ("One of `raykd list methods`,\n    or a path.", "One of raykd list methods, or a path."),
        (None, ""),
    ],
)
def test_first_sentences(text: str | None, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_values_are_shown_as_the_command_line_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    experiment = override(Experiment(), {"student.arguments": {"width": 2}})
    print_help("do", "Do it.", experiment, ["student.arguments", "study.space", "data.root", "study.objectives"])
    shown = capsys.readouterr().out
    values = {line.split()[0]: line.split()[1] for line in shown.splitlines() if line.startswith("  --")}
    assert values["--student.arguments"] == "width=2"
    assert values["--data.root"] == "-"
    assert values["--study.space"] == setting_value(experiment, "study.space")
