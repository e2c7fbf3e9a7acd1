"""Shared by the benchmarks: Ray's usual way to tune, a Tune trial whose function starts a `TorchTrainer` of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from raykd.cluster.trainer import WORKER_ENVIRONMENT
from raykd.training.classroom import Classroom
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.team import Team


def train_alone(config: dict[str, Any]) -> None:
    """The train loop: one student, with a teacher of its own, to the end."""
    student = TrainRequest(**config)
    classroom = Classroom(Team.of_process_group(get_device()))
    classroom.follow(WorkerCommands(enter=(student,)))
    while classroom.seated:
        (report,) = classroom.follow(WorkerCommands(learn=(student.ticket,)))
        ray.train.report(dict(report.metrics))


def stock_trial(config: dict[str, Any]) -> None:
    """A trial: a Ray Train run of its own. `config` holds the fields of a `TrainRequest`."""
    TorchTrainer(
        train_alone,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
        run_config=ray.train.RunConfig(
            name=config["student"],
            storage_path=str(Path(config["folder"]).parent),
            callbacks=[TuneReportCallback()],  # type: ignore[no-untyped-call, list-item]
            worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},  # type: ignore[call-arg]
        ),
    ).fit()
