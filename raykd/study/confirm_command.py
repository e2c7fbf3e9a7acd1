"""The command `raykd confirm`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raykd.command_line import parse
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.results.load import recorded_study
from raykd.settings_io import override
from raykd.study.confirm import confirm
from raykd.study.folder import SETTINGS

HELP = """Confirm a finished study: raykd confirm STUDY [settings]

STUDY is the study's folder, or its name below study.output. Of the settings only confirm, cluster, tracking,
teacher.cache and --resume may be given; all else is the study's."""


def main(arguments: Sequence[str]) -> None:
    """Confirm the study that the command line names.

    Raises:
        RaykdError: No study is named, or it cannot be confirmed.
    """
    words = list(arguments)
    if {"-h", "--help"} & set(words):
        parse(Experiment(), HELP, ["--help"])
    if not words or words[0].startswith("-"):
        raise RaykdError("raykd confirm needs a study first: its folder, or its name below outputs/")
    study, *settings = words
    folder = Path(study).expanduser().absolute()
    place = {"study.name": study}
    if (folder / SETTINGS).exists():
        place = {"study.name": folder.name, "study.output": str(folder.parent)}
    elif len(Path(study).parts) > 1:
        recorded_study(study)  # It says what is wrong.
    confirm(parse(override(Experiment(), place, "raykd confirm"), HELP, settings))
