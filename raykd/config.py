"""Every setting of an experiment, as validated types; the only place where defaults live.

The dotted path of a field (``temperature.multiplier``) is its name everywhere: on the command line, in YAML files, in
search spaces, in MLflow and in errors. A field's docstring is its help text. ``None`` means "what suits the data or the
machine", and the docstring says what that is.

This module knows nobody else in raykd but `raykd.arguments`, and imports neither torch nor Ray: a trial's process can
afford it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from raykd.arguments import KeywordArguments

Share = Annotated[float, Field(ge=0.0, le=1.0)]
OpenShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, values are immutable and checked, defaults included."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


class DataSettings(Settings):
    """What the networks look at, how it is split and augmented."""

    name: str = "digits"
    """digits, fashion_mnist, cifar10, cifar100, imagenet, folder, or an import path `package.module:function`."""
    root: Path | None = None
    """Folder that holds the data set's files. None: where the data set is usually found on this machine."""
    validation_share: OpenShare = 0.2
    """Share of the training images cut off for validation where the data set brings no validation split."""
    test_share: OpenShare = 0.2
    """Share of all images cut off for testing where the data set brings no test split."""
    train_images: Count | None = None
    """Use only so many training images, stratified. None: all."""
    seed: CountOrZero = 0
    """Seeds the splits and the views (augmentations and order of each epoch)."""
    crop_padding: CountOrZero | None = None
    """Pixels of zero padding for the random crop of in-memory images. None: the data set's habit (CIFAR: 4)."""
    horizontal_flip: bool | None = None
    """Flip half of the training images left to right. None: the data set's habit (no flips of digits)."""
    image_size: Count | None = None
    """Height and width in pixels: streamed images are cropped to it, in-memory ones resized. None: the data set's own
    (streamed: 224)."""
    loader_processes: CountOrZero = 4
    """Processes per worker that decode streamed images. In-memory data needs none."""


class ModelSettings(Settings):
    """Which network."""

    name: str = "resnet20"
    """A CIFAR-style name (resnet8 ... resnet110, resnet8x4, resnet32x4), `torchvision/NAME`, or an import path
    `package.module:build`."""
    arguments: KeywordArguments = Field(default_factory=dict)
    """Keyword arguments for the model's builder, such as width=0.5 for the CIFAR-style ResNets."""

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})" if arguments else self.name


class TrainingSettings(Settings):
    """How one network is trained."""

    epochs: Count = 240
    """Passes over the training images."""
    batch_size: Count = 64
    """Images per step over all workers of the classroom together."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd (with momentum) or adamw."""
    learning_rate: Positive = 0.05
    """Peak learning rate, for the whole batch."""
    momentum: Share = 0.9
    """Momentum of sgd."""
    nesterov: bool = False
    """Nesterov momentum for sgd."""
    weight_decay: NonNegative = 5e-4
    """L2 penalty (sgd) or decoupled weight decay (adamw)."""
    decay: Literal["multistep", "cosine", "constant"] = "multistep"
    """How the learning rate falls after the warm-up."""
    milestones: tuple[OpenShare, ...] = (0.625, 0.75, 0.875)
    """multistep: shares of the training after which the learning rate is multiplied by `decay_factor`."""
    decay_factor: OpenShare = 0.1
    """multistep: factor at each milestone."""
    warmup_epochs: CountOrZero = 0
    """Epochs over which the learning rate rises linearly to its peak."""
    label_smoothing: Share = 0.0
    """Label smoothing of the cross-entropy."""
    gradient_clip: Positive | None = None
    """Largest norm of the gradient; longer ones are scaled down. None: no limit."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Autocast precision of forward passes; losses are always float32. None: bfloat16 on a GPU, float32 on a CPU."""
    seed: CountOrZero = 0
    """Seeds the initial weights and dropout."""


class ObjectiveSettings(Settings):
    """Weights of the parts of the student's loss: ce_weight * cross-entropy + kd_weight * distillation."""

    ce_weight: NonNegative = 0.5
    """Weight of the cross-entropy with the labels."""
    kd_weight: NonNegative = 0.5
    """Weight of the distillation loss. 0 trains the student without a teacher."""
    warmup_epochs: CountOrZero = 0
    """Epochs over which kd_weight rises linearly from 0 (DKD uses 20 of 240)."""


class DkdSettings(Settings):
    """Decoupled knowledge distillation (CVPR 2022)."""

    target_weight: NonNegative = 1.0
    """Weight of the target-class part (TCKD)."""
    non_target_weight: NonNegative = 8.0
    """Weight of the non-target-class part (NCKD); published: 8 for most pairs, 2 for resnet56-resnet20, 6 for VGG13."""


class MethodSettings(Settings):
    """The host distillation loss."""

    name: Annotated[Literal["kd", "dkd"], tyro.conf.arg(aliases=["--method"])] = "dkd"
    """kd: Kullback-Leibler divergence of the softened answers; dkd: its target and non-target parts decoupled."""
    dkd: DkdSettings = DkdSettings()


class TemperatureSettings(Settings):
    """How answers are softened before they are compared."""

    policy: Literal["std", "constant"] = "std"
    """std: T = multiplier * standard deviation of each sample's logits, each network its own; constant: T = value."""
    multiplier: Positive = 1.0
    """std: multiple of the standard deviation."""
    value: Positive = 4.0
    """constant: the temperature."""
    loss_weight: Literal["temperature", "multiplier"] = "temperature"
    """std: what is squared to weigh each sample's loss: its temperature (NormKD, Generous Teacher) or the multiplier
    (logit standardisation)."""


