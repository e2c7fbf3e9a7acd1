"""Weights to start from that lie in files: known by their content, since a path may hold others tomorrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from raykd.config import Experiment, ModelSettings
from raykd.errors import RaykdError
from raykd.fingerprints import file_digest
from raykd.search.space import SearchSpace
from raykd.settings_io import override


def with_weights_digests(experiment: Experiment, space: SearchSpace | None = None) -> Experiment:
    """The experiment with the digest of each file that `student.weights` and `teacher.model.weights` name.

    They become part of what checkpoints and cached teachers are found by, in place of the path, and workers compare
    the files that they read with them.

    Args:
        experiment: With absolute paths. Of a run that was begun, it has the digests of that time.
        space: What is searched; files among its choices count, too.

    Raises:
        RaykdError: a file is another one than that of the run that was begun or cannot be read, or the search names
            one by a relative path.
    """
    digests = {}
    for section, model in (("student", experiment.student), ("teacher.model", experiment.teacher.model)):
        name = f"{section}.weights"
        found = dict(model.digests)
        for file in _files(model, name, space):
            digest = _digest(file, name)
            if found.setdefault(file, digest) != digest:
                raise RaykdError(
                    f"{name} {file} is another file than the one that the run was begun with:\n"
                    "give that one back, or begin anew"
                )
        if found != model.digests:
            digests[f"{section}.digests"] = found
    return override(experiment, digests) if digests else experiment


def _files(model: ModelSettings, name: str, space: SearchSpace | None) -> Iterator[str]:
    """The files that a network's weights may be; those that are missing are refused where the network is built."""
    for choice in (model.weights, *(() if space is None else space.choices(name))):
        file = None if choice is None else model.model_copy(update={"weights": str(choice)}).weights_file
        if file is None or not Path(file).expanduser().is_file():
            continue
        if not Path(file).is_absolute():
            source = "" if space is None else f"{space.source}: "
            whole = Path(file).expanduser().absolute()
            raise RaykdError(f"{source}{name} {file} means another file on other nodes: write {whole}")
        yield file


def _digest(file: str, name: str) -> str:
    try:
        return file_digest(file)
    except OSError as error:
        raise RaykdError(f"{name} {file} cannot be read: {error.strerror or error}") from error
