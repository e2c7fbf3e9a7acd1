"""How one network is trained."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import tyro
from pydantic import Field, model_validator

from raykd.arguments import KeywordArguments
from raykd.config.bank import BankSettings
from raykd.config.data import DataSettings
from raykd.config.methods import MethodSettings
from raykd.config.objective import ObjectiveSettings
from raykd.knowledge.bias import BiasSettings
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod, TeacherFree
from raykd.knowledge.schedule import ScheduleSettings
from raykd.knowledge.temperature import TemperatureSettings
from raykd.settings import Count, CountOrZero, NonNegative, OpenShare, Positive, Settings, Share

LIBRARIES = ("torchvision/", "timm/")
"""Prefixes of networks that have weights by name."""
WEIGHTS_SUFFIXES = (".pt", ".pth", ".safetensors")
"""Endings of files of weights."""

LOCAL_SETTINGS = ("root", "download", "cache", "loader_processes")
"""Settings of the data that decide where and how it is read, not what it is."""

LATER_SETTINGS: dict[str, Any] = {
    "data.folds": None,
    "data.fold": 0,
    "data.view_seed": None,
    "data.held_out": "validation",
    "data.label_noise": 0.0,
    "data.left_out": None,
    "data.resize": None,
    "data.crop": "center",
    "data.interpolation": "bilinear",
    "data.mean": None,
    "data.std": None,
    "data.augment": {},
    "data.mixup": 0.0,
    "data.cutmix": 0.0,
    "student.weights_key": None,
    "training.compile": False,
    "training.ema": 0.0,
    "schedule.hand_over": "rectified",
    "temperature.floor": 0.0,
}
"""Settings that are younger than the first cached teachers, and their values before that."""


class ModelSettings(Settings):
    """A network: its architecture and initial weights."""

    name: str = "resnet20"
    """A CIFAR-style name (resnet8 ... resnet110, resnet8x4, resnet32x4), `torchvision/NAME`, or an import path
    `package.module:build`."""
    arguments: KeywordArguments = Field(default_factory=dict)
    """Keyword arguments for the model's builder, such as width=0.5 for the CIFAR-style ResNets."""
    weights: str | None = None
    """Weights to start from: a name of torchvision's (IMAGENET1K_V1, DEFAULT) or timm's for their own models, or a file
    (.pt, .pth, .safetensors) for any model. None: fresh."""
    weights_key: str | None = Field(default=None, repr=False)
    """Where in a file of weights the weights lie, such as state_dict_ema or student, if it holds several that fit.
    None: found by the names of the network's layers."""
    digests: Annotated[dict[str, str], tyro.conf.Suppress] = Field(default_factory=dict, repr=False)
    """sha256 (hex) of each file that `weights` names, or would as a choice of the search, by its path. A run fills it
    in: the same path may hold other weights tomorrow, and the same weights may move."""

    @property
    def weights_file(self) -> str | None:
        """The file that `weights` is; None where there are none, or a library's by name."""
        weights = self.weights
        by_name = self.name.startswith(LIBRARIES)
        if weights is None or not by_name or "/" in weights or weights.endswith(WEIGHTS_SUFFIXES):
            return weights
        return None

    @property
    def weights_identity(self) -> str | None:
        """What the weights are, wherever they lie: a file's digest where it is known, else `weights`."""
        digest = self.digests.get(self.weights or "")
        return self.weights if digest is None else f"sha256:{digest}"

    def with_absolute_path(self) -> ModelSettings:
        """The same for processes elsewhere: a file of weights that is seen from here is named by its whole path."""
        file = None if self.weights_file is None else Path(self.weights_file).expanduser()
        if file is None or not file.exists():
            return self
        return self.model_copy(update={"weights": str(file.absolute())})

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
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Exponential moving average (EMA) of the weights: the share of it that each step keeps. The average is judged and
    kept instead of the weights; running statistics, as of batch norms, are averaged with them. In the first steps it
    keeps less, (1 + step) / (10 + step), so that short trainings have one, too. 0: no average."""
    gradient_clip: Positive | None = None
    """Largest norm of the gradient; longer ones are scaled down. None: no limit."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Autocast precision of forward passes; losses are always float32. None: bfloat16 on a GPU, float32 on a CPU."""
    stacking: Literal["auto", "on", "off"] = "auto"
    """Whether students of one architecture pass each batch as one stacked network: on where possible; auto where it is
    faster as well, and all layers are those of torch, torchvision, timm or raykd. The results are the same but for
    rounding."""
    compile: bool = False
    """Compile the networks with `torch.compile`, on a GPU into CUDA graphs. What cannot be compiled is trained without,
    and a line says why. The results are the same but for rounding."""
    seed: CountOrZero = 0
    """Seeds the initial weights and dropout."""