class BiasSettings(Settings):
    """What becomes of the teacher's wrong answers."""

    form: Literal["pair", "swap", "one_hot", "drop", "keep"] = "pair"
    """pair: move the wrong class's probability to the label; swap: exchange the two; one_hot: mix with the label; drop:
    teach right answers only; keep: teach every answer as it is, without split or schedule (plain distillation)."""
    strength: Share = 0.5
    """pair, one_hot: how strongly wrong answers are repaired; 0 leaves them as they are, 1 moves all to the label."""
    denominator: Literal["subset", "batch"] = "subset"
    """Average right and rectified losses each over its own samples (as the paper) or over the whole batch."""


class ScheduleSettings(Settings):
    """Dynamic weight b of right knowledge over training progress; rectified knowledge gets 1 - b."""

    form: Literal["cosine", "linear", "constant", "step"] = "cosine"
    """cosine: cos^2 from 1 to 0; linear: from 1 to 0; constant: `weight`; step: 1 until `step_at`, then 0."""
    shape: Positive = 1.0
    """cosine, linear: exponent on the progress; above 1 right knowledge keeps its weight for longer."""
    weight: Share = 0.5
    """constant: b."""
    step_at: Share = 0.5
    """step: progress at which the weight moves."""


class Lesson(Settings):
    """All that decides the weights of one network, but for its teacher."""

    data: DataSettings = DataSettings()
    student: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    method: MethodSettings = MethodSettings()
    temperature: TemperatureSettings = TemperatureSettings()
    bias: BiasSettings = BiasSettings()
    schedule: ScheduleSettings = ScheduleSettings()

    def without_teacher(self) -> Lesson:
        """The same lesson by cross-entropy alone: the plain student."""
        return Lesson(
            data=self.data,
            student=self.student,
            training=self.training,
            objective=ObjectiveSettings(ce_weight=1.0, kd_weight=0.0),
        )


class GenerousSettings(Settings):
    """How a generous teacher absorbs the standard teacher's non-target knowledge (Image and Vision Computing 150)."""

    multiplier: Positive = 1.0
    """Temperature multiplier m of tau = m * std(logits)."""
    weight: NonNegative = 1.0
    """Weight of the non-target knowledge."""
    warmup_epochs: CountOrZero = 20
    """Epochs over which that weight rises linearly from 0."""


class TeacherSettings(Settings):
    """Who teaches. Teachers are cached by content: settings and data."""

    kind: Literal["standard", "generous"] = "standard"
    """standard: trained by cross-entropy; generous: the same network, taught once more by a standard teacher."""
    model: ModelSettings = ModelSettings(name="resnet56")
    training: TrainingSettings = TrainingSettings()
    generous: GenerousSettings = GenerousSettings()
    cache: Path = Path("~/.cache/raykd")
    """Folder of the teacher and data caches, shared by all studies; on a cluster a path that all nodes see."""


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
    """Ray Train worker groups. None: one per GPU; without GPUs one per CPU, up to 4 on each node."""
    workers: Count = 1
    """Workers of each classroom, which share every batch."""
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


class TrackingSettings(Settings):
    """Where runs are logged."""

    uri: str | None = None
    """MLflow tracking server or database. None: SQLite in the study's folder."""
    experiment: str | None = None
    """MLflow experiment. None: the study's name."""
    log_model: bool = True
    """Log the best student as an MLflow model under the parent run."""
    timeout_seconds: Positive = 10.0
    """Longest wait for one call to the tracking server; the study itself never waits."""


class Experiment(Lesson):
    """A whole experiment: the student's lesson, who teaches it, how it is searched, where it runs and is logged."""

    teacher: TeacherSettings = TeacherSettings()
    study: StudySettings = StudySettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, training in (("training", self.training), ("teacher.training", self.teacher.training)):
            if training.nesterov and training.momentum == 0:
                raise ValueError(f"{name}.nesterov needs a {name}.momentum above 0")
        if self.objective.ce_weight == 0 and self.objective.kd_weight == 0:
            raise ValueError("objective.ce_weight and objective.kd_weight are both 0: the student would learn nothing")
        return self

    @property
    def folder(self) -> Path:
        """The study's folder, the contract's `outputs/<study>/`."""
        return self.study.output / self.study.name

    def with_absolute_paths(self) -> Experiment:
        """The same experiment for processes elsewhere: relative paths are taken from the present folder."""
        root = self.data.root and self.data.root.expanduser().absolute()
        cache = self.teacher.cache.expanduser().absolute()
        output = self.study.output.expanduser().absolute()
        return self.model_copy(
            update={
                "data": self.data.model_copy(update={"root": root}),
                "teacher": self.teacher.model_copy(update={"cache": cache}),
                "study": self.study.model_copy(update={"output": output}),
            }
        )

    def lesson(self) -> Lesson:
        """The student's lesson under the present settings."""
        return Lesson(**{name: getattr(self, name) for name in Lesson.model_fields})

    def standard_teacher_lesson(self) -> Lesson:
        """How the standard teacher is trained: cross-entropy alone."""
        return Lesson(data=self.data, student=self.teacher.model, training=self.teacher.training).without_teacher()

    def generous_teacher_lesson(self) -> Lesson:
        """How the generous teacher is taught by the standard one (paper's stage 2).

        The paper's loss is decoupled distillation without its target part, each network under its own std temperature.
        """
        generous = self.teacher.generous
        return Lesson(
            data=self.data,
            student=self.teacher.model,
            training=self.teacher.training,
            objective=ObjectiveSettings(ce_weight=1.0, kd_weight=1.0, warmup_epochs=generous.warmup_epochs),
            method=MethodSettings(name="dkd", dkd=DkdSettings(target_weight=0.0, non_target_weight=generous.weight)),
            temperature=TemperatureSettings(policy="std", multiplier=generous.multiplier),
            bias=BiasSettings(form="keep"),
        )
