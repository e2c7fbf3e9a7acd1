"""A folder that may only be read ends every command in two lines, and what only reads goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raykd.config import TrackingSettings
from tests.helpers.finished_models import finished_study
from tests.helpers.mounts import seen_read_only
from tests.helpers.paths import ROOT


def told(code: object, message: str, word: str) -> bool:
    """Whether a command has ended in at most two lines, one of which has this word."""
    lines = message.strip().splitlines()
    return code in (1, 2) and len(lines) <= 2 and lines[0].startswith("error: ") and word in message


def test_every_command_on_a_read_only_folder_ends_in_two_lines(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    finished_study(outputs, TrackingSettings())
    stored = outputs / "cache/teachers/0123456789abcdef/bank/views"
    stored.mkdir(parents=True)
    for name in ("about.json", "00000.safetensors"):
        (stored / name).write_text("{}")
    before = sorted(outputs.rglob("*"))
    if subprocess.run(seen_read_only(outputs, ["true"]), check=False, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    command = seen_read_only(outputs, [sys.executable, "-m", "tests.helpers.read_only", str(outputs)])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    ended = json.loads(shown.stdout.splitlines()[-1])
    assert ended.pop("report elsewhere")[0] == 0
    others = {
        name: end for name, end in ended.items() if not told(*end, "MLflow" if name == "register" else str(outputs))
    }
    assert others == {}
    assert sorted(outputs.rglob("*")) == before
