"""What a method of distillation is: its settings, and how its loss is computed from the outputs of student and teacher.

A method is one small file in this folder: a class of settings whose docstring, ``formula`` and ``source`` explain it,
and whose ``loss`` computes it. Torch is imported where it is used, not at the top: command lines and trials read the
settings without it.

- `LogitMethod`: the loss of each sample by itself, from the answers alone
- `BatchMethod`: a loss that relates the samples of a batch, from the answers alone
- `FeatureMethod`: from features of hint layers
- `TeacherFree`: from the labels alone

A method that learns parameters of its own returns an ``nn.Module`` from ``term``; the student trains and saves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from raykd.settings import NonNegative, Settings

if TYPE_CHECKING:
    from torch import Tensor

Where = Literal["middle", "last", "stages", "embedding", "stages and embedding"]
"""Where hints are taken: the stage in the middle, the last one, all of them, or what enters the classifier's head."""

Labels = Literal["unused", "dominant", "single"]
"""What a method makes of the two labels of a mixed image: nothing, as it uses no labels; it takes the one with the
larger share; or it refuses such images."""


@dataclass(frozen=True)
class Answers:
    """Logits of student and teacher for a batch, in float32.

    - student, teacher: logits [B, C] over their temperature; the teacher's are repaired and have no gradient
    - labels: int64 [B]; of mixed images those with the larger share
    - student_temperature, teacher_temperature: [B, 1]; logits times temperature are the logits before it
    - squared_weight: [B], the factor T^2 that makes up for the small gradients at high temperatures
    - epoch: from 0
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    student_temperature: Tensor
    teacher_temperature: Tensor
    squared_weight: Tensor
    epoch: int


@dataclass(frozen=True)
class Hints:
    """Outputs of the hint layers of student and teacher for a batch, in float32, shallow to deep.

    - student, teacher: [B, channels, height, width] or [B, ...], one a layer, as many of each; the teacher's have no
      gradient
    - labels: int64 [B]
    - indices: int64 [B], the samples' numbers in the training split
    """

    student: tuple[Tensor, ...]
    teacher: tuple[Tensor, ...]
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True)
class HintShapes:
    """What a feature method may build its learned parts from.

    - student, teacher: shape of each hint without the batch, shallow to deep
    - labels: int64, of the whole training split
    """

    student: tuple[tuple[int, ...], ...]
    teacher: tuple[tuple[int, ...], ...]
    labels: Tensor


@runtime_checkable
class SampleTerm(Protocol):
    """A distillation loss of each sample by itself."""

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        ...


@runtime_checkable
class BatchTerm(Protocol):
    """A distillation loss that relates the samples of a batch."""

    def among(self, answers: Answers, chosen: Tensor) -> Tensor:
        """Return the loss, 0-dim, of the chosen (bool [B]) samples alone, with its temperature weight; 0 of none."""
        ...


LogitTerm = SampleTerm | BatchTerm


class FeatureTerm(Protocol):
    """A loss between hints."""

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        ...


def as_published(
    *, ce_weight: float, kd_weight: float | None = None, temperature: float | None = None, warmup_epochs: int = 0
) -> Mapping[str, Any]:
    """The authors' settings around their method by dotted name: plain distillation at a constant temperature."""
    settings: dict[str, Any] = {"objective.ce_weight": ce_weight, "objective.warmup_epochs": warmup_epochs}
    if kd_weight is not None:
        settings |= {"objective.kd_weight": kd_weight, "bias.form": "keep"}
    if temperature is not None:
        settings |= {"temperature.policy": "constant", "temperature.value": temperature}
    return settings


@runtime_checkable
class HasMetrics(Protocol):
    """A term that logs metrics besides its loss."""

    def metrics(self) -> dict[str, float]:
        """Values by name, read after each epoch."""
        ...


class Method(Settings):
    """A method of distillation: frozen settings.

    - name: what ``--method`` takes
    - formula, source: for `raykd explain`
    - published: the authors' other settings by dotted name
    - labels: what the method makes of the labels of mixed images (data.mixup, data.cutmix)
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    published: ClassVar[Mapping[str, Any]] = {}
    labels: ClassVar[Labels] = "dominant"


class TeacherFree(Method):
    """A baseline without teacher: cross-entropy, with its own label smoothing where `smoothing` is not None."""

    @property
    def smoothing(self) -> float | None:
        """Label smoothing of the cross-entropy; None leaves it to `training.label_smoothing`."""
        return None


class AnswerMethod(Method):
    """A method that needs the answers alone; the teacher's wrong ones are repaired before it sees them.

    ``finite`` marks a method that compares the logits themselves, so that a repair must not send any to -infinity.
    """

    finite: ClassVar[bool] = False

    def term(self) -> LogitTerm:
        """The loss under these settings: the settings themselves, or a module with learned parameters."""
        raise NotImplementedError


class LogitMethod(AnswerMethod):
    """A method with a loss of each sample by itself; override `loss`, or `rows` to choose temperatures freely."""

    def term(self) -> LogitTerm:
        """The loss under these settings: the settings themselves, or a module with learned parameters."""
        return self

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        loss = self.loss(answers.student, answers.teacher, answers.labels)
        if loss.shape != answers.labels.shape:
            raise ValueError(f"method {self.name}: its loss must be [B], one number a sample, not {list(loss.shape)}")
        return answers.squared_weight * loss

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [B] of tempered logits [B, C] and labels int64 [B], without any T^2."""
        raise NotImplementedError


class BatchMethod(AnswerMethod):
    """A method whose loss relates the samples of a batch; override `among`."""

    def term(self) -> LogitTerm:
        """The loss under these settings: the settings themselves, or a module with learned parameters."""
        return self

    def among(self, answers: Answers, chosen: Tensor) -> Tensor:
        """Return the loss, 0-dim, of the chosen (bool [B]) samples alone, with its temperature weight; 0 of none."""
        raise NotImplementedError


class FeatureMethod(Method):
    """A method that compares features; its term is added to that of the answers. Override `term`, or `loss`."""

    where: ClassVar[Where]
    weight: NonNegative = 1.0
    """Weight of the feature term."""

    def term(self, shapes: HintShapes) -> FeatureTerm:
        """The loss between hints of these shapes: the settings themselves, or a module with learned parameters.

        Raises ValueError if the method cannot compare such hints.
        """
        return self

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        raise NotImplementedError
