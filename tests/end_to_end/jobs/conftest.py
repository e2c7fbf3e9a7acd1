"""One head node for all tests of submitted jobs: processes are dear."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.jobs_head import Head
from tests.helpers.namespaces import refusal


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    if (why := refusal()) is not None:
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="raykd-jobs-"))  # short: Ray puts Unix sockets below it
    head = Head(folder)
    try:
        head.wait()
        yield head
    finally:
        head.end()
        shutil.rmtree(folder, ignore_errors=True)
