"""Settings as files that nobody but raykd writes: whole, with a checksum, and true where their folder lies now."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from raykd.config import Experiment
from raykd.errors import DamagedError
from raykd.places import SETTINGS
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

    Files of earlier releases have no checksum. Paths follow a folder that was moved or copied, see `moved`.

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
    return moved(load_experiment(path, Experiment()), path.parent)


def moved(experiment: Experiment, folder: Path) -> Experiment:
    """The settings of a run whose folder was moved or copied: what lay in the folder lies in the present one.

    Args:
        experiment: As it was saved; its `folder` is where it was begun.
        folder: Where the run's folder is now.
    """
    begun, here = experiment.folder, folder.absolute()
    if (here.parent / SETTINGS).exists():  # a confirm, whose study's folder was moved with it
        begun, here = begun.parent, here.parent
    if begun == here or (begun.exists() and here.exists() and begun.samefile(here)):
        return experiment
    inside = re.compile(rf"^((?:\w+:///|journal://)?){re.escape(str(begun))}(?=/|$)")

    def following(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: following(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(following, value))
        if isinstance(value, Path):
            return here / value.relative_to(begun) if value.is_relative_to(begun) else value
        return inside.sub(lambda found: found[1] + str(here), value) if isinstance(value, str) else value

    return Experiment.model_validate(following(experiment.model_dump()))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
