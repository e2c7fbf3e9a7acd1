"""How hyperparameters are searched, where it all runs, and where it is logged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import tyro
from pydantic import Field, model_validator

from raykd.settings import Address, Count, CountOrZero, MlflowName, Name, NonNegative, Positive, Settings, Share

Goal: TypeAlias = Literal["accuracy", "parameters", "latency"]


class StudySettings(Settings):
    """How the hyperparameters are searched."""

    name: Name = "study"
    """Name of the study: its folder below `output`, its MLflow experiment and its Optuna study."""
    output: Path = Path("outputs")
    """Folder that holds one folder per study."""
    space: str = "dkd_bias"
    """Search space: the name of a file in search_spaces/, or a path to a YAML file."""
    trials: Count = 32
    """Trials to run, interrupted and failed ones included."""
    objectives: tuple[Goal, ...] = ("accuracy",)
    """What is optimised: accuracy (validation split, maximised), parameters (of the student, minimised), latency
    (milliseconds for one image on one CPU thread, minimised). Several give a Pareto front."""
    storage: str | None = None
    """Where Optuna keeps the study: a .journal file, sqlite:///FILE or postgresql://USER@HOST/DATABASE. None:
    study.journal in the study's folder."""
    start: tuple[str, ...] | None = None
    """Settings that a study runs first and to the last epoch, so that the winner has something to beat: experiment (its
    own), a method's name (as published), teachers_bias, generous_teacher (the papers'), plain, or one of the space's.
    None: experiment, kd, the method, the papers on what the space searches, and the space's."""
    warm_start: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--warm-start"])] = ()
    """Earlier studies that the sampler learns from: folders, names below `output`, or STORAGE#NAME."""
    scheduler: Literal["auto", "asha", "median", "none"] = "none"
    """What stops trials early. asha: successive halving; median: the median stopping rule; none: nothing, as early
    accuracies say little about last ones while the learning rate falls; auto: asha, but none with several objectives,
    as both judge by accuracy alone."""
    grace_share: Share = 0.25
    """asha, median: share of the epochs that every trial gets before it may be stopped. Dynamic schedules need a
    quarter."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """asha: one in this many trials passes each rung."""
    patience: Count | None = None
    """Ends the search when so many drawn trials in a row have not improved the best by more than the standard error of
    its accuracy. None: it runs all trials."""
    finalists: CountOrZero = 3
    """So many of the best trials are taught again under further seeds after the search, beside the best start point and
    the plain student; the winner is chosen by its mean. 0: the best single result of the search wins."""
    finalist_seeds: Annotated[int, Field(ge=2)] = 3
    """Further students of each finalist."""
    seed: CountOrZero = 0
    """Seeds the sampler."""
    retries: CountOrZero = 2
    """How often a trial that was lost to a fault is tried again from its last epoch."""
    resume: Annotated[bool, tyro.conf.arg(aliases=["--resume"])] = False
    """Continue the study of this name where it was interrupted; a finished study is not run again."""
    retry_failed: bool = False
    """With resume: run the trials that failed again, from the beginning, as new trials with the same settings."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if "accuracy" not in self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError("study.objectives must name accuracy, and no objective twice")
        if len(self.objectives) > 1 and self.patience is not None:
            raise ValueError("study.patience looks at accuracy alone: leave it out with several study.objectives")
        if len(self.objectives) > 1 and self.early_stopping != "none":
            raise ValueError(
                f"study.scheduler {self.scheduler} would stop small students for their accuracy alone: "
                "with several study.objectives use none"
            )
        if self.retry_failed and not self.resume:
            raise ValueError("study.retry_failed runs the failed trials of a study that is resumed: add --resume")
        return self

    @property
    def early_stopping(self) -> Literal["asha", "median", "none"]:
        """What stops trials early, with ``auto`` decided."""
        if self.scheduler != "auto":
            return self.scheduler
        return "asha" if len(self.objectives) == 1 else "none"


class ClusterSettings(Settings):
    """Where it runs: classrooms x workers x seats."""

    address: str | None = None
    """Ray cluster to join: HOST:6379 of its head node, or local for one of this run's own. None: the cluster that this
    script was submitted to, that RAY_ADDRESS names or that `ray start` has begun here, else a local one."""
    storage: Annotated[str | None, Address] = None
    """What all nodes must see (students, teachers, Ray's own files) lies below this: a folder that they share, or an
    object store's URL (s3://, gs://, abfs://). None: in study.output and teacher.cache, which they must share then."""
    classrooms: Count | None = None
    """Ray Train worker groups. None: one per GPU, without GPUs one per CPU, up to 4 a node; more as nodes join."""
    workers: Count = 1
    """Workers of each classroom, which share every batch."""
    least_workers: Count | None = None
    """A classroom may continue with this many workers until nodes for all of them are there. None: only with all."""
    seats: Count | None = None
    """Students that one classroom teaches at once. None: 8, or without GPUs 8 shared by a node's classrooms."""
    cpus_per_worker: Positive = 0.9
    """CPUs reserved for each worker; a little below 1 leaves room for the trials, which reserve 0.01 each."""
    gpus_per_worker: NonNegative | None = None
    """GPUs reserved for each worker; fractions share a GPU. None: 1 where the cluster has GPUs, else 0."""
    threads_per_worker: Count | None = None
    """CPU threads of each worker. None: the node's CPUs divided among its workers (GPU: 4)."""
    restarts: CountOrZero = 8
    """How often each classroom may be restarted after faults, as long as none of its students makes progress."""
    lease_seconds: Positive = 30.0
    """A classroom that has not reported for this many seconds loses its students to the others."""
    stall_seconds: Positive = 300.0
    """A classroom is restarted if a batch takes longer than this many seconds, and longer than 20 times the slowest so
    far of its epoch. All else (loading, compiling, first batches) may take 6 times as long."""
    wait_seconds: NonNegative | None = None
    """How long to wait for nodes. None: not at the start; 600 for one to come back when the last classroom is lost."""


class TrackingSettings(Settings):
    """Where runs are logged."""

    uri: str | None = None
    """MLflow tracking server or database. None: SQLite in the study's folder."""
    experiment: MlflowName | None = None
    """MLflow experiment. None: the study's name."""
    log_model: bool = True
    """Log the best student as an MLflow model under the parent run."""
    system_seconds: NonNegative = 10.0
    """Seconds between two measurements of CPU, memory and GPUs of the workers' nodes, for the parent run. 0: none."""
    required: bool = False
    """Refuse to start while `uri` does not answer. Otherwise the run starts, keeps in its folder what is to be logged,
    and sends it when the server is there; `raykd sync STUDY` sends what is left in the end."""
    timeout_seconds: Positive = 10.0
    """Longest wait for one call to the tracking server; the study itself never waits."""
