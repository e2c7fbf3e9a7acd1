"""Cross-fitting: several teachers, each trained without one fold of the training images, teach as one.

Every training image is taught by the teacher that has not seen it (arXiv 2104.09732, algorithm 1), so its answers are
those that it would give to a new image. Held-out images are answered by the mean of all teachers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from raykd.data import Batch, ImageData
from raykd.errors import RaykdError
from raykd.fingerprints import without_fold
from raykd.storage import name_of, sibling
from raykd.training.folder import MEMBERS, description, write_description
from raykd.training.messages import Report, TrainRequest
from raykd.training.teacher import Knowledge, Teacher
from raykd.training.team import Team


class CrossFittedTeacher:
    """Several frozen teachers that answer each training image by the one that has not seen it.

    Args:
        folder: Where they are described as one.
        members: Their folders, fold by fold.
        data: The images that they teach.
        seed: `data.seed`, which decides the folds.
        precision: Of their forward passes.
        device: Where they run.

    Attributes:
        folder, precision: As given.
        info: The data as they see them.

    Raises:
        RaykdError: One of them was not trained without its fold of these images.
    """

    def __init__(
        self,
        folder: str,
        members: Sequence[str],
        data: ImageData,
        seed: int,
        precision: torch.dtype | None,
        device: torch.device,
    ) -> None:
        for fold, member in enumerate(members):
            model = description(member)
            unseen = without_fold(data.info.fingerprint, fold, len(members), seed)
            if model is None or model["data"]["fingerprint"] != unseen:
                raise RaykdError(
                    f"the teacher in {member} was not trained without fold {fold} of these images: delete {folder}"
                )
        self.folder = folder
        self.precision = precision
        self._members = [Teacher(member, data.info, precision, device) for member in members]
        self.info = data.info
        self._folds = torch.from_numpy(data.folds(len(members), seed)).to(device)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of all that decides their answers: each teacher, and who answers which image."""
        content = [member.digest for member in self._members] + self._folds.tolist()
        return hashlib.sha256(repr(content).encode()).hexdigest()

    @property
    def network(self) -> nn.Module:
        """The first one's bare network; those of the others have the same layers."""
        return self._members[0].network

    def teach(self, batch: Batch, layers: Sequence[str] = ()) -> Knowledge:
        """Their knowledge of a batch of training images, with the hints of these layers."""
        parts = [(rows, member.teach(batch.take(rows), layers)) for rows, member in self._answering(batch)]
        hints = {layer: _joined([(rows, part.hints[layer]) for rows, part in parts]) for layer in layers}
        return Knowledge(_joined([(rows, part.logits) for rows, part in parts]), hints)

    def answer(self, batch: Batch) -> Tensor:
        """Their logits [B, classes] for a batch of training images, by fewer operations than those of `teach`."""
        return _joined([(rows, member.answer(batch.take(rows))) for rows, member in self._answering(batch)])

    def classify(self, batch: Batch) -> Tensor:
        """Classes [B] of a batch of held-out images: where the mean of their probabilities is largest."""
        return classes_of([member.teach(batch).logits for member in self._members])

    def _answering(self, batch: Batch) -> Iterable[tuple[Tensor, Teacher]]:
        """Rows [B'] of a batch of training images, and the teacher that has not seen them."""
        folds = self._folds[batch.indices]
        for fold, member in enumerate(self._members):
            rows = (folds == fold).nonzero().squeeze(1)
            if len(rows):
                yield rows, member


AnyTeacher = Teacher | CrossFittedTeacher


def load_teacher(
    folder: str, data: ImageData, seed: int, precision: torch.dtype | None, device: torch.device
) -> AnyTeacher:
    """The teacher in a folder, or those that teach as one.

    Raises:
        RaykdError: See `Teacher` and `CrossFittedTeacher`.
    """
    folders = member_folders(folder)
    if folders is None:
        return Teacher(folder, data.info, precision, device)
    return CrossFittedTeacher(folder, folders, data, seed, precision, device)


def member_folders(folder: str | Path) -> list[str] | None:
    """The folders of the teachers that are described there as one, fold by fold; None where that is no description."""
    names = (description(folder) or {}).get(MEMBERS)
    return None if names is None else [sibling(folder, name) for name in names]


def classes_of(logits: Sequence[Tensor]) -> Tensor:
    """Classes [B] where the mean of the models' probabilities is largest; of each model, its logits [B, classes]."""
    if len(logits) == 1:
        return logits[0].argmax(1)  # In its probabilities, two classes may be equal by rounding.
    return torch.stack([each.float().softmax(1) for each in logits]).mean(0).argmax(1)


def join_teachers(
    request: TrainRequest, data: ImageData, held_out: Iterable[Batch], precision: torch.dtype | None, team: Team
) -> Report:
    """Describe trained teachers as one that is finished, with its accuracy on the held-out images.

    All workers of a classroom call it; the first one writes.

    Raises:
        RaykdError: One of the teachers was not trained without its fold of these images.
    """
    seed = request.spec.data.seed
    teacher = CrossFittedTeacher(request.folder, request.members, data, seed, precision, team.device)
    counts = torch.zeros(2, device=team.device)
    for batch in team.watch.each(held_out):
        counts += torch.tensor([(teacher.classify(batch) == batch.labels).sum(), len(batch)], device=team.device)
    right, images = team.sum(counts).tolist()
    metrics = {f"{data.info.held_out}_accuracy": right / images}
    if team.rank == 0:
        models = [description(member) or {} for member in request.members]
        content = {
            "lesson": request.spec.model_dump(mode="json"),
            "data": asdict(data.info),
            "metrics": metrics,
            "epochs": request.spec.training.epochs,
            "seconds": sum(model["seconds"] for model in models),
            "alone": all(model["alone"] for model in models),
            "weights": teacher.digest,
            "views": [],
            MEMBERS: [name_of(member) for member in request.members],
        }
        write_description(request.folder, content)
    return Report(request.student, request.ticket, epoch=1, metrics=metrics, finished=True)


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """One tensor [B, ...] of parts [B', ...], each with its rows [B']; together they have each row once."""
    rows, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return torch.empty_like(values).index_copy_(0, rows, values)
