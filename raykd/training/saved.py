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
from raykd.errors import RaykdError
from raykd.models import Classifier, build_model
from raykd.storage import DamagedError, below, read, write
from raykd.tracking.load_model import SCHEMES, stored_network
from raykd.training.folder import DESCRIPTION, MEMBERS, MODULE, SIZE, WEIGHTS, description, write_description
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


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> Classifier:
    """A finished model (student or teacher) in evaluation mode.

    It takes float images [B, C, H, W] in [0, 1] and gives logits [B, classes]; normalisation is inside.

    Args:
        folder: Its folder, or an MLflow URI such as ``models:/NAME@champion``, looked for where MLflow's own settings
            (``MLFLOW_TRACKING_URI``) say.
        device: Where the model is put.

    Raises:
        RaykdError: There is no finished model, or it needs packages that are not installed here.
        DamagedError: Its weights are not those that were written.
    """
    if str(folder).startswith(SCHEMES):
        return _stored_model(str(folder)).to(device).eval()
    content = description(folder)
    if content is None:
        raise RaykdError(f"no finished model in {folder}: {DESCRIPTION} is missing")
    data = content["data"]
    if (module := read(folder, MODULE)) is not None:
        # Unpickling runs code: such files are raykd's own, written when the user named their source.
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
    classifier = Classifier(
        network,
        mean=data["mean"],
        std=data["std"],
        class_names=data["class_names"],
        size=tuple(content[SIZE]) if SIZE in content else None,
        interpolation=data.get("interpolation", "bilinear"),
    )
    return classifier.to(device).eval()


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
        if MEMBERS not in content and read(folder, MODULE) is None:
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


def _stored_model(uri: str) -> Classifier:
    try:
        network, _ = stored_network(uri, TrackingSettings())
    except RaykdError as error:
        raise RaykdError(f"{uri}: {error}") from error
    if not isinstance(network, Classifier):
        raise RaykdError(f"{uri}: holds a {type(network).__name__}, not a raykd model: use mlflow.pytorch.load_model")
    return network
