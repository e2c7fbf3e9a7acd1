"""How a case is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.bad_input import Bad, Refuse, refusal


@pytest.fixture
def refuse(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> Refuse:
    """Run a case in an empty folder; see `refusal`."""

    def run(case: Bad) -> str:
        return refusal(case, tmp_path, monkeypatch, capfd, caplog, recwarn)

    return run
