"""Finished models on disk: weights as safetensors with a digest, all else as JSON beside them."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from raykd.config import ModelSettings, TrackingSettings, TrainingSpec
from raykd.data import DataInfo
from raykd.errors import DamagedError, RaykdError
from raykd.models import Classifier, build_model
from raykd.storage import below, name_of, read, write
from raykd.tracking.load_model import SCHEMES, fetched_model, own_folder, unpickled_network, untrusted
from raykd.training.folder import DESCRIPTION, MEMBERS, MODULE, SIZE, VIEW, WEIGHTS, description, write_description
from raykd.training.messages import Report

logger = logging.getLogger(__name__)


def save_model(
    folder: str | Path,
    network: nn.Module,
    spec: TrainingSpec,
    data: DataInfo,
    report: Report,
    views: Sequence[int],
    earlier: Sequence[Report] = (),
) -> None:
    """Write a finished model into a folder, weights first, description last.

    Args:
        folder: A path or URL; it need not exist.
        network: The bare network, without normalisation.
        spec: The settings that it was trained with.
        data: The data that it was trained on.
        report: Its last report.
        views: The views it saw, in order.
        earlier: Its reports before the last one. The description has the sum of the class's `seconds` over all
            reports, and whether the student was always `alone` in its class, so that these seconds are its own.
    """
    history = [*earlier, report]
    save_weights(folder, network)
    content = {
        "lesson": spec.model_dump(mode="json"),
        "data": asdict(data),
        "metrics": dict(report.metrics),
        "epochs": report.epoch,
        "seconds": sum(one.metrics.get("seconds", 0.0) for one in history),
        "alone": all(one.metrics.get("class_size", 1.0) == 1.0 for one in history),
        "weights": report.weights,
        "views": list(views),
    }
    write_description(folder, content)


def save_weights(folder: str | Path, network: nn.Module) -> None:
    """Write a network's weights into a folder."""
    write(folder, WEIGHTS, safetensors.torch.save(plain_state(network)))


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """A network's state by name as safetensors take it: on the CPU, and no two tensors in the same memory."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of all tensors: equal digests mean weights equal to the bit.

    Args:
        state: A network's state dict, on any device and in any memory layout.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        # numpy knows no bfloat16, but every type is bytes.
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_module(folder: str | Path, file: bytes) -> None:
    """Write a whole network into a folder, where no settings can build it again.

    Args:
        folder: A path or URL; it need not exist.
        file: A file of `torch.save` that holds the network, or a `Classifier` with the network.
    """
    write(folder, MODULE, file)


def load_model(folder: str | Path, device: torch.device | str = "cpu", *, trust: bool = False) -> Classifier:
    """A finished model (student or teacher) in evaluation mode.

    It takes float images [B, C, H, W] in [0, 1] and gives logits [B, classes]; normalisation is inside.

    Args:
        folder: Its folder, or an MLflow URI such as ``models:/NAME@champion``, looked for where MLflow's own settings
            (``MLFLOW_TRACKING_URI``) say.
        device: Where the model is put.
        trust: Load the network even if it is pickled, which runs whatever code its maker has put into the file. Models
            that raykd has trained are not, in folders as in MLflow.

    Raises:
        RaykdError: There is no finished model, it needs packages that are not installed here, or it is pickled and not
            trusted.
        DamagedError: It is not what was written.
    """
    if str(folder).startswith(SCHEMES):
        return _stored_model(str(folder), trust).to(device).eval()
    content = _described(folder)
    if is_pickled(content) and not trust:
        raise untrusted(below(folder, MODULE), "trust=True, or --trust on a command line")
    return _classifier(folder, content).to(device).eval()


def load_cached_model(folder: str | Path, device: torch.device | str = "cpu") -> Classifier:
    """As `load_model`, of a teacher in the cache: a pickled network is loaded if its folder is named by its content.

    A run gets that name from the file that its user has trusted (`raykd.training.external_teacher`). Whoever can write
    into the cache cannot put another file under it.

    Raises:
        RaykdError: As `load_model`, or the folder has another name.
    """
    content = _described(folder)
    if is_pickled(content):
        data, file = content["data"], _module(folder, content)
        key = pickle_key(data["mean"], data["std"], data["fingerprint"], file, content.get(VIEW, ()))
        if name_of(folder) != key:
            raise untrusted(below(folder, MODULE), "--teacher.trust, and name what it was made from as teacher.source")
    return _classifier(folder, content).to(device).eval()


def is_pickled(content: Mapping[str, Any]) -> bool:
    """Whether a description says that its network is pickled: that of a teacher which raykd cannot build."""
    return content["lesson"]["student"] is None


def pickle_key(
    mean: Sequence[float], std: Sequence[float], fingerprint: str, file: bytes, view: Sequence[object] = ()
) -> str:
    """The name of a pickled teacher's folder in the cache: 32 hex digits of sha256 over what its answers depend on.

    Args:
        mean, std: The normalisation that it expects.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
        file: The pickle. Two modules may have the same weights and different code, so all of it counts.
        view: How it sees the images, where that is not as the study does; see `raykd.training.folder.VIEW`.
    """
    digest = hashlib.sha256(repr((tuple(mean), tuple(std), None, fingerprint, *view)).encode())
    digest.update(file)
    return digest.hexdigest()[:32]


def _described(folder: str | Path) -> Mapping[str, Any]:
    """The description of the finished model in a folder.

    Raises:
        RaykdError: There is none.
        DamagedError: It is not what was written.
    """
    content = description(folder)
    if content is None and read(folder, DESCRIPTION) is not None:
        raise DamagedError(f"{below(folder, DESCRIPTION)} is damaged: it is not what was written")
    if content is None:
        raise RaykdError(f"no finished model in {folder}: {DESCRIPTION} is missing")
    return content


def _classifier(folder: str | Path, content: Mapping[str, Any]) -> Classifier:
    data = content["data"]
    if is_pickled(content):
        module = _module(folder, content)
        # Unpickling runs code: the user has said that this file may.
        try:
            loaded: nn.Module = torch.load(io.BytesIO(module), map_location="cpu", weights_only=False)
        except (ImportError, AttributeError) as error:
            raise RaykdError(
                f"the network in {below(folder, MODULE)} cannot be loaded: {error}\n"
                "install the package that it was written in"
            ) from error
        network = loaded.network if isinstance(loaded, Classifier) else loaded
    else:
        settings = ModelSettings.model_validate(content["lesson"]["student"]).model_copy(update={"weights": None})
        network = build_model(settings, num_classes=data["num_classes"], in_channels=data["channels"])
        network.load_state_dict(_weights(folder, content))
    return Classifier(
        network,
        mean=data["mean"],
        std=data["std"],
        class_names=data["class_names"],
        size=tuple(content[SIZE]) if SIZE in content else None,
        interpolation=data.get("interpolation", "bilinear"),
    )


def as_described(content: Mapping[str, Any], info: DataInfo) -> DataInfo:
    """Data as the model of a description sees it: size, cropping and normalisation are the model's own."""
    names = ("height", "width", "resize", "crop", "interpolation", "mean", "std")
    own = {name: content["data"][name] for name in names if name in content["data"]}
    return replace(info, **(own | {name: tuple(own[name]) for name in ("mean", "std")}))


