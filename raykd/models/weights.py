"""Weights from files: whatever toolkit saved them, into a network that they fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raykd.config.training_spec import WEIGHTS_SUFFIXES
from raykd.errors import DamagedError, RaykdError, StorageError, unknown_name
from raykd.fingerprints import file_digest
from raykd.models.checkpoint_files import COUNTER, CheckpointFile, read_checkpoint_file

logger = logging.getLogger(__name__)

SUFFIXES = WEIGHTS_SUFFIXES
NESTINGS = ("model", "state_dict", "net", "model_state_dict")
PREFIXES = ("module.", "_orig_mod.", "network.")


def check_file(path: str | Path, digest: str | None = None) -> None:
    """Refuse a file that does not exist.

    Args:
        path: Of the file.
        digest: Given where the run was begun with the file.

    Raises:
        RaykdError: It is missing, or a folder.
        StorageError: The same of a file that the run was begun with: no student is to blame.
    """
    if Path(path).is_file():
        return
    missing = f"weights {path}: no such file, seen from {Path.cwd()}"
    if digest is not None:
        raise StorageError(f"{missing}, although the run was begun with it: give it back")
    by_name = "" if str(path).endswith(SUFFIXES) else ", and only torchvision/ and timm/ models have weights by name"
    raise RaykdError(f"{missing}{by_name}")


def load_weights(
    network: nn.Module,
    path: str | Path,
    where: str,
    *,
    exact: bool,
    key: str | None = None,
    digest: str | None = None,
) -> CheckpointFile:
    """Load the weights in a file into a network, wherever in the file they lie and whatever wrapped their names.

    They are where the names below some path are those of the network. If there are several such places, the habitual
    ones come first, then those that the file has first, and a line is logged.

    Args:
        network: Loaded in place, or left as it is if they do not fit.
        path: A .safetensors file, or anything that ``torch.save`` wrote.
        where: What holds the weights; errors begin with it.
        exact: See `load_state`.
        key: Path of the weights in the file, such as ``state_dict_ema`` or ``student``. None: found.
        digest: sha256 (hex) that the file must have. None: any.

    Returns:
        What the file holds.

    Raises:
        RaykdError: No such file, one that cannot be read, no weights that fit, or weights that are not finite.
        DamagedError: It is another file than the one that the run was begun with.
    """
    check_file(path, digest)
    if digest is not None:
        _check_digest(path, digest)
    whole = file = read_checkpoint_file(path)
    if key is not None:
        file = whole.below(key)
        if not file.tensors:
            raise unknown_name("weights_key", key, whole.paths, where=str(path))
    places = _fitting(network, file, exact)
    for place in places[:1]:
        others = [other for other in places[1:] if not _equal(file, place, other)]
        if others:
            taken, left = (
                ", ".join(f"`{name.rstrip('.') or '(top)'}`" for name in names) for names in ([place], others)
            )
            logger.warning(f"{where}: {taken} is taken; {left} would fit, too: choose by weights_key")
    state = _below(file, places[0]) if places else _nearest(network, file, path)
    load_state(network, state, where, exact=exact)
    check_finite(network, where)
    return whole


def check_finite(network: nn.Module, where: str) -> None:
    """Refuse a network whose weights hold NaN or infinite values.

    Buffers other than running statistics may be infinite, as masks are.

    Raises:
        RaykdError: They do; it begins with `where`.
    """
    masks = {name for name, _ in network.named_buffers() if "running_" not in name}
    bad = [
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not (~tensor.isnan() if name in masks else tensor.isfinite()).all()
    ]
    if bad:
        raise RaykdError(
            f"{where}: the weights are not finite: NaN or infinite values in {_some('', bad).strip()}\n"
            "they are those of a training that diverged: take an earlier checkpoint"
        )


def _fitting(network: nn.Module, file: CheckpointFile, exact: bool) -> list[str]:
    """The paths in a file below which the network's weights lie: the habitual ones first."""
    wanted = network.state_dict()
    places = []
    for place in file.exactly(wanted):
        given = _below(file, place)
        free = () if exact else _other_classes(network, given)
        if all(given[name].shape == wanted[name].shape for name in given if name not in free):
            places.append(place)
    return sorted(places, key=_habit)


def _habit(place: str) -> int:
    """How usual a place of weights is; 0 is the file itself."""
    first = place.partition(".")[0]
    if not place:
        return 0
    return 1 + (NESTINGS.index(first) if first in NESTINGS else len(NESTINGS))


def _below(file: CheckpointFile, place: str) -> dict[str, Tensor]:
    return {name.removeprefix(place): tensor for name, tensor in file.tensors.items() if name.startswith(place)}


