"""Settings as files that nobody but raykd writes: whole, and with a checksum that shows if they are damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml

from raykd.config import Experiment
from raykd.errors import DamagedError
from raykd.settings_io import load_experiment
from raykd.storage import read, write
from raykd.yaml_text import Dumper

CHECKSUM = b"# Checksum (sha256) of the lines below: "
"""How the first line of a file of saved settings begins."""


def save_experiment(experiment: Experiment, path: str | Path) -> None:
    """Write all settings as YAML, with a checksum; `load_experiment` gives an equal experiment back.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    target = Path(path)
    content = yaml.dump(experiment.model_dump(), Dumper=Dumper, sort_keys=False).encode()
    write(target.parent, target.name, CHECKSUM + _digest(content) + b"\n" + content)


def load_saved(path: str | Path) -> Experiment:
    """The settings that `save_experiment` wrote, which nobody has changed since.

    Files of earlier releases have no checksum.

    Raises:
        DamagedError: the file is not what was written.
        RaykdError: it cannot be read, or a setting in it is unknown or wrong.
    """
    path = Path(path)
    content = read(path.parent, path.name)
    if content is not None:
        first, _, rest = content.partition(b"\n")
        damaged = first != CHECKSUM + _digest(rest) if first.startswith(CHECKSUM[:1]) else not content.strip()
        if damaged:
            raise DamagedError(
                f"{path} is damaged: it is not what was written (its run in MLflow has a copy, {path.name})\n"
                "bring back a copy; if you have changed the file yourself, delete its first line"
            )
    return load_experiment(path, Experiment())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
