"""An empty MLflow database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path) -> Path:
    """A folder that holds it."""
    shutil.copy(empty_database, tmp_path)
    return tmp_path
