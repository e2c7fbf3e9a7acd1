"""Experiments' scripts, run in the process of the test: a process of their own would import torch, Ray and MLflow."""

from __future__ import annotations

import logging
import runpy
import sys
from pathlib import Path

import pytest

QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that Python does not show users."""


def failed_script(
    script: Path,
    arguments: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> str:
    """Run a script in a folder until it exits with code 2.

    Nothing is printed to standard output, and no warning is logged or shown.

    Returns:
        What it printed to standard error.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 2
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [str(warning.message) for warning in recwarn if not issubclass(warning.category, QUIET)] == []
    printed = capfd.readouterr()
    assert printed.out == ""
    return printed.err