UNUSED: dict[str, Any] = {
    "temperature": TemperatureSettings(policy="std", multiplier=1.0, value=4.0, loss_weight="temperature", floor=0.0),
    "bias": BiasSettings(form="pair", strength=0.5, denominator="subset"),
    "schedule": ScheduleSettings(form="cosine", hand_over="rectified"),
}
"""What a training without a teacher has in these sections. Cached teachers are found by it, so it stays as it is."""


class TrainingSpec(Settings):
    """All that decides the weights of one network, except its teacher."""

    data: DataSettings = DataSettings()
    student: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    method: MethodSettings = MethodSettings()
    temperature: TemperatureSettings = TemperatureSettings()
    bias: BiasSettings = BiasSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    bank: BankSettings = BankSettings()

    @model_validator(mode="after")
    def _repairs_suit_the_method(self) -> Self:
        setting = self.bias.leaves_nothing
        for name in METHODS.keys() - self.method.idle if setting else ():
            method = METHODS[name]
            if issubclass(method, AnswerMethod) and method.finite:
                raise ValueError(
                    f"method {name} compares logits, and {setting} with bias.form {self.bias.form} sends some of "
                    "them to minus infinity: change it, or take another form or method"
                )
        return self

    @model_validator(mode="after")
    def _labels_suit_the_method(self) -> Self:
        for name in METHODS.keys() - self.method.idle if self.data.mixing else ():
            if METHODS[name].labels == "single":
                raise ValueError(
                    f"method {name} needs images of one label, and {self.data.mixing} mixes two: take another method, "
                    "or set data.mixup and data.cutmix to 0"
                )
        return self

    def without_teacher(self) -> TrainingSpec:
        """The same training by cross-entropy alone: the plain student."""
        return TrainingSpec(
            data=self.data,
            student=self.student,
            training=self.training,
            objective=ObjectiveSettings(ce_weight=1.0, kd_weight=0.0),
            method=MethodSettings(name="cross_entropy"),
            bank=self.bank,
            **UNUSED,
        )

    @property
    def needs_teacher(self) -> bool:
        """Whether this training uses a teacher."""
        method = self.method.chosen()
        return isinstance(method, FeatureMethod) or (self.objective.distils and not isinstance(method, TeacherFree))

    def identity(self) -> dict[str, Any]:
        """The settings that decide a network's weights, as JSON data: equal ones are the same training on any machine.

        Of the methods' settings, only those in use count. Checkpoints and cached teachers are found by it.
        """
        content = self.model_dump(mode="json")
        for name in LOCAL_SETTINGS:
            del content["data"][name]
        del content["student"]["digests"]
        content["student"]["weights"] = self.student.weights_identity
        del content["training"]["stacking"]
        del content["bank"]
        if self.needs_teacher and self.bank.mode == "on" and self.bank.precision != "float32":
            content["bank"] = {"precision": self.bank.precision}
        for name in self.method.idle:
            content["method"].pop(name, None)
        # A share is the same training as the weights, or the epochs, that it stands for.
        del content["objective"]["kd_share"], content["objective"]["warmup_share"]
        content["objective"]["warmup_epochs"] = self.objective.warmup(self.training.epochs)
        content["objective"]["ce_weight"], content["objective"]["kd_weight"] = self.objective.weights
        if dkd := content["method"].get("dkd"):
            del dkd["non_target_share"]
            dkd["target_weight"], dkd["non_target_weight"] = cast(Any, self.method).dkd.weights
        if self.temperature.policy == "constant":
            content["temperature"]["floor"] = LATER_SETTINGS["temperature.floor"]
        content["data"]["augment"] = self.data.augment.in_use()
        for name, neutral in LATER_SETTINGS.items():
            *sections, last = name.split(".")
            section = reduce(getitem, sections, content)
            if section[last] == neutral:
                del section[last]
        return content
