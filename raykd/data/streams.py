"""Batches of images that are decoded from files as they are needed, by loader processes.

The random crop and flip of an image are drawn from a seed made of (seed, view, index) alone, so they depend neither on
which process decodes it, nor on how many there are, nor on restarts.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from raykd.data.decoding import decoded
from raykd.data.image_data import DataInfo, FileSplit
from raykd.data.mixing import Mixing
from raykd.data.plan import Batch, Plan
from raykd.errors import RaykdError
from raykd.seeds import seed_of
from raykd.sockets import short_folder

Item = tuple[Tensor, int, int]
"""uint8 image (3, H, W), label, index."""

Tensors = tuple[Tensor, Tensor, Tensor]
"""A batch of `Item`s."""


USUAL_CROP = 0.08
"""The smallest share of an image's area that a random crop keeps, if `data.augment.resized_crop` says nothing."""


class TrainingStream(Dataset[Item]):
    """Training images, each addressed by (view number, index), under a random resized crop, flip and augmentation."""

    def __init__(self, split: FileSplit, info: DataInfo) -> None:
        from torchvision.transforms import v2

        flips = [v2.RandomHorizontalFlip()] if info.horizontal_flip else []
        mode = v2.InterpolationMode(info.interpolation)
        how = info.augmentation
        scale = (USUAL_CROP if how.resized_crop is None else how.resized_crop, 1.0)
        crop = v2.RandomResizedCrop((info.height, info.width), scale=scale, interpolation=mode, antialias=True)
        steps: list[Any] = [crop, *flips]
        if how.color_jitter:
            steps.append(v2.ColorJitter(*[how.color_jitter] * 3))
        if how.policy == "randaugment":
            steps.append(v2.RandAugment(how.operations, how.magnitude))
        elif how.policy == "trivialaugment":
            steps.append(v2.TrivialAugmentWide())
        steps.append(v2.PILToTensor())
        if how.erasing:
            steps.append(v2.RandomErasing(how.erasing, value=[round(255 * mean) for mean in info.mean]))
        self._transform: Callable[[Any], Tensor] = v2.Compose(steps)
        self._split = split
        self._seed = info.seed

    def __getitem__(self, address: tuple[int, int]) -> Item:
        view, index = address
        image = decoded(self._split.path(index))
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also reseed the GPUs, whose state is not put back here.
            torch.default_generator.manual_seed(seed_of("stream", self._seed, view, index))
            return self._transform(image), int(self._split.labels[index]), index


class EvaluationStream(Dataset[Item]):
    """Images of a split, resized and cropped at the centre."""

    def __init__(self, split: FileSplit, info: DataInfo) -> None:
        from torchvision.transforms import v2

        mode, side = v2.InterpolationMode(info.interpolation), info.resized_to
        size = (side, side) if info.crop == "squash" else side
        resize = [v2.Resize(size, interpolation=mode, antialias=True)] if side else []
        self._transform: Callable[[Any], Tensor] = v2.Compose(
            [*resize, v2.CenterCrop((info.height, info.width)), v2.PILToTensor()]
        )
        self._split = split

    def __getitem__(self, index: int) -> Item:
        return self._transform(decoded(self._split.path(index))), int(self._split.labels[index]), index


class StreamedTraining:
    """The `TrainingBatches` of streamed images."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._addresses = _Addresses(plan)
        self._loader = _loader(TrainingStream(_files(plan), plan.data.info), self._addresses, plan)

    @property
    def batch_size(self) -> int:
        """Images of every global batch."""
        return self._plan.batch_size

    @property
    def share(self) -> int:
        """Images of this worker's part of each of them."""
        return self._plan.share

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self._plan.full_batches

    def epoch(self, view_number: int) -> Iterator[Batch]:
        """The batches of one view."""
        self._addresses.view_number = view_number
        self._addresses.mixing = mixing = self._plan.mixing(view_number)
        return _batches(self._loader, self._plan) if mixing is None else self._mixed(view_number, mixing)

    def _mixed(self, view_number: int, mixing: Mixing) -> Iterator[Batch]:
        """The batches of a view whose loader gives the missing partners of a batch's images behind them."""
        plan = self._plan
        labels, there = _files(plan).labels.to(plan.device), mixing.to(plan.device)
        shares = plan.training_shares(plan.view(view_number).order())
        for rows, tensors in zip(shares, _decoded(self._loader, plan), strict=True):
            images, own, indices = (tensor[: len(rows)] for tensor in tensors)
            places = mixing.with_partners(rows)[1].to(plan.device, non_blocking=True)
            yield plan.batch(images, own, indices, there.partners_of(indices, tensors[0][places], labels))


