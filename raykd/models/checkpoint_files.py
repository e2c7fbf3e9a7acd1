"""Files of weights as trainers write them: all tensors by their path in the file, and what else is known of them.

Dictionaries in dictionaries and the prefixes that wrappers put before names are one thing here: a tensor of the file
``{"state_dict": {"module.conv.weight": ...}}`` has the path ``state_dict.module.conv.weight``.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from raykd.errors import RaykdError, shortened

CONVERSION = (
    "save the state dict alone, by torch.save(network.state_dict(), FILE) or as .safetensors, where it was made"
)
COUNTER = "num_batches_tracked"
"""Batch norm's counter, which old files lack; torch takes it for 0 then."""
ACCURACIES = frozenset(
    f"{kind}{name}"
    for kind in ("", "best_", "val_", "valid_", "validation_", "test_", "top1_", "best_val_", "best_test_")
    for name in ("acc", "acc1", "accuracy", "top1", "prec1")
)
"""Names under which trainers write the accuracy of a checkpoint, as a share or in percent."""
DEEPEST = 8
"""Dictionaries in dictionaries that are looked into."""

_REFUSED_CLASS = re.compile(r"(?:Unsupported global: GLOBAL|Unsupported class|but got <class ')\s*([\w.]+)")
_PROGRAM = re.compile(r"TorchScript", re.IGNORECASE)


@dataclass(frozen=True)
class CheckpointFile:
    """What a file of weights holds.

    Attributes:
        content: As it was saved.
        tensors: All tensors by path, in the file's order.
        numbers: All numbers and tensors of one element by path.
    """

    content: Any
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float]

    def below(self, path: str) -> CheckpointFile:
        """What lies below a path, such as ``state_dict_ema`` or ``student``; nothing if there is no such path."""
        start = f"{path.rstrip('.')}."
        tensors = {name.removeprefix(start): each for name, each in self.tensors.items() if name.startswith(start)}
        numbers = {name.removeprefix(start): each for name, each in self.numbers.items() if name.startswith(start)}
        return CheckpointFile(tensors, tensors, numbers)

    @property
    def paths(self) -> list[str]:
        """The paths, one or two names long, below which there are tensors."""
        parts = [name.split(".") for name in self.tensors]
        return list(dict.fromkeys(".".join(part[:length]) for part in parts for length in (1, 2) if len(part) > length))

    def shares(self, names: Collection[str]) -> dict[str, int]:
        """How many of these names are found below each path (with its final dot), in the file's order."""
        found: dict[str, int] = {}
        for tensor in self.tensors:
            for start in _starts(tensor):
                if tensor[start:] in names:
                    found[tensor[:start]] = found.get(tensor[:start], 0) + 1
        return found

    def exactly(self, names: Collection[str]) -> list[str]:
        """The paths (with their final dot) below which the tensors have exactly these names.

        Counters of batch norms may be missing.
        """
        needed = sum(not name.endswith(COUNTER) for name in names)
        found = []
        for path, count in self.shares(names).items():
            below = [name.removeprefix(path) for name in self.tensors if name.startswith(path)]
            if count == len(below) and sum(not name.endswith(COUNTER) for name in below) == needed:
                found.append(path)
        return found

    @property
    def accuracy(self) -> tuple[str, float] | None:
        """The accuracy that the file tells of its network, and under which name; the highest one if there are several.

        A figure above 1 is taken for percent.
        """
        told = [(name, value) for name, value in self.numbers.items() if name.rpartition(".")[2].lower() in ACCURACIES]
        shares = [(name, value if value <= 1 else value / 100) for name, value in told if 0 < value <= 100]
        return max(shares, key=lambda each: each[1], default=None)


def read_checkpoint_file(path: str | Path) -> CheckpointFile:
    """What a file of weights holds, on the CPU.

    Args:
        path: A .safetensors file, or anything that ``torch.save`` wrote. Classes that hold plain values beside the
            weights are read (`argparse.Namespace`, numpy's scalars, paths, dates); no other code of the file is run.

    Raises:
        RaykdError: One that cannot be read, or holds objects of other classes.
    """
    try:
        if Path(path).suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path, device="cpu")
        else:
            with torch.serialization.safe_globals(_plain_classes()):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged or foreign bytes make the unpickler raise anything.
        raise _unreadable(path, error) from error
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for name, value in _leaves(content, ()):
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
            if value.numel() == 1 and value.is_floating_point():
                numbers[name] = value.item()
        elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
            numbers[name] = float(value)
    return CheckpointFile(content, tensors, numbers)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        yield ".".join(path), value
        return
    if len(path) < DEEPEST:
        for name, part in parts:
            yield from _leaves(part, (*path, str(name)))


def _starts(name: str) -> Iterator[int]:
    """Where the parts of a dotted name begin."""
    yield 0
    yield from (dot.end() for dot in re.finditer(r"\.", name))


def _plain_classes() -> list[Any]:
    """Classes of plain values that trainers pickle beside weights; some with the names that they have in files."""
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.empty(0).__reduce__()[0]
    kinds = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    by_name = [
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        *((reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
        *((pathlib.PureWindowsPath, f"{module}.WindowsPath") for module in ("pathlib", "pathlib._local")),
    ]
    plain = [argparse.Namespace, datetime.datetime, datetime.timedelta, datetime.date]
    return [*plain, list, dict, int, float, str, np.ndarray, np.dtype, *kinds, *by_name]


def _unreadable(path: str | Path, error: Exception) -> RaykdError:
    if classes := _refused_classes(path, error):
        more = f" and {len(classes) - 1} more" if len(classes) > 1 else ""
        return RaykdError(
            f"weights {path}: cannot be read: the file holds objects of the class {classes[0]}{more}, and reading them "
            f"could run code\n{CONVERSION}"
        )
    if _PROGRAM.search(str(error)):
        return RaykdError(
            f"weights {path}: cannot be read: the file is a program of TorchScript\n"
            "load it by torch.jit.load, and save its state dict alone, by torch.save(network.state_dict(), FILE)"
        )
    return RaykdError(f"weights {path}: cannot be read: {shortened(error)}\n{CONVERSION}")


def _refused_classes(path: str | Path, error: Exception) -> list[str]:
    """The classes that torch refuses to read from a file: the user's own first."""
    found = _REFUSED_CLASS.search(str(error))
    if found is None:
        return []
    try:
        with torch.serialization.safe_globals(_plain_classes()):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:
        # Files in the format before torch 1.6 are not looked through.
        names = []
    foreign = sorted(name for name in names if not name.startswith(("torch.", "builtins.")))
    return [*foreign, *sorted(set(names) - set(foreign))] or [found.group(1).removeprefix("__builtin__.")]