def _equal(file: CheckpointFile, place: str, other: str) -> bool:
    one, two = _below(file, place), _below(file, other)
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def _nearest(network: nn.Module, file: CheckpointFile, path: str | Path) -> dict[str, Tensor]:
    """The weights in a file that fit the network best, though they do not."""
    wanted = network.state_dict()
    places = {place: count for place, count in file.shares(wanted).items() if 2 * count > len(wanted)}
    if places:
        return _below(file, max(places, key=lambda place: (places[place], -_habit(place), -len(place))))
    return _habitual(file, path)


def _check_digest(path: str | Path, digest: str) -> None:
    try:
        same = file_digest(path) == digest
    except OSError as error:
        raise StorageError(f"weights {path}: cannot be read: {error.strerror or error}") from error
    if not same:
        raise DamagedError(f"weights {path}: the file here is not the one that the run was begun with: give that back")


def _habitual(file: CheckpointFile, path: str | Path) -> dict[str, Tensor]:
    """The weights where trainers usually have them, whatever network they are for."""
    state = _unwrapped(file.content)
    if not state:
        raise RaykdError(f"weights {path}: holds no state dict: expected tensors by name, alone or as `model`")
    return state


def _unwrapped(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in NESTINGS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        return {}
    state = dict(content)
    if any(name.startswith("network.") for name in state):
        # Beside its network a Classifier holds how images are normalised.
        state = {name: tensor for name, tensor in state.items() if name not in ("mean", "std")}
    prefix = _prefix(state) if state else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _prefix(state: Mapping[str, Tensor]) -> str:
    """What wrappers have put before all names."""
    prefix = ""
    while wrapper := next((known for known in PREFIXES if all(name.startswith(prefix + known) for name in state)), ""):
        prefix += wrapper
    return prefix


def load_state(network: nn.Module, state: Mapping[str, Tensor], where: str, *, exact: bool) -> None:
    """Load weights into a network that they fit.

    Args:
        network: Loaded in place, or left as it is if anything is refused.
        state: Weights by name.
        where: What holds them; errors begin with it.
        exact: Every entry must fit. Otherwise the last layer stays fresh if its class count differs, and no other.

    Raises:
        RaykdError: Entries are missing, unknown or of another shape.
    """
    wanted = network.state_dict()
    given = dict(state)
    if wanted and (own := _prefix(wanted)) and not any(name.startswith(own) for name in given):
        # The network's own names look like a wrapping, which was taken off.
        given = {own + name: tensor for name, tensor in given.items()}
    if not exact:
        for name in _other_classes(network, given):
            given[name] = wanted[name]
    missing = [name for name in wanted if name not in given and not name.endswith(COUNTER)]
    unknown = [name for name in given if name not in wanted]
    misshapen = [name for name in given if name in wanted and given[name].shape != wanted[name].shape]
    if missing or unknown or misshapen:
        shapes = [f"{name} {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}" for name in misshapen]
        parts = [_some("missing", missing), _some("unknown", unknown), _some("of another shape", shapes)]
        likely = _mix_up(network, missing, unknown, misshapen)
        raise RaykdError(
            f"{where}: do not fit this {type(network).__name__}: {'; '.join(filter(None, parts))}\n{likely}"
        )
    network.load_state_dict(given, strict=False)


def _other_classes(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Names of the last layer's entries if they are there and differ from the network's in their class count alone."""
    path, layer = _last_layer(network)
    names = {f"{path}.{name}" if path else name: parameter for name, parameter in layer.named_parameters()}
    if not all(name in state and state[name].shape[1:] == names[name].shape[1:] for name in names):
        return []
    return [name for name in names if state[name].shape != names[name].shape]


def _last_layer(network: nn.Module) -> tuple[str, nn.Module]:
    """The classifying layer: the last linear one, or the last convolution if there is none."""
    for kind in (nn.Linear, nn.Conv2d):
        layers = [(path, module) for path, module in network.named_modules() if isinstance(module, kind)]
        if layers:
            return layers[-1]
    return "", nn.Identity()


def _some(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{what} {', '.join(names[:2])}{more}" if names else ""


def _mix_up(network: nn.Module, missing: list[str], unknown: list[str], misshapen: list[str]) -> str:
    """The probable mistake, judged by which entries do not fit."""
    last, _ = _last_layer(network)
    first = next((path for path, module in network.named_modules() if isinstance(module, nn.Conv2d)), "")
    if missing and unknown:
        return "they are another architecture's, for the names differ: choose the model that they were trained as"
    if missing:
        return "they are a shallower model's, or not complete: choose the model that they were trained as"
    if unknown:
        return "they are a deeper model's: choose the model that they were trained as"
    if misshapen == [f"{first}.weight"]:
        return "they are for images of another number of channels: choose the data's own, or start fresh"
    if all(name.rpartition(".")[0] == last for name in misshapen):
        return "they are for another number of classes: choose the data that they were trained on"
    return "they are the same architecture's of another width: give its arguments, such as width=0.5"
