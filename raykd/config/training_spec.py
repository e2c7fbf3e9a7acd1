"""How one network is trained."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import tyro
from pydantic import Field, field_validator, model_validator

from raykd.arguments import KeywordArguments
from raykd.config.bank import BankSettings
from raykd.config.methods import MethodSettings
from raykd.config.objective import ObjectiveSettings
from raykd.config.preprocessing import Crop, Interpolation, Mean, Std
from raykd.knowledge.bias import BiasSettings
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod, TeacherFree
from raykd.knowledge.schedule import ScheduleSettings
from raykd.knowledge.temperature import TemperatureSettings
from raykd.settings import Address, Count, CountOrZero, NonNegative, OpenShare, Positive, Settings, Share

DOWNLOADABLE = ("cifar10", "cifar100", "fashion_mnist")
"""Data sets that `data.download` can fetch."""

LIBRARIES = ("torchvision/", "timm/")
"""Prefixes of networks that have weights by name."""
WEIGHTS_SUFFIXES = (".pt", ".pth", ".safetensors")
"""Endings of files of weights."""

LOCAL_SETTINGS = ("root", "download", "cache", "loader_processes")
"""Settings of the data that decide where and how it is read, not what it is."""

LATER_SETTINGS = {
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
    "student.weights_key": None,
    "training.compile": False,
    "schedule.hand_over": "rectified",
    "temperature.floor": 0.0,
}
"""Settings that are younger than the first cached teachers, and their values before that."""


class DataSettings(Settings):
    """The images that the networks see, and how they are split and augmented."""

    name: str = "digits"
    """digits, fashion_mnist, cifar10, cifar100, imagenet, folder, or an import path `package.module:function`."""
    root: Annotated[str | Path | None, Address] = None
    """Folder that holds the data set's files, or a URL that each node fetches once into `cache`: an archive (.tar,
    .tar.gz, .tgz, .zip) at http(s)://, or a folder or archive at s3://, gs://, abfs:// or file://. None: where the data
    set is usually found on this machine."""
    download: bool = False
    """Fetch cifar10, cifar100 or fashion_mnist, once a node, where it is not found."""
    cache: Path = Path("~/.cache/raykd/data")
    """Each node's own folder for data that it fetches."""
    validation_share: OpenShare = 0.2
    """Share of the training images cut off for validation where the data set brings no validation split."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validated search: each trial trains a student on each of so many splits of the training images, and its
    accuracy is their mean. Instead of `validation_share`; for data sets that bring no validation split."""
    fold: Annotated[CountOrZero, tyro.conf.Suppress] = 0
    """Which of the folds is the validation split. A study looks at all of them, everything else at the first."""
    test_share: OpenShare = 0.2
    """Share of all images cut off for testing where the data set brings no test split."""
    train_images: Count | None = None
    """Use only this many training images, stratified. None: all."""
    seed: CountOrZero = 0
    """Seeds the splits and the views (augmentations and order of each epoch)."""
    view_seed: CountOrZero | None = None
    """Seeds the views alone, so that they may differ on the same splits. None: `seed`."""
    held_out: Annotated[Literal["validation", "test"], tyro.conf.Suppress] = "validation"
    """What networks are measured on. test: learn from train and validation, be measured on test; only confirm does."""
    label_noise: Share = 0.0
    """Share of the training labels that are replaced by other classes, drawn at random: how a method bears wrong labels
    or a poor teacher. Labels of the other splits stay right."""
    left_out: Annotated[tuple[CountOrZero, Count] | None, tyro.conf.Suppress] = None
    """Which fold of how many the training images lack. Only the teachers of `teacher.folds` lack one."""
    crop_padding: CountOrZero | None = None
    """Pixels of zero padding for the random crop of in-memory images. None: usual for the data set (CIFAR: 4)."""
    horizontal_flip: bool | None = None
    """Flip half of the training images left to right. None: usual for the data set (no flips of digits)."""
    image_size: Count | None = None
    """Height and width in pixels: streamed images are cropped to it, in-memory ones resized. None: the data set's own
    (streamed: 224)."""
    resize: CountOrZero | None = None
    """Held-out images of folders: their shorter side in pixels before the crop of `image_size` at the centre. 0: images
    are not resized. None: 256/224 of `image_size`, as is usual for ImageNet."""
    crop: Crop = "center"
    """Held-out images of folders. center: the shorter side is resized, and the centre cropped; squash: both sides are
    resized (to `resize`, or `image_size`), whatever the image's aspect ratio."""
    interpolation: Interpolation = "bilinear"
    """How images are resized: bilinear, bicubic or nearest."""
    mean: Annotated[Mean, Field(min_length=1)] | None = None
    """Subtracted from images in [0, 1]: one number, or one a channel. None: the training images' (folders:
    ImageNet's)."""
    std: Annotated[Std, Field(min_length=1)] | None = None
    """What images are divided by then: one number, or one a channel. None: the training images' (folders:
    ImageNet's)."""
    loader_processes: CountOrZero | None = None
    """Processes per worker that decode streamed images; in-memory data needs none. None: 4, or as many as the worker
    has CPU threads where these are fewer."""

    @field_validator("root")
    @classmethod
    def _folder_or_url(cls, root: str | Path | None) -> str | Path | None:
        return Path(root) if isinstance(root, str) and "://" not in root else root

    @model_validator(mode="after")
    def _can_be_downloaded(self) -> Self:
        if self.download and self.name not in DOWNLOADABLE:
            raise ValueError(
                f"data.download fetches {', '.join(DOWNLOADABLE)}, not {self.name}: "
                "leave it out, or name a URL with data.root"
            )
        return self

    @model_validator(mode="after")
    def _can_be_resized(self) -> Self:
        if self.resize == 0 and self.crop == "squash":
            raise ValueError("data.resize 0 does not resize images, and data.crop squash does: leave one out")
        return self

    @model_validator(mode="after")
    def _is_one_of_the_folds(self) -> Self:
        if self.fold >= (self.folds or 1):
            raise ValueError(f"data.fold {self.fold} is none of {self.folds or 1}: the first one is 0")
        return self

    @property
    def seed_of_views(self) -> int:
        """What seeds the views."""
        return self.seed if self.view_seed is None else self.view_seed


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
        for name, neutral in LATER_SETTINGS.items():
            *sections, last = name.split(".")
            section = reduce(getitem, sections, content)
            if section[last] == neutral:
                del section[last]
        return content