def is_whole(folder: str | Path) -> bool:
    """Whether the model in a folder is finished and what was written; a line is logged if it is damaged."""
    content = description(folder)
    if content is None:
        return False
    try:
        # Teachers that teach as one have weights in their own folders only.
        if is_pickled(content):
            _module(folder, content)
        elif MEMBERS not in content:
            _weights(folder, content)
    except DamagedError as error:
        logger.warning("%s", error)
        return False
    return True


def _weights(folder: str | Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """A finished model's weights by name, as its description says they are."""
    damaged = DamagedError(f"the weights in {folder} are damaged: they are not those that were written")
    file = read(folder, WEIGHTS)
    if file is None:
        raise DamagedError(f"no finished model in {folder}: {WEIGHTS} is missing")
    try:
        weights = safetensors.torch.load(file)
    except (SafetensorError, ValueError) as error:
        raise damaged from error
    if content.get("weights") not in (None, weights_digest(weights)):
        raise damaged
    return weights


def _module(folder: str | Path, content: Mapping[str, Any]) -> bytes:
    """The file of a pickled network, as its description says it is."""
    file = read(folder, MODULE)
    if file is None:
        raise DamagedError(f"no finished model in {folder}: {MODULE} is missing")
    if content.get("module") not in (None, hashlib.sha256(file).hexdigest()):
        raise DamagedError(f"the network in {below(folder, MODULE)} is damaged: it is not what was written")
    return file


def _stored_model(uri: str, trust: bool) -> Classifier:
    try:
        with fetched_model(uri, TrackingSettings()) as folder:
            own = own_folder(folder)
            if own is not None:
                return load_model(own)
            if not trust:
                raise untrusted("what it holds", "trust=True")
            network, _ = unpickled_network(folder)
    except RaykdError as error:
        raise RaykdError(f"{uri}: {error}") from error
    if not isinstance(network, Classifier):
        raise RaykdError(f"{uri}: holds a {type(network).__name__}, not a raykd model: use mlflow.pytorch.load_model")
    return network