class StreamedEvaluation:
    """Batches of a split of streamed images, in its own order; may be iterated again and again."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shares = [rows.tolist() for rows in plan.evaluation_shares()]
        self._loader = _loader(EvaluationStream(_files(plan), plan.data.info), self._shares, plan)

    @property
    def sizes(self) -> frozenset[int]:
        """How many images this worker's batches have: one number, or two if the last batch is smaller."""
        return frozenset(map(len, self._shares))

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[Batch]:
        return _batches(self._loader, self._plan)


class _Addresses:
    """Batch sampler of one view at a time; lives in the main process, so loader processes can be kept."""

    view_number = 0
    mixing: Mixing | None = None

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        view_number, mixing = self.view_number, self.mixing
        for rows in self._plan.training_shares(self._plan.view(view_number).order()):
            needed = rows if mixing is None else mixing.with_partners(rows)[0]
            yield [(view_number, index) for index in needed.tolist()]


def _files(plan: Plan) -> FileSplit:
    split = plan.data.split(plan.split)
    assert isinstance(split, FileSplit)
    return split


def _loader(stream: Dataset[Item], addresses: Iterable[list[Any]], plan: Plan) -> DataLoader[Item]:
    processes = plan.data.loader_processes
    return DataLoader(
        stream,
        batch_sampler=addresses,
        num_workers=processes,
        persistent_workers=processes > 0,
        pin_memory=plan.device.type == "cuda",
        worker_init_fn=_with_short_sockets,
        # A generator of its own: a loader otherwise draws from the global one, on which dropout depends.
        generator=torch.Generator(),
    )


def _with_short_sockets(_: int) -> None:
    """Lets a loader process hand its tensors on, for which it opens a socket below the folder for temporary files."""
    folder, _why = short_folder(Path(tempfile.gettempdir()), "pymp-12345678/listener-12345678")
    tempfile.tempdir = str(folder)


def _batches(loader: DataLoader[Item], plan: Plan) -> Iterator[Batch]:
    return (plan.batch(*tensors) for tensors in _decoded(loader, plan))


def _decoded(loader: DataLoader[Item], plan: Plan) -> Iterator[Tensors]:
    """A loader's tensors, on the device."""
    try:
        yield from _copied(loader, plan.device)
    except RaykdError as error:
        # The frames hold the loader in a cycle; as garbage it would wait 5 s for each of its processes to end.
        traceback.clear_frames(error.__traceback__)
        # From a loader process the message arrives inside a traceback, of which it is the last line.
        raise RaykdError(str(error).strip().rpartition("RaykdError: ")[2]) from None


def _copied(loader: Iterable[Tensors], device: torch.device) -> Iterator[Tensors]:
    """Copies on the device; on a GPU each is made, from pinned memory, while the one before it is worked on."""
    if device.type != "cuda":
        yield from (_on(device, tensors) for tensors in loader)
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ready: Tensors | None = None
    for tensors in loader:
        with torch.cuda.stream(copying):
            following = _on(device, tensors)
        if ready is not None:
            yield ready
        working = torch.cuda.current_stream(device)
        working.wait_stream(copying)
        for tensor in following:
            tensor.record_stream(working)  # its memory is not used again before the work on it is done
        ready = following
    if ready is not None:
        yield ready


def _on(device: torch.device, tensors: Tensors) -> Tensors:
    images, labels, rows = tensors
    to = partial(Tensor.to, device=device, non_blocking=True)
    return to(images), to(labels), to(rows)
