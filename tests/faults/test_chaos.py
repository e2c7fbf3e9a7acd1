"""A study survives what breaks around it: `make chaos` breaks more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.chaos import books, prepared, replays, unleash

pytestmark = pytest.mark.cluster


def test_the_books_are_right_whatever_breaks(cluster: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    faults, seed = (request.config.getoption(name) for name in ("--faults", "--fault-seed"))
    with prepared(tmp_path, faults) as chaos:
        try:
            unleash(chaos, faults, seed, cluster)
            result = books(chaos)
            # Some of many: each takes a classroom's start.
            names = random.Random(seed).sample([trial.name for trial in result.trials], min(max(faults // 2, 1), 10))
            assert dict(replays(chaos, names, cluster)) == dict.fromkeys(names, True)
        finally:
            print(f"faults: {dict(chaos.counts)}", f"launches: {chaos.launches}", sep="\n")
