"""A case of bad input: a command line with files, run in this process through the entry that users take."""

from __future__ import annotations

import hashlib
import logging
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raykd.cli import main
from tests.helpers.paths import ROOT
from tests.helpers.scripts import QUIET

NOBODY = "127.0.0.1:1"
"""An address at which no cluster answers: what is not refused ends there."""
SCRIPTS = {file.stem: file for file in (ROOT / "experiments").glob("*.py")}
LONGEST_LINE = 500


@dataclass(frozen=True)
class Bad:
    """A command line that is refused.

    - words: a script of experiments/ or a command of `raykd`, and its arguments
    - says: what the message says, among others: where it is wrong, and the nearest valid name or what to do
    - files: of the present folder, by name
    - make: makes further files there
    """

    words: tuple[str, ...]
    says: tuple[str, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    make: Callable[[Path], object] = lambda folder: None


def bad(line: str, *says: str, make: Callable[[Path], object] = lambda folder: None, **files: str | bytes) -> Bad:
    """A case, from the words of its command line; `files` are named without their ending, which is .py."""
    return Bad(tuple(line.split()), says, {f"{name}.py": content for name, content in files.items()}, make)


def settings(text: str, *says: str, make: Callable[[Path], object] = lambda folder: None, **modules: str) -> Bad:
    """A case of a single run, from the text of a file of settings."""
    files: dict[str, str | bytes] = {f"{name}.py": content for name, content in modules.items()}
    return Bad(("distill", "--config", "mine.yaml"), says, {"mine.yaml": text} | files, make)


Refuse = Callable[[Bad], str]


def refusal(
    case: Bad,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> str:
    """Run a case in a folder, and return what it printed to standard error.

    It exits with 2, in at most two lines and before a cluster starts. It prints nothing else, logs no warning, and
    writes nothing into the present folder and the user's home.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAY_ADDRESS", os.environ.get("RAY_ADDRESS", NOBODY))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, content in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    case.make(folder)
    before = _files_of(folder) | _files_of(Path.home())
    with pytest.raises(SystemExit) as ended:
        _run(case.words, monkeypatch)
    printed = capfd.readouterr()
    _forget_modules_of(folder)
    message, lines = printed.err, printed.err.splitlines()
    assert ended.value.code == 2, message
    assert message.startswith("error: ")
    assert len(lines) <= 2, message
    assert max(map(len, lines)) <= LONGEST_LINE
    # A terminal is steered by nothing, and the words of other libraries are not shown.
    assert message.replace("\n", "").isprintable()
    assert not any(words in message for words in ("Traceback", "pydantic", "pathlib", "NoneType"))
    if not any(NOBODY in words for words in case.words):
        assert f"nothing answers at {NOBODY}" not in message, "it is not refused before a cluster is looked for"
    assert printed.out == ""
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [str(warning.message) for warning in recwarn if not issubclass(warning.category, QUIET)] == []
    assert _files_of(folder) | _files_of(Path.home()) == before
    for words in case.says:
        assert words in message, message
    return message


def _run(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = words
    if first in ("tune", "distill"):
        script = SCRIPTS["tune_dkd" if first == "tune" else first]
        monkeypatch.setattr(sys, "argv", [str(script), *rest])
        runpy.run_path(str(script), run_name="__main__")
    else:
        monkeypatch.setattr(sys, "argv", ["raykd", *words])
        main()


def _files_of(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder, and the names of the folders."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in folder.rglob("*")
    }


def _forget_modules_of(folder: Path) -> None:
    """Let the next case import modules of the same names anew."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
