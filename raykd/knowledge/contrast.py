"""Contrastive representation distillation: learned embeddings of both networks, and a memory of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.knowledge.methods.base import Hints, HintShapes


class OtherClasses(nn.Module):
    """Draws training samples of other classes, without waiting for the device.

    Args:
        labels: int64 [N], of the training split.

    Raises:
        ValueError: All labels are the same.
    """

    _order: Tensor
    _counts: Tensor
    _starts: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        labels = labels.cpu()
        counts = torch.bincount(labels)
        self.fewest = len(labels) - int(counts.max())
        """Samples of other classes that every sample has, at least."""
        if self.fewest == 0:
            raise ValueError("samples are contrasted with those of other classes, but all training images are of one")
        # Samples sorted by class: each class is a block of `counts` from `starts`.
        self.register_buffer("_order", labels.argsort(stable=True), persistent=False)
        self.register_buffer("_counts", counts, persistent=False)
        self.register_buffer("_starts", counts.cumsum(0) - counts, persistent=False)

    def draw(self, labels: Tensor, count: int) -> Tensor:
        """Return samples int64 [B, count] of classes other than the labels int64 [B], evenly and with replacement."""
        own, start = self._counts[labels].unsqueeze(1), self._starts[labels].unsqueeze(1)
        numbers = torch.randint(2**62, (len(labels), count), device=labels.device)
        position = numbers % (len(self._order) - own)
        return self._order[torch.where(position < start, position, position + own)]


class Contrast(nn.Module):
    """The contrastive loss between one hint of the student and one of the teacher.

    Each network's embeddings, of length 1, are compared with the remembered ones of the other: that of the same sample,
    and those of `negatives` samples of other classes (arXiv 1910.10699). With scores a = s . t / temperature, K
    negatives and N training samples, and Z of each network N times the mean of exp(a) in the first batch:

        L = - mean_i [log h(a_ii) + sum_k log(1 - h(a_ik))],   h(a) = (exp(a) / Z) / (exp(a) / Z + K / N)

    summed over both networks. Memories and Z are saved and resumed with the module.

    Args:
        student_features, teacher_features: Length of the flattened hints.
        samples: N.
        negatives: K.
        dimension: Length of the embeddings.
        temperature: Of the scores.
        momentum: Share of a remembered embedding that is kept when its sample is seen again.
    """

    student_memory: Tensor
    teacher_memory: Tensor
    log_normalisers: Tensor
    _seen: Tensor

    def __init__(
        self,
        student_features: int,
        teacher_features: int,
        *,
        samples: int,
        negatives: int,
        dimension: int,
        temperature: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.student_embedding = nn.Linear(student_features, dimension)
        self.teacher_embedding = nn.Linear(teacher_features, dimension)
        spread = math.sqrt(3 / dimension)
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, (2 * torch.rand(samples, dimension) - 1) * spread)
        # NaN until the first batch sets them; for the student's embeddings, and for the teacher's.
        self.register_buffer("log_normalisers", torch.full((2,), math.nan))
        self.register_buffer("_seen", torch.zeros(samples), persistent=False)
        self._log_negative_odds = math.log(negatives / samples)
        self._temperature = temperature
        self._momentum = momentum

    def loss(self, student: Tensor, teacher: Tensor, indices: Tensor, negatives: Tensor) -> Tensor:
        """Return the loss, 0-dim, of a batch, and remember its embeddings.

        Args:
            student: [B, ...].
            teacher: [B, ...].
            indices: The samples' numbers in the training split, int64 [B].
            negatives: Numbers of the samples to contrast them with, int64 [B, K].
        """
        student = F.normalize(self.student_embedding(student.flatten(1)), dim=1)
        teacher = F.normalize(self.teacher_embedding(teacher.flatten(1)), dim=1)
        chosen = torch.cat([indices.unsqueeze(1), negatives], dim=1)
        pairs = ((student, self.teacher_memory), (teacher, self.student_memory))
        # Scores of all and a choice among them take less memory than K embeddings for each sample.
        scores = torch.stack([(mine @ others.T).gather(1, chosen) for mine, others in pairs]) / self._temperature
        log_odds = scores - self._log_z(scores.detach()).view(2, 1, 1) - self._log_negative_odds
        same, others = F.logsigmoid(log_odds[..., 0]), F.logsigmoid(-log_odds[..., 1:])
        self._remember(student.detach(), teacher.detach(), indices)
        return -(same.sum() + others.sum()) / len(indices)

    def _log_z(self, scores: Tensor) -> Tensor:
        """Return log Z [2], estimated from these scores [2, B, 1 + K] if they are the first."""
        samples, count = len(self._seen), scores[0].numel()
        estimate = scores.flatten(1).logsumexp(dim=1) + math.log(samples / count)
        self.log_normalisers = torch.where(self.log_normalisers.isnan(), estimate, self.log_normalisers)
        return self.log_normalisers

    def _remember(self, student: Tensor, teacher: Tensor, indices: Tensor) -> None:
        def updated(memory: Tensor, embeddings: Tensor) -> Tensor:
            rows = self._momentum * memory[indices] + (1 - self._momentum) * embeddings
            # A new tensor: the backward pass still needs the old one.
            return memory.index_copy(0, indices, F.normalize(rows, dim=1))

        self.student_memory = updated(self.student_memory, student)
        self.teacher_memory = updated(self.teacher_memory, teacher)
        self._seen.index_fill_(0, indices, 1)

    def agree(self, total: Callable[[Tensor], Tensor]) -> None:
        """Bring together what several workers remember: each sample's embedding is that of the worker that saw it.

        Args:
            total: The sum over the workers of a tensor, on each of them.
        """
        visits = total(self._seen).unsqueeze(1)
        mine = self._seen.unsqueeze(1) > 0
        for name in ("student_memory", "teacher_memory"):
            memory: Tensor = getattr(self, name)
            theirs = total(memory.masked_fill(~mine, 0)) / visits.clamp(min=1)
            setattr(self, name, torch.where(visits > 0, theirs, memory))
        self.log_normalisers = total(self.log_normalisers) / total(torch.ones_like(self.log_normalisers))
        self._seen.zero_()


class Contrasts(nn.Module):
    """The sum of `Contrast` over pairs of hint layers, all against the same negatives.

    Args:
        shapes: Of the hints, with the labels of the training split.
        negatives: How many; at most as many as every sample has samples of other classes.
        dimension, temperature, momentum: See `Contrast`.

    Raises:
        ValueError: The training images are all of one class.
    """

    def __init__(
        self, shapes: HintShapes, *, negatives: int, dimension: int, temperature: float, momentum: float
    ) -> None:
        super().__init__()
        self.other_classes = OtherClasses(shapes.labels)
        self.negatives = min(negatives, self.other_classes.fewest)
        self.contrasts = nn.ModuleList(
            Contrast(
                math.prod(student),
                math.prod(teacher),
                samples=len(shapes.labels),
                negatives=self.negatives,
                dimension=dimension,
                temperature=temperature,
                momentum=momentum,
            )
            for student, teacher in zip(shapes.student, shapes.teacher, strict=True)
        )

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        negatives = self.other_classes.draw(hints.labels, self.negatives)
        total = hints.student[0].new_zeros(())
        for contrast, student, teacher in zip(self.contrasts, hints.student, hints.teacher, strict=True):
            assert isinstance(contrast, Contrast)
            total = total + contrast.loss(student, teacher, hints.indices, negatives)
        return total
