"""The whole loss of one student: cross-entropy, and a method under temperature, bias handling and schedule.

    L = ce_weight CE + warmup (kd_weight [b L_right + (1 - b) L_rectified] + feature_weight L_features)

as in arXiv 2412.09874 (AAAI 2025); a feature method adds the last term beside its logit method. Where the schedule
hands weight over to the labels, (1 - b) CE_right + b CE_wrong joins L_right and L_rectified, so that each sample keeps
its whole weight. The maths is float32 outside autocast, and never waits for the device: no value of a tensor decides
what is done next.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raykd.knowledge.bias import BiasSettings, rectify, wrong
from raykd.knowledge.methods.base import Answers, FeatureTerm, Hints, LogitTerm, SampleTerm
from raykd.knowledge.mixed_labels import MixedLabels, cross_entropy
from raykd.knowledge.schedule import ScheduleSettings
from raykd.knowledge.temperature import TemperatureSettings


@dataclass(frozen=True)
class Workers:
    """The data-parallel workers that share a batch: how many, and how a tensor of counts is summed over them.

    DDP averages gradients over workers, so a mean over the global batch is, on each worker, `count` times its local
    sum over the global count: then local batches may differ in size, and in how many wrong answers they hold.
    `sum` must return the total on every worker and leave its argument alone; it is called once per objective.
    """

    count: int
    sum: Callable[[Tensor], Tensor]


def _itself(counts: Tensor) -> Tensor:
    return counts


ALONE = Workers(count=1, sum=_itself)
"""A worker without colleagues."""


@dataclass(frozen=True)
class Losses:
    """What an objective gives: `total` to call backward on, and its detached `parts` (0-dim float32) to log.

    With several workers these are local shares: their average over workers is the global value, for every part.

    - cross_entropy, distillation, features: as in L, before their weights and warm-up
    - right, rectified: L_right and L_rectified, before b; with bias form "keep" the latter is that of the wrong samples
      as they are, with "drop" it is 0
    - labels: cross-entropy that stands in for what the schedule takes from answers, already weighed by it; only where
      the schedule hands over to labels
    - wrong_share: wrong samples over all samples
    - teacher_temperature, student_temperature: means over the batch

    Parts that are not computed (no teacher, or weight 0) are missing.
    """

    total: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """What multiplies the parts of the loss in one epoch.

    - distillation, features: kd_weight and feature_weight with their warm-up
    - right, rectified: of right and of rectified knowledge; 1 and 0 where the whole batch is one set
    """

    distillation: float
    features: float
    right: float
    rectified: float


@dataclass(frozen=True)
class Objective:
    """The loss of one student.

    - method, temperature: the logit method on tempered logits, or None; see `raykd.knowledge.methods`
    - bias: what is done about the teacher's wrong answers; see `raykd.knowledge.bias`. Form "keep" is plain
      distillation over the whole batch, without the schedule; "drop" leaves b L_right alone. Its denominator divides
      the sums over right and over wrong samples: each by its own count (arXiv 2412.09874), or both by the whole batch's
    - schedule: b, the weight of right against rectified knowledge
    - ce_weight, kd_weight: weights of cross-entropy and distillation
    - warmup_epochs: kd_weight and feature_weight are multiplied by min(epoch / warmup_epochs, 1), epoch from 0; 0 means
      no warm-up
    - label_smoothing: of the cross-entropy
    - features, feature_weight: the feature method, or None, and its weight
    """

    method: LogitTerm | None
    temperature: TemperatureSettings
    bias: BiasSettings
    schedule: ScheduleSettings
    ce_weight: float
    kd_weight: float
    warmup_epochs: int
    label_smoothing: float = 0.0
    features: FeatureTerm | None = None
    feature_weight: float = 0.0

    @property
    def modules(self) -> list[nn.Module]:
        """The parts that hold learned parameters, for the student to train and save."""
        terms: tuple[object, ...] = (self.method, self.features)
        return [term for term in terms if isinstance(term, nn.Module)]

    def weights(self, *, epoch: int, epochs: int) -> Weights:
        """Return the weights of an epoch, from 0, of `epochs`."""
        warmup = min(epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0
        right, rectified = 1.0, 0.0
        if self.bias.form != "keep":
            right = self.schedule.right_weight(epoch / epochs)
            rectified = 0.0 if self.bias.form == "drop" else 1 - right
            right = 1.0 if self.schedule.hand_over == "right" else right
        return Weights(self.kd_weight * warmup, self.feature_weight * warmup, right, rectified)

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        *,
        epoch: int,
        epochs: int,
        workers: Workers = ALONE,
        hints: Hints | None = None,
        distilled_logits: Tensor | None = None,
        mixed: MixedLabels | None = None,
    ) -> Losses:
        """Return the losses of a batch: logits [B, C] of any float type before temperature, labels int64 [B].

        `distilled_logits` are compared with the teacher's instead of the student's, which answer for the labels alone:
        those of a distillation token (DeiT). Of mixed images, cross-entropy takes both labels; right is who answers the
        one with the larger share.

        The teacher gets no gradient. Without teacher logits, or with kd_weight 0, nothing is distilled from answers.

        Raises ValueError if shapes disagree, labels are not class numbers, or epoch is not in [0, epochs].
        """
        _check(student_logits, teacher_logits, labels, epoch, epochs)
        weights = self.weights(epoch=epoch, epochs=epochs)
        with _no_autocast(student_logits.device.type):
            student = student_logits.float()
            distilled = student if distilled_logits is None else distilled_logits.float()
            of_labels = self._cross_entropy(student, labels, mixed, "sum")
            if teacher_logits is None or self.method is None or self.kd_weight == 0:
                samples = workers.sum(student.new_full((), student.shape[0]))
                parts = {}
            else:
                is_wrong = wrong(teacher_logits, labels)
                counts = workers.sum(torch.stack([~is_wrong, is_wrong]).sum(dim=1, dtype=torch.float32))
                samples = counts.sum()
                parts = self._distil(
                    distilled, teacher_logits.detach().float(), labels, epoch, is_wrong, counts, workers
                )
                if self.bias.form != "keep":
                    parts["distillation"] = weights.right * parts["right"] + weights.rectified * parts["rectified"]
                    if self.schedule.hand_over == "labels":
                        rows = self._cross_entropy(student, labels, mixed, "none")
                        mean_among = _mean_of_rows(rows, workers)
                        right_count, wrong_count = self._denominators(counts)
                        parts["labels"] = (1 - weights.right) * mean_among(~is_wrong, right_count) + (
                            1 - weights.rectified
                        ) * mean_among(is_wrong, wrong_count)
            parts["cross_entropy"] = workers.count * of_labels / samples
            if hints is not None and self.features is not None:
                local_share = workers.count * student.shape[0] / samples
                parts["features"] = local_share * self.features.loss(_in_float32(hints))
            total = self.ce_weight * parts["cross_entropy"]
            of_distillation, of_features = weights.distillation, weights.features
            for name, weight in (
                ("distillation", of_distillation),
                ("labels", of_distillation),
                ("features", of_features),
            ):
                if name in parts:
                    total = total + weight * parts[name]
            return Losses(total, {name: part.detach() for name, part in parts.items()})

    def _distil(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        epoch: int,
        is_wrong: Tensor,
        counts: Tensor,
        workers: Workers,
    ) -> dict[str, Tensor]:
        """Return what is distilled from the answers; `counts` [2] are right and wrong samples of all workers."""
        samples = counts.sum()
        right_count, wrong_count = self._denominators(counts)
        teacher_temperature = self.temperature.of(teacher)
        student_temperature = self.temperature.of_student(student, teacher_temperature)
        answers = Answers(
            student=student / student_temperature,
            teacher=self._repaired(teacher / teacher_temperature, is_wrong, labels),
            labels=labels,
            student_temperature=student_temperature,
            teacher_temperature=teacher_temperature,
            squared_weight=self.temperature.squared_weight(teacher_temperature),
            epoch=epoch,
        )
        mean_among = self._mean_among(answers, workers)
        right = mean_among(~is_wrong, right_count)
        rectified = right.new_zeros(()) if self.bias.form == "drop" else mean_among(is_wrong, wrong_count)
        parts = {
            "right": right,
            "rectified": rectified,
            "wrong_share": workers.count * is_wrong.sum() / samples,
            "teacher_temperature": workers.count * teacher_temperature.sum() / samples,
            "student_temperature": workers.count * student_temperature.sum() / samples,
        }
        if self.bias.form == "keep":
            parts["distillation"] = mean_among(torch.ones_like(is_wrong), samples)
        return parts

    def _cross_entropy(self, student: Tensor, labels: Tensor, mixed: MixedLabels | None, reduction: str) -> Tensor:
        return cross_entropy(student, labels, mixed, reduction, self.label_smoothing)

    def _denominators(self, counts: Tensor) -> Tensor:
        """What the sums over right and over wrong samples are divided by, [2], from the counts [2] of both."""
        # An empty subset sums to 0; at least 1 below it keeps it there.
        return counts.clamp(min=1) if self.bias.denominator == "subset" else counts.sum().expand(2)

    def _mean_among(self, answers: Answers, workers: Workers) -> Callable[[Tensor, Tensor], Tensor]:
        """Return how to average the method over chosen samples (bool [B]), of which all workers have `count`."""
        if isinstance(self.method, SampleTerm):
            return _mean_of_rows(self.method.rows(answers), workers)
        method = self.method
        assert method is not None

        def mean_among(chosen: Tensor, count: Tensor) -> Tensor:
            # Each worker relates its own samples; its loss weighs as much as its share of them.
            return workers.count * chosen.sum() / count * method.among(answers, chosen)

        return mean_among

    def _repaired(self, tempered: Tensor, is_wrong: Tensor, labels: Tensor) -> Tensor:
        """Return the teacher's tempered logits [B, C], wrong rows repaired, at the offset that they had."""
        if self.bias.form in ("keep", "drop"):
            return tempered
        repaired = rectify(tempered, labels, self.bias) + tempered.logsumexp(dim=1, keepdim=True)
        return torch.where(is_wrong.unsqueeze(1), repaired, tempered)


