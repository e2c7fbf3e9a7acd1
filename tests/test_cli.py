"""The command `raykd`: what it lists and explains, at what cost, and how its errors end."""

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
from raykd.report.catalogue import KINDS, aligned
from raykd.search.space_file import space_names
from raykd.shipped import shipped
from tests.helpers.paths import ROOT

NAMES = {
    "methods": list(METHODS),
    "models": model_names(),
    "datasets": list(SOURCES),
    "spaces": space_names(),
    "recipes": [path.stem for path in (ROOT / "experiments/recipes").glob("*.yaml")],
}


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(words)
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_names_all_there_is_a_line_each(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "list", kind).splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert len(listed) == len(lines)
    assert set(NAMES[kind]) <= listed.keys()
    assert {name for name in listed.keys() - set(NAMES[kind]) if "/NAME" not in name and ":" not in name} == set()
    columns = {line.index(listed[line.split()[0]], len(line.split()[0])) for line in lines}
    assert len(columns) == 1


@pytest.mark.parametrize("kind", ["methods", "spaces", "recipes"])
def test_lists_cost_no_torch(kind: str) -> None:
    assert heavy_modules("list", kind) == set()


def test_explaining_a_method_of_answers_costs_no_torch() -> None:
    assert heavy_modules("explain", "dkd") == set()
    assert heavy_modules("explain", "ctkd") == {"torch"}


def heavy_modules(*words: str) -> set[str]:
    """Which of torch and Ray a command imports."""
    code = f"import sys; from raykd.cli import main; main({words!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {"torch", "ray"} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_lines_that_fit(width: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "raykd.cli", "list", "recipes"]
    with subprocess.Popen(command, stdout=theirs, env=os.environ | {"COLUMNS": f"{width}"}, cwd=ROOT) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the terminal's other side is closed
            pass
        assert process.wait() == 0
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= width
    assert len([line for line in lines if not line.startswith(" ")]) == len(NAMES["recipes"])


def test_long_lines_are_wrapped_under_themselves() -> None:
    lines = {"a": "one two three four five six", "long": "x"}
    assert aligned(lines, None) == "a     one two three four five six\nlong  x"
    assert aligned(lines, 26) == "a     one two three four\n      five six\nlong  x"


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
def test_errors_end_in_a_line_or_two(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, *words)
    assert message.startswith("error: ")
    assert error in message
    assert len(message.splitlines()) <= 2


def test_a_feature_method_tells_what_it_listens_to(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "explain", "at")
    assert "the last layer of each stage" in shown
    assert "method.at.weight  default 1000, >= 0" in shown
    assert "--method at" in shown
    assert "listens to" not in said(capsys, "explain", "kd")


def test_limits_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    shown = " ".join(said(capsys, "explain", "mse").split())
    assert "bias.strength below 1 with pair and one_hot" in shown
    assert "bias.margin below 1 with margin" in shown


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
    shown = said(capsys, "explain", "mine_to_explain:Mine")
    assert "My own." in shown
    assert "what enters the classifier's head" in shown
    assert "depth  default 3, whole" in shown
    assert "python experiments/distill.py --method mine_to_explain:Mine" in shown
    shown = said(capsys, "explain", "mine_to_explain:needs")
    assert "Distance to a power." in shown
    assert "And more." in shown
    assert "power  needed" in shown
    assert "base  default 2" in shown


def test_help_names_the_commands() -> None:
    shown = subprocess.run([sys.executable, "-m", "raykd.cli"], capture_output=True, text=True, check=True).stdout
    assert "list" in shown
    assert "explain" in shown


def test_own_files_go_before_those_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("search_spaces").mkdir()
    Path("search_spaces/dkd_bias.yaml").write_text("# What: my own.\nbias.strength: {low: 0.0, high: 1.0}\n")
    found = shipped("spaces")
    assert found["dkd_bias"] == Path("search_spaces/dkd_bias.yaml")
    assert found["generous"].is_absolute()
    assert list(found) == space_names()
