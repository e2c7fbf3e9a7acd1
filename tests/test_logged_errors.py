"""What is logged of an error holds no codes for colours, whatever the terminal is, and is cut between words."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from raykd.cluster.trainer import reason_of
from raykd.command_line import read_words
from raykd.config import Experiment
from raykd.data.fetch import _reason
from raykd.errors import RaykdError, plain, shortened
from raykd.tracking.delivery import _cut
from raykd.training.folder import FAILURE
from raykd.training.members import failure_report
from tests.helpers.specs import request_for

RED = "\x1b[1;31mred\x1b[0m and \x1b[38;5;208morange\x1b[39m, \x1b[?25lhidden"


def test_codes_for_colours_are_left_out() -> None:
    assert plain(RED) == "red and orange, hidden"
    assert shortened(f"{RED}\n{RED}") == "red and orange, hidden red and orange, hidden"


def test_a_failure_is_reported_and_kept_without_colours(tmp_path: Path) -> None:
    request = request_for(Experiment().training_spec(), tmp_path / "student")
    for error in (ValueError(RED), RaykdError(RED)):
        failure = failure_report(request, error).failure
        assert failure is not None and "red and orange, hidden" in failure and "\x1b" not in failure
    kept = (tmp_path / "student" / FAILURE).read_text()
    assert "ValueError: red and orange, hidden" in kept and "\x1b" not in kept


def test_the_reason_of_a_classrooms_end_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    error = RayTaskError("teach", "\x1b[36mray::Worker.teach()\x1b[39m\nValueError: \x1b[31mx\x1b[0m", ValueError("x"))
    assert reason_of(pickle.loads(pickle.dumps(error))) == "ValueError: x"


def test_a_refused_command_line_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(RaykdError) as caught:
        read_words(Experiment, ["--study.trials", "many"], default=Experiment())
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).startswith("--study.trials: 'many' is no number")


def test_long_texts_are_cut_between_words() -> None:
    text = "word " * 2000
    for cut in (_cut(text, 5000), _cut(text, 5003), _reason(OSError(text)), shortened(text, 77)):
        assert set(cut.removesuffix(" ...").split(" ")) == {"word"} and cut.endswith(" ...")
    assert 4900 < len(_cut(text, 5000)) <= 5000
    assert _cut("x" * 6000, 5000) == "x" * 4996 + " ..."
    assert _cut("first " + "x" * 6000, 5000).startswith("first xxx")