def _mean_of_rows(rows: Tensor, workers: Workers) -> Callable[[Tensor, Tensor], Tensor]:
    """Return how to average losses [B] over chosen samples (bool [B]), of which all workers have `count`."""

    def mean_of_rows(chosen: Tensor, count: Tensor) -> Tensor:
        return workers.count * rows.masked_fill(~chosen, 0).sum() / count

    return mean_of_rows


def _in_float32(hints: Hints) -> Hints:
    student = tuple(features.float() for features in hints.student)
    teacher = tuple(features.detach().float() for features in hints.teacher)
    return Hints(student, teacher, hints.labels, hints.indices)


def _no_autocast(device_type: str) -> AbstractContextManager[object]:
    # Autocast takes matrix products in bfloat16 even of float32. Devices without it ("meta") refuse even to disable it.
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _check(student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor, epoch: int, epochs: int) -> None:
    if student_logits.dim() != 2 or labels.shape != student_logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            "student logits must be [B, C] and labels class numbers [B] (mixed labels have no target class), "
            f"not {list(student_logits.shape)} and {labels.dtype} {list(labels.shape)}"
        )
    if teacher_logits is not None and teacher_logits.shape != student_logits.shape:
        raise ValueError(
            "teacher and student logits must have the same shape [B, C], "
            f"not {list(teacher_logits.shape)} and {list(student_logits.shape)}"
        )
    if not 0 <= epoch <= epochs or epochs < 1:
        raise ValueError(f"epoch must be in [0, epochs] and epochs at least 1, not {epoch} and {epochs}")
