"""The external teachers of a run: fetched into the teacher cache, remembered for a resumed run, and evaluated once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray

from raykd.cluster.resources import Plan
from raykd.config import Experiment, ModelSettings
from raykd.data import DataInfo
from raykd.errors import DamagedError, RaykdError, shortened
from raykd.imports import work_in
from raykd.places import GIVEN_TEACHERS, teachers_folder
from raykd.records import read_json, write_json
from raykd.search.space import SearchSpace, Value
from raykd.settings_io import override
from raykd.storage import below, name_of, read, write
from raykd.tracking.load_model import untrusted
from raykd.training.external_teacher import HOW_TO_TRUST, fetch_external_teacher
from raykd.training.folder import MODULE, description
from raykd.training.saved import is_pickled, is_whole

RECORD = "teacher.txt"
"""File of a run's folder that names its external teacher's folder in the cache."""
ADVICE = "delete it, if the sources still hold the teachers that this run was begun with"
SOURCE, MODEL = "teacher.source", "teacher.model."
"""The settings on which it depends which given teacher a student has."""


def with_external_teachers(
    experiment: Experiment, info: DataInfo, others: Iterable[Mapping[str, Any]] = ()
) -> Experiment:
    """The experiment with the folders in the cache, into which its external teachers were fetched (`teacher.fetched`).

    What a file or an alias in MLflow holds may change; a resumed run does not read it again, unless the cache was
    emptied.

    Args:
        experiment: The experiment.
        info: The data.
        others: Settings under which students have other teachers, laid over the experiment one by one.

    Raises:
        RaykdError: a teacher cannot be had, is pickled and not trusted, or is another one than the resumed run was
            begun with.
    """
    begun: dict[str, str] = {}
    if experiment.study.resume:
        begun = read_json(experiment.folder / GIVEN_TEACHERS, lambda names: {**names}, ADVICE) or {}
        if first := _begun_with(experiment.folder):
            begun[experiment.teacher.source_key] = first
    fetched: dict[str, str] = {}
    for own in (experiment, *(override(experiment, values) for values in others)):
        key = own.teacher.source_key
        if own.teacher.source is not None and key not in fetched:
            fetched[key] = _fetched(own, info, begun.get(key))
    return override(experiment, {"teacher.fetched": fetched}) if fetched else experiment


def searched_teachers(space: SearchSpace) -> list[dict[str, Value]]:
    """Which given teachers the trials of a search may have: the values of `teacher.source` and `teacher.model`."""
    names = _chosen(space)
    found: list[dict[str, Value]] = []
    for values in space.combinations(names):
        chosen = {name: value for name, value in values.items() if name in names}
        if chosen not in found:
            found.append(chosen)
    for settings in space.start.values():
        chosen = {name: value for name, value in settings.items() if name == SOURCE or name.startswith(MODEL)}
        if chosen and chosen not in found:
            found.append(chosen)
    return found


def with_searched_teacher(experiment: Experiment, space: SearchSpace) -> Experiment:
    """The experiment with a teacher that the space has: the first of those that are searched, if its own is none."""
    names = _chosen(space)
    return override(experiment, {name: value for name, value in space.defaults().items() if name in names})


def _chosen(space: SearchSpace) -> list[str]:
    """The settings of a given teacher among which a search chooses."""
    return [name for name in space.names if (name == SOURCE or name.startswith(MODEL)) and space.choices(name)]


def given_teachers_line(experiment: Experiment) -> str:
    """What the plan says about several given teachers: each with its accuracy; empty where there is one or none."""
    folders = given_folders(experiment)
    lines = []
    for folder in folders if len(folders) > 1 else ():
        content = description(folder) or {}
        accuracy = content.get("metrics", {}).get(f"{experiment.data.held_out}_accuracy")
        settings = (content.get("lesson") or {}).get("student")
        network = "" if settings is None else f"{ModelSettings.model_validate(settings)} from "
        lines.append(f"{network}{content.get('source', folder)}" + (f", {accuracy:.2%}" if accuracy else ""))
    return "\n".join(lines)


def _fetched(experiment: Experiment, info: DataInfo, begun: str | None) -> str:
    """The folder in the cache of an experiment's external teacher.

    Args:
        experiment: The experiment.
        info: The data.
        begun: The folder's name, where a run is resumed.
    """
    teacher, source = experiment.teacher, experiment.teacher.folder
    assert source is not None
    folder = below(teachers_folder(experiment), begun or "")
    model = description(folder)
    known = model is not None and model["data"]["fingerprint"] == info.fingerprint
    if model is not None and is_pickled(model) and not teacher.trust:
        raise untrusted(f"teacher.source {source}: its {MODULE}", HOW_TO_TRUST)
    if begun is None or not known or not is_whole(folder):
        folder = fetch_external_teacher(
            source,
            teacher.model,
            info,
            teachers_folder(experiment),
            experiment.tracking,
            teacher.preprocessing,
            trust=teacher.trust,
        )
    # Earlier releases named pickled teachers by the first half of these names.
    if begun is not None and not name_of(folder).startswith(begun):
        raise RaykdError(
            f"teacher.source {source}: teacher or data are others than those that {experiment.folder} was begun with:\n"
            "give those back, or name another study with --study.name"
        )
    return folder


def given_folders(experiment: Experiment) -> list[str]:
    """The folders of all given teachers, each once: the experiment's own first."""
    own = [] if experiment.teacher.folder is None else [experiment.teacher.folder]
    return list(dict.fromkeys([*own, *experiment.teacher.fetched.values()]))


