"""A few cases in processes of their own: exit code, both streams and colours as a shell or a terminal has them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

TUNE = [str(ROOT / "experiments/tune_dkd.py")]
RAYKD = ["-m", "raykd.cli"]
CASES = {
    "settings": ([*TUNE, "--study.trails", "3"], "did you mean '--study.trials'?"),
    "command": ([*RAYKD, "lits"], "did you mean 'list'?"),
    "arguments": ([*RAYKD, "export", "x"], "raykd export needs --output"),
    "file": ([*TUNE, "--config", "nowhere.yaml"], "cannot read nowhere.yaml"),
}


@pytest.mark.parametrize(("words", "says"), CASES.values(), ids=CASES)
def test_a_process_ends_with_2_and_two_lines(words: list[str], says: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "40"}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert done.stderr.replace("\n", "").isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_a_colour_and_whole_words(tmp_path: Path) -> None:
    reading_end, terminal = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "40", "TERM": "xterm"}
    command = [sys.executable, *RAYKD, "list", "methosd"]
    with subprocess.Popen(command, stderr=terminal, env=environment, cwd=tmp_path) as process:
        os.close(terminal)
        output = b""
        try:
            while part := os.read(reading_end, 4096):
                output += part
        except OSError:  # the terminal's other side is closed
            pass
        assert process.wait() == 2
    assert b"\x1b[1;31merror:\x1b[0m unknown kind 'methosd': did you mean 'methods'?" in output
