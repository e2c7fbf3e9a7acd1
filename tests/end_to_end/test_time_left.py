"""How long a run takes is known before its first epoch is over."""

from __future__ import annotations

import re
import threading
import time
from io import StringIO
from pathlib import Path

import pytest

import raykd
from raykd.settings_io import override
from tests.helpers.node_networks import HURRY
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

SECONDS = 0.8
"""Of a step."""


def hurry_when(text: str, shown: StringIO, folder: Path) -> None:
    """End the slowness of networks when this has been shown, or after a minute."""
    end = time.monotonic() + 60
    while text not in shown.getvalue() and time.monotonic() < end:
        time.sleep(0.1)
    (folder / HURRY).touch()


def test_the_first_batches_tell_how_long_a_run_takes(cluster: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    settings = {
        "teacher.model.name": "tests.helpers.node_networks:noted",
        "teacher.model.arguments": {"folder": str(seen), "seconds": SECONDS},
        "teacher.training.epochs": 30,
    }
    console, shown = quiet_console()
    threading.Thread(target=hurry_when, args=("at this pace", shown, tmp_path), daemon=True).start()
    raykd.train_teacher(override(small_experiment(tmp_path), settings), console)
    (told,) = re.findall(r"standard teacher: about ([\d.]+) min at this pace", shown.getvalue())
    # Ten steps an epoch; those that were over are taken off.
    assert float(told) > 29 * 10 * SECONDS / 60 - 0.1
    lines = shown.getvalue().splitlines()
    at = next(number for number, line in enumerate(lines) if "at this pace" in line)
    assert not any("1/30 epochs" in line for line in lines[:at])
