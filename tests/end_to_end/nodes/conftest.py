"""One cluster of several machines for the tests of a module: a head that teaches nobody, and a machine of 2 CPUs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.machines import Machines, refusal


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    if (why := refusal()) is not None:
        pytest.skip(why)
    machines = Machines()
    try:
        machines.add("one", cpus=2)
        yield machines
    finally:
        machines.end()
