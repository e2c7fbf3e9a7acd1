"""A teacher from elsewhere is judged on the data at hand, where a classroom would run, before any of them starts."""

from __future__ import annotations

import ray

from raykd.cluster.resources import Plan
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.training.folder import description


def judge_teacher(experiment: Experiment, sizes: Plan) -> None:
    """Have the adopted teacher answer the held-out split with one worker's resources, if nobody has yet.

    Raises:
        RaykdError: Its folder is not seen from there, or it cannot answer.
    """
    folder = experiment.teacher.source
    if folder is None or (description(folder) or {}).get("metrics"):
        return
    judge = ray.remote(num_cpus=sizes.cpus_per_worker, num_gpus=sizes.gpus_per_worker)(_judge)
    failure: str | None = ray.get(judge.remote(folder, experiment, sizes.threads_per_worker))
    if failure is not None:
        raise RaykdError(failure)


def _judge(folder: str, experiment: Experiment, threads: int) -> str | None:
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
