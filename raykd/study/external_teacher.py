"""The external teacher of a run: fetched into the teacher cache, remembered for a resumed run, and evaluated once."""

from __future__ import annotations

import ray

from raykd.cluster.resources import Plan
from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.places import teachers_folder
from raykd.storage import below, name_of
from raykd.training.external_teacher import fetch_external_teacher
from raykd.training.folder import description
from raykd.training.saved import is_whole

RECORD = "teacher.txt"
"""File of a run's folder that names its external teacher's folder in the cache."""


def with_external_teacher(experiment: Experiment, info: DataInfo) -> Experiment:
    """The experiment with the folder in the cache, into which its external teacher was fetched, as `teacher.source`.

    What a file or an alias in MLflow holds may change; a resumed run does not read it again, unless the cache was
    emptied.

    Raises:
        RaykdError: the teacher cannot be had, or is another one than the resumed run was begun with.
    """
    teacher, source, record = experiment.teacher, experiment.teacher.source, experiment.folder / RECORD
    if source is None:
        return experiment
    begun = record.read_text().strip() if experiment.study.resume and record.exists() else None
    folder = below(teachers_folder(experiment), begun or "")
    known = (description(folder) or {}).get("data", {}).get("fingerprint") == info.fingerprint
    if begun is None or not known or not is_whole(folder):
        folder = fetch_external_teacher(
            source, teacher.model, info, teachers_folder(experiment), experiment.tracking, teacher.preprocessing
        )
    if begun not in (None, name_of(folder)):
        raise RaykdError(
            f"teacher.source {source}: teacher or data are others than those that {experiment.folder} was begun with:\n"
            "give those back, or name another study with --study.name"
        )
    return experiment.model_copy(update={"teacher": teacher.model_copy(update={"source": folder})})


def remember_external_teacher(experiment: Experiment) -> None:
    """Write into the run's folder which external teacher it has, so that a resumed run has the same."""
    if experiment.teacher.source is not None:
        (experiment.folder / RECORD).write_text(f"{name_of(experiment.teacher.source)}\n")


def evaluate_on_cluster(experiment: Experiment, plan: Plan) -> None:
    """Evaluate the external teacher on the held-out split with one worker's resources, unless that is known.

    Raises:
        RaykdError: its folder is not seen from there, or it cannot answer.
    """
    folder = experiment.teacher.source
    if folder is None or (description(folder) or {}).get("metrics"):
        return
    evaluate = ray.remote(num_cpus=plan.cpus_per_worker, num_gpus=plan.gpus_per_worker)(_evaluate)
    failure: str | None = ray.get(evaluate.remote(folder, experiment, plan.threads_per_worker))
    if failure is not None:
        raise RaykdError(failure)


def _evaluate(folder: str, experiment: Experiment, threads: int) -> str | None:
    """What went wrong, or None."""
    import torch

    from raykd.models.weights import shortened
    from raykd.training.external_teacher import evaluate_external_teacher

    torch.set_num_threads(threads)
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