def _begun_with(folder: Path) -> str | None:
    """The name of the folder in the cache that a run's record has; None: it has no record.

    Raises:
        DamagedError: the record is not what was written.
    """
    content = read(folder, RECORD)
    if content is None:
        return None
    if (name := re.fullmatch(rb"([\w.-]+)\n", content)) is None:
        raise DamagedError(
            f"{folder / RECORD} is damaged: it is not what was written\n"
            "delete it, if teacher.source still holds the teacher that this run was begun with"
        )
    return name[1].decode()


def remember_external_teachers(experiment: Experiment) -> None:
    """Write into the run's folder which external teachers it has, so that a resumed run has the same."""
    teacher = experiment.teacher
    if teacher.folder is not None:
        write(experiment.folder, RECORD, f"{name_of(teacher.folder)}\n".encode())
    if teacher.fetched.keys() - {teacher.source_key}:
        names = {key: name_of(folder) for key, folder in teacher.fetched.items()}
        write_json(experiment.folder / GIVEN_TEACHERS, names)


def evaluate_on_cluster(experiment: Experiment, plan: Plan) -> None:
    """Evaluate the external teachers on the held-out split with one worker's resources, unless that is known.

    Raises:
        RaykdError: a folder is not seen from there, or a teacher cannot answer.
    """
    for folder in given_folders(experiment):
        if not (description(folder) or {}).get("metrics"):
            _evaluate_on_cluster(folder, experiment, plan)


def _evaluate_on_cluster(folder: str, experiment: Experiment, plan: Plan) -> None:
    evaluate = ray.remote(num_cpus=plan.cpus_per_worker, num_gpus=plan.gpus_per_worker)(_evaluate)
    failure: str | None = ray.get(evaluate.remote(folder, experiment, plan.threads_per_worker, os.getcwd()))
    if failure is not None:
        raise RaykdError(failure)


def _evaluate(folder: str, experiment: Experiment, threads: int, driver_folder: str) -> str | None:
    """What went wrong, or None."""
    import torch

    from raykd.training.external_teacher import evaluate_external_teacher

    torch.set_num_threads(threads)
    work_in(driver_folder)
    try:
        if description(folder) is None:
            return f"{folder} is not seen from every node: set cluster.storage to what all nodes share"
        evaluate_external_teacher(folder, experiment.data)
    except RaykdError as error:
        return str(error)
    except Exception as error:
        # A network of the user's raises anything.
        return f"the teacher in {folder} cannot answer the {experiment.data.held_out} split: {shortened(error)}"
    return None
