"""The external teacher of a run: fetched into the teacher cache, remembered for a resumed run, and evaluated once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import ray

from raykd.cluster.resources import Plan
from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.errors import DamagedError, RaykdError, shortened
from raykd.imports import work_in
from raykd.places import teachers_folder
from raykd.storage import below, name_of, read, write
from raykd.tracking.load_model import untrusted
from raykd.training.external_teacher import HOW_TO_TRUST, fetch_external_teacher
from raykd.training.folder import MODULE, description
from raykd.training.saved import is_pickled, is_whole

RECORD = "teacher.txt"
"""File of a run's folder that names its external teacher's folder in the cache."""


def with_external_teacher(experiment: Experiment, info: DataInfo) -> Experiment:
    """The experiment with the folder in the cache, into which its external teacher was fetched, as `teacher.source`.

    What a file or an alias in MLflow holds may change; a resumed run does not read it again, unless the cache was
    emptied.

    Raises:
        RaykdError: the teacher cannot be had, is pickled and not trusted, or is another one than the resumed run was
            begun with.
    """
    teacher, source = experiment.teacher, experiment.teacher.source
    if source is None:
        return experiment
    begun = _begun_with(experiment.folder) if experiment.study.resume else None
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
    return experiment.model_copy(update={"teacher": teacher.model_copy(update={"source": folder})})


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


def remember_external_teacher(experiment: Experiment) -> None:
    """Write into the run's folder which external teacher it has, so that a resumed run has the same."""
    if experiment.teacher.source is not None:
        write(experiment.folder, RECORD, f"{name_of(experiment.teacher.source)}\n".encode())


def evaluate_on_cluster(experiment: Experiment, plan: Plan) -> None:
    """Evaluate the external teacher on the held-out split with one worker's resources, unless that is known.

    Raises:
        RaykdError: its folder is not seen from there, or it cannot answer.
    """
    folder = experiment.teacher.source
    if folder is None or (description(folder) or {}).get("metrics"):
        return
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
