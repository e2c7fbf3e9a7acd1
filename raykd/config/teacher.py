"""The teacher of a study, and the teachers that are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from pydantic import Field, model_validator

from raykd.config.preprocessing import PreprocessingSettings
from raykd.config.training_spec import ModelSettings, TrainingSettings
from raykd.settings import Address, Count, CountOrZero, NonNegative, Positive, Settings, Share

Ablation = Literal["fixed_temperature", "full_kl", "full_dkd", "masked"]
"""The ways in which a generous teacher may differ from the paper's."""


class GenerousSettings(Settings):
    """How a generous teacher absorbs the standard teacher's knowledge (Image and Vision Computing 150, 105199).

    The defaults are the paper's loss, but for the `floor`, which matters while the logits hardly differ yet;
    `knowledge`, `policy` and `wrong` are its ablations.
    """

    knowledge: Literal["non_target", "full", "decoupled"] = "non_target"
    """non_target: the standard teacher's distribution over the other classes; full: its whole answer (KL); decoupled:
    target and other classes, each with its own weight (DKD)."""
    weight: NonNegative = 1.0
    """Weight of the knowledge."""
    target_weight: NonNegative = 1.0
    """decoupled: weight of the target-class part, beside `weight` of the non-target part."""
    policy: Literal["std", "constant"] = "std"
    """std: tau = multiplier * std(logits) of each sample, each network its own; constant: tau = value."""
    multiplier: Positive = 1.0
    """std: temperature multiplier m."""
    value: Positive = 4.0
    """constant: the temperature."""
    floor: Share = 0.1
    """std: share of the standard teacher's deviation that the generous one's counts as at least (temperature.floor);
    the paper has none (0)."""
    wrong: Literal["keep", "drop"] = "keep"
    """keep: learn from all answers of the standard teacher; drop: from its right ones only, each weighing the same."""
    warmup_epochs: CountOrZero = 20
    """Epochs over which the weight of the knowledge rises linearly from 0."""


def lasting_source(source: str) -> str:
    """The same source for processes elsewhere: what is seen from here is named by its whole path."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


class TeacherSettings(PreprocessingSettings):
    """The teacher. Teachers are cached by content: settings and data."""

    kind: Literal["standard", "generous"] = "standard"
    """standard: trained by cross-entropy; generous: the same network, trained once more by a standard teacher."""
    model: ModelSettings = ModelSettings(name="resnet56")
    training: TrainingSettings = TrainingSettings()
    generous: GenerousSettings = GenerousSettings()
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-fitting (arXiv 2104.09732): train so many teachers, each without one fold of the training images, and let
    every image be taught by the one that has not seen it, so that its answers are no memory: it is as often wrong as on
    new images. Held-out images are answered by the mean of all. None: one teacher that has seen all."""
    label_noise: Share | None = None
    """As data.label_noise, of the teacher's training alone. None: what data.label_noise says."""
    augmented: bool = False
    """Whether a teacher that is trained here sees data.augment, data.mixup and data.cutmix in its own training as well.
    Without, all trials that search them share one teacher. Students are always taught on the images that they see."""
    source: Annotated[str | None, Address] = None
    """A finished teacher to take as it is instead of training one: a checkpoint file of `teacher.model`, its weights by
    name from torchvision or timm (IMAGENET1K_V1), a raykd model folder, or an MLflow URI (models:/NAME@ALIAS,
    runs:/ID/NAME; modules that are not raykd's get images in [0, 1]). A generous teacher is taught by it."""
    trust: Annotated[bool, tyro.conf.arg(aliases=["--trust"])] = False
    """Load `source` even if it is a pickled network, which runs whatever code its maker has put into it. It is asked
    again at every run: no file of a study says it."""
    expected_accuracy: Share | None = None
    """Accuracy that the given teacher is known to have on such images, as a share: raykd warns where it has far less
    here. None: what its file or torchvision says, where they do."""
    fetched: Annotated[dict[str, str], tyro.conf.Suppress] = Field(default_factory=dict, repr=False)
    """Folders of given teachers in the cache, by `source_key`. A run fills it in, with those that are searched."""
    cache: Path = Path("~/.cache/raykd")
    """Folder of the teacher and data caches, shared by all studies; on a cluster a path that all nodes see, unless
    cluster.storage holds the teachers."""

    @property
    def source_key(self) -> str:
        """What a given teacher is fetched by: its source, and the network that it is for where it does not say so."""
        return f"{self.source} {self.model.model_dump_json(include={'name', 'arguments', 'weights_key'})}"

    @property
    def folder(self) -> str | None:
        """Where the given teacher lies once it is fetched; before, its source. None: teachers are trained here."""
        return None if self.source is None else self.fetched.get(self.source_key, self.source)

    @model_validator(mode="after")
    def _is_trained_where_it_is_cross_fitted(self) -> Self:
        if self.source is not None and self.folds is not None:
            raise ValueError("teacher.folds trains teachers, but teacher.source is a finished one: leave one out")
        return self

    @model_validator(mode="after")
    def _is_given_where_it_is_described(self) -> Self:
        if self.source is None:
            for name in (*PreprocessingSettings.model_fields, "expected_accuracy"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"teacher.{name} describes a finished teacher: name it with teacher.source; a teacher that is "
                        "trained here sees what the student sees"
                    )
        return self


class ComparisonSettings(Settings):
    """Which teachers are compared by how well the same student learns from them."""

    ablations: tuple[Ablation, ...] = ()
    """Teachers besides the standard and the generous one, which differ from the latter in one thing: fixed_temperature
    (policy constant), full_kl (knowledge full), full_dkd (knowledge decoupled), masked (wrong drop)."""
    seeds: Count = 3
    """Students of each teacher, and without teacher: `training.seed` and those after it."""
