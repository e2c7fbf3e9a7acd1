"""How hyperparameters are searched, where it all runs, and where it is logged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from raykd.settings import Count, CountOrZero, NonNegative, Positive, Settings, Share


class StudySettings(Settings):
    """How the hyperparameters are searched."""

    name: str = Field(default="study", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the study: its folder below `output`, its MLflow experiment and its Optuna study."""
    output: Path = Path("outputs")
    """Folder that holds one folder per study."""
    space: str = "dkd_bias"
    """Search space: the name of a file in search_spaces/, or a path to a YAML file."""
    trials: Count = 32
    """Trials to run, interrupted and failed ones included."""
    scheduler: Literal["asha", "median", "none"] = "asha"
    """Who stops trials early: asha (successive halving), median (stopping rule), or none."""
    grace_share: Share = 0.25
    """Share of the epochs that every trial gets before it may be stopped. Dynamic schedules need a quarter."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """asha: one in so many trials passes each rung."""
    seed: CountOrZero = 0
    """Seeds the sampler."""
    retries: CountOrZero = 2
    """How often a trial that was lost to a fault is tried again from its last epoch."""
    resume: Annotated[bool, tyro.conf.arg(aliases=["--resume"])] = False
    """Go on with the study of this name where it was interrupted; a finished study is not run again."""


class ClusterSettings(Settings):
    """Where it runs: classrooms x workers x seats."""

    address: str | None = None
    """Ray cluster to join. None: the cluster this script was submitted to or RAY_ADDRESS names, else a local one."""
    classrooms: Count | None = None
    """Ray Train worker groups. None: one per GPU, without GPUs one per CPU, up to 4 a node; more as nodes join."""
    workers: Count = 1
    """Workers of each classroom, which share every batch."""
    least_workers: Count | None = None
    """A classroom may go on with so many workers until nodes for all of them are there. None: only with all."""
    seats: Count | None = None
    """Students that one classroom teaches at once. None: 8, or without GPUs 8 shared by a node's classrooms."""
    cpus_per_worker: Positive = 0.9
    """CPUs reserved for each worker; a little below 1 leaves the trials their slivers."""
    gpus_per_worker: NonNegative | None = None
    """GPUs reserved for each worker; fractions share a GPU. None: 1 where the cluster has GPUs, else 0."""
    threads_per_worker: Count | None = None
    """CPU threads of each worker. None: the node's CPUs shared out among its workers (GPU: 4)."""
    restarts: CountOrZero = 8
    """How often each classroom may be restarted after a fault."""
    lease_seconds: Positive = 30.0
    """A classroom that has not been heard of for so many seconds loses its students to the others."""
    wait_seconds: NonNegative | None = None
    """How long to wait for nodes. None: not at the start; 600 for one to come back when the last classroom is lost."""


class TrackingSettings(Settings):
    """Where runs are logged."""

    uri: str | None = None
    """MLflow tracking server or database. None: SQLite in the study's folder."""
    experiment: str | None = None
    """MLflow experiment. None: the study's name."""
    log_model: bool = True
    """Log the best student as an MLflow model under the parent run."""
    system_seconds: NonNegative = 10.0
    """Seconds between two looks at CPU, memory and GPUs of the workers' nodes, for the parent run. 0: no looks."""
    timeout_seconds: Positive = 10.0
    """Longest wait for one call to the tracking server; the study itself never waits."""
