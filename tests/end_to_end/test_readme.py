"""README's first ten commands, and its and the quick start's Python, as they stand there, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import raykd
from raykd.cli import main
from tests.helpers.pages import PYTHON
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.cluster

(USE,) = re.findall(r"^## Use$.*?^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line, comments=True) for line in USE.splitlines()]
SAID = {
    "doctor": "versions",
    "list": "corrected_kd",
    "explain": "arXiv 2203.08679",
    "distill": "outputs/first",
    "tune": "outputs/second",
    "report": "report.html",
    "replay": "the same to the bit",
    "confirm": "test split",
    "export": "100.00% equal answers",
    "plan": "recommended",
}
"""What each command says, among other things."""


def test_readmes_first_ten_commands_and_the_quick_start_run(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [program for program, *_ in COMMANDS] == ["raykd"] * 10
    assert [command for _, command, *_ in COMMANDS] == list(SAID)
    for _, command, *words in COMMANDS:
        main([command, *words])
        shown = capsys.readouterr().out
        assert SAID[command] in shown, f"{command}: {shown}"
    study = raykd.load_study("outputs/second")
    assert len(study.trials) == 8 and study.finalists is not None
    names: dict[str, Any] = {}
    for page in ("README.md", "docs/quick_start.md"):
        for block in PYTHON.findall((ROOT / page).read_text()):
            exec(block, names)
    assert names["study"] == study
    assert names["result"].folder == tmp_path / "outputs/from-python/student"
    assert names["value"].isfinite() and names["student_logits"].grad is not None
    assert (tmp_path / "outputs/second/report/report.html").stat().st_size > 0
    assert {path.name for path in (tmp_path / "exported").iterdir()} >= {"model.pt2", "model.safetensors", "card.json"}
