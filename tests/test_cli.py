"""The command `raykd`: its lists and explanations, what they import, and its errors."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from raykd.cli import main
from raykd.data.load import SOURCES
from raykd.knowledge.methods import METHODS
from raykd.models import model_names
from raykd.report.catalogue import CATALOGUES, two_columns
from raykd.report.ideas import CHOICES, PARTS, SAMPLERS
from raykd.search.space_file import space_names
from raykd.settings_io import setting_names
from raykd.shipped import shipped
from tests.helpers.paths import ROOT

NAMES = {
    "methods": list(METHODS),
    "models": model_names(),
    "datasets": list(SOURCES),
    "spaces": space_names(),
    "recipes": [path.stem for path in (ROOT / "experiments/recipes").glob("*.yaml")],
    **{kind: list(choices.ideas) for kind, choices in CHOICES.items()},
    "samplers": list(SAMPLERS),
    "ideas": list(PARTS),
    "settings": setting_names(),
}
LIGHT = sorted(NAMES.keys() - {"models", "datasets"})
"""Kinds whose lists cost neither torch nor Ray."""


def output_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(words)
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", CATALOGUES)
def test_a_list_has_one_line_for_each_name(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of(capsys, "list", kind).splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert len(listed) == len(lines)
    assert set(NAMES[kind]) <= listed.keys()
    assert {name for name in listed.keys() - set(NAMES[kind]) if "/NAME" not in name and ":" not in name} == set()
    columns = {line.index(listed[line.split()[0]], len(line.split()[0])) for line in lines}
    assert len(columns) == 1


def test_lists_do_not_import_torch() -> None:
    assert heavy_modules(*(("list", kind) for kind in LIGHT)) == set()


def test_the_explanation_of_a_method_of_answers_does_not_import_torch() -> None:
    assert heavy_modules(("explain", "dkd"), ("explain", "bias.strength"), ("explain", "pair")) == set()
    assert heavy_modules(("explain", "ctkd")) == {"torch"}


def heavy_modules(*commands: tuple[str, ...]) -> set[str]:
    """Which of torch and Ray commands import."""
    code = f"import sys; from raykd.cli import main; [main(words) for words in {commands!r}]; print(*sys.modules)"
    completed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {"torch", "ray"} & set(completed.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_a_terminal(width: int) -> None:
    reading_end, terminal = pty.openpty()
    command = [sys.executable, "-m", "raykd.cli", "list", "recipes"]
    with subprocess.Popen(command, stdout=terminal, env=os.environ | {"COLUMNS": f"{width}"}, cwd=ROOT) as process:
        os.close(terminal)
        output = b""
        try:
            while part := os.read(reading_end, 4096):
                output += part
        except OSError:  # the terminal's other side is closed
            pass
        assert process.wait() == 0
    lines = output.decode().splitlines()
    assert max(map(len, lines)) <= width
    assert len([line for line in lines if not line.startswith(" ")]) == len(NAMES["recipes"])


def test_long_descriptions_are_wrapped_in_their_column() -> None:
    lines = {"a": "one two three four five six", "long": "x"}
    assert two_columns(lines, None) == "a     one two three four five six\nlong  x"
    assert two_columns(lines, 26) == "a     one two three four\n      five six\nlong  x"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["lst"], "unknown command 'lst': did you mean 'list'?"),
        (["list", "method"], "unknown kind 'method': did you mean 'methods'?"),
        (["list", "receipts"], "unknown kind 'receipts': did you mean 'recipes'?"),
        (["explain", "dkdd"], "unknown method 'dkdd': did you mean 'dkd'?"),
        (["explain", "no_such_module:loss"], "method 'no_such_module:loss': no module named 'no_such_module'"),
        (["explain", "math:pi"], "expected a function"),
    ],
)
def test_errors_have_one_or_two_lines(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of(capsys, *words)
    assert message.startswith("error: ")
    assert error in message
    assert len(message.splitlines()) <= 2


def test_a_feature_method_names_its_hint_layers(capsys: pytest.CaptureFixture[str]) -> None:
    output = output_of(capsys, "explain", "at")
    assert "hint layers" in output
    assert "the last layer of each stage" in output
    assert "method.at.weight  default 1000, >= 0" in output
    assert "--method at" in output
    assert "hint layers" not in output_of(capsys, "explain", "kd")


def test_limits_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    output = " ".join(output_of(capsys, "explain", "mse").split())
    assert "bias.strength below 1 with pair and one_hot" in output
    assert "bias.margin below 1 with margin" in output


def test_a_method_by_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine_to_explain.py").write_text(
        "from raykd.knowledge.methods.base import FeatureMethod\n"
        "class Mine(FeatureMethod):\n"
        '    """My own."""\n'
        "    where = 'embedding'\n"
        "    depth: int = 3\n"
        "    def loss(self, hints): ...\n"
        "def needs(student, teacher, labels, power, base=2.0):\n"
        '    """Distance\n    to a power.\n\n    And more.\n    """\n'
    )
    output = output_of(capsys, "explain", "mine_to_explain:Mine")
    assert "My own." in output
    assert "what enters the classifier's head" in output
    assert "depth  default 3, whole" in output
    assert "raykd distill --method mine_to_explain:Mine" in output
    output = output_of(capsys, "explain", "mine_to_explain:needs")
    assert "Distance to a power." in output
    assert "And more." in output
    assert "power  needed" in output
    assert "base  default 2" in output


def test_help_names_the_commands() -> None:
    output = subprocess.run([sys.executable, "-m", "raykd.cli"], capture_output=True, text=True, check=True).stdout
    assert "list" in output
    assert "explain" in output


def test_own_files_take_precedence_over_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("search_spaces").mkdir()
    Path("search_spaces/dkd_bias.yaml").write_text("# What: my own.\nbias.strength: {low: 0.0, high: 1.0}\n")
    spaces = shipped("spaces")
    assert spaces["dkd_bias"] == Path("search_spaces/dkd_bias.yaml")
    assert spaces["generous"].is_absolute()
    assert list(spaces) == space_names()
