"""Teachers trained elsewhere: fetched into the teacher cache as finished models, and evaluated on the study's data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from raykd.config import DataSettings, ModelSettings, TrackingSettings
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.models import Classifier, build_pretrained, normalisation
from raykd.models.weights import SUFFIXES, check_finite
from raykd.storage import below, is_url, read
from raykd.tracking.load_model import SCHEMES, stored_network
from raykd.training.folder import MODULE, description, write_description
from raykd.training.network_checks import check_answers
from raykd.training.saved import is_whole, load_model, save_module, save_weights, weights_digest

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class _Source:
    """A teacher as its source gave it.

    - network: bare
    - mean, std: the normalisation that it expects
    - settings: the network's, or None of a module that raykd cannot rebuild
    - file: of such a module, as `torch.load` reads it
    - class_names: of its logits, or None if they are unknown
    """

    network: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    settings: ModelSettings | None
    file: bytes = b""
    class_names: Sequence[str] | None = None


def fetch_external_teacher(
    source: str, model: ModelSettings, info: DataInfo, teachers: str, tracking: TrackingSettings
) -> str:
    """Copy a finished teacher to the other teachers, and return its folder there.

    The folder's name is a digest of all that the teacher's answers depend on, and of the data: a teacher that is there
    already is not written again.

    Args:
        source: A raykd model folder (path or URL), a checkpoint file, the name of torchvision's or timm's weights, or
            an MLflow URI.
        model: The network that a checkpoint or weights by name are for.
        info: The data that it will teach.
        teachers: Path or URL of the folder that holds a folder of each teacher.
        tracking: Where an MLflow URI is looked up.

    Raises:
        RaykdError: It cannot be fetched, or is not for such images and classes. Then nothing is written.
    """
    fetched = _fetch(source, model, info, tracking)
    check_finite(fetched.network, f"teacher.source {source}")
    check_answers(fetched.network, info, f"teacher.source {source}")
    _check_classes(fetched, info, source)
    # In float32, in which images are normalised, so that the same numbers from any kind of source give the same digest.
    mean, std = (tuple(torch.tensor(values, dtype=torch.float32).tolist()) for values in (fetched.mean, fetched.std))
    fetched = replace(fetched, mean=mean, std=std)
    folder = below(teachers, _key(fetched, info))
    if is_whole(folder) and (fetched.settings is not None or read(folder, MODULE) == fetched.file):
        return folder
    if fetched.settings is None:
        save_module(folder, fetched.file)
    else:
        save_weights(folder, fetched.network)
    content = {
        # How it was trained is unknown.
        "lesson": {"student": fetched.settings and fetched.settings.model_dump(mode="json")},
        "data": asdict(replace(info, mean=mean, std=std)),
        "metrics": {},
        "epochs": 0,
        "source": source,
        "weights": weights_digest(fetched.network.state_dict()),
    }
    write_description(folder, content)
    return folder


def evaluate_external_teacher(folder: str | Path, settings: DataSettings) -> None:
    """Evaluate an external teacher on the held-out split, once, and write the metrics into its description."""
    content = description(folder)
    assert content is not None
    if content["metrics"]:
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = load_model(folder, device)
    data = load_data(settings).to(device)
    held_out = data.info.held_out
    right = loss = torch.zeros((), dtype=torch.float64, device=device)
    with torch.no_grad():
        for batch in evaluation_batches(data, held_out, batch_size=EVALUATION_BATCH, device=device):
            logits = teacher(batch.pixels).float()
            right = right + (logits.argmax(1) == batch.labels).sum()
            loss = loss + F.cross_entropy(logits, batch.labels, reduction="sum")
    count = data.info.split_sizes[held_out]
    metrics = {f"{held_out}_accuracy": right.item() / count, f"{held_out}_loss": loss.item() / count}
    write_description(folder, content | {"metrics": metrics})


def _check_classes(fetched: _Source, info: DataInfo, source: str) -> None:
    if fetched.class_names is None or tuple(fetched.class_names) == info.class_names:
        return
    number, (theirs, ours) = next(
        (number, names)
        for number, names in enumerate(zip(fetched.class_names, info.class_names, strict=True))
        if names[0] != names[1]
    )
    raise RaykdError(
        f"teacher.source {source}: its class {number} is {theirs!r}, that of {info.name} is {ours!r}\n"
        "take a teacher of this data; if they are the same under other names, name its weights as a file"
    )


def _fetch(source: str, model: ModelSettings, info: DataInfo, tracking: TrackingSettings) -> _Source:
    if source.startswith(SCHEMES):
        try:
            return _of_module(*stored_network(source, tracking))
        except RaykdError as error:
            raise RaykdError(f"teacher.source {source}: {error}") from error
    if is_url(source):
        return _in_folder(source, source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(str(path), source)
    if path.is_file():
        source = str(path)
    elif source.endswith(SUFFIXES) or "/" in source:
        raise RaykdError(
            f"teacher.source {source}: no such file or folder, seen from {Path.cwd()}\n"
            "weights by name, such as IMAGENET1K_V1, are those of teacher.model.name torchvision/NAME or timm/NAME"
        )
    settings = model.model_copy(update={"weights": source})
    try:
        network = build_pretrained(settings, num_classes=info.num_classes, in_channels=info.channels)
        mean, std = normalisation(settings) or (info.mean, info.std)
    except RaykdError as error:
        raise RaykdError(f"teacher.source: {error}") from error
    if len(mean) != info.channels:
        # Weights for colour images that were adapted to grey ones.
        mean, std = ((sum(values) / len(values),) * info.channels for values in (mean, std))
    return _Source(network, mean, std, settings.model_copy(update={"weights": None}))


def _in_folder(folder: str, source: str) -> _Source:
    content = description(folder)
    if content is None:
        raise RaykdError(f"teacher.source {source}: no finished raykd model in this folder")
    data, settings, file = content["data"], None, read(folder, MODULE)
    if file is None:
        settings = ModelSettings.model_validate(content["lesson"]["student"]).model_copy(update={"weights": None})
    return _Source(load_model(folder).network, data["mean"], data["std"], settings, file or b"", data["class_names"])


def _of_module(module: nn.Module, file: bytes) -> _Source:
    """The parts of a `Classifier`; any other module is assumed to expect images in [0, 1] without normalisation."""
    if isinstance(module, Classifier):
        mean, std = (values.flatten().tolist() for values in (module.mean, module.std))
        return _Source(module.network, mean, std, None, file, module.class_names)
    return _Source(module, (0.0,), (1.0,), None, file)


def _key(fetched: _Source, info: DataInfo) -> str:
    """A digest of all that an external teacher's answers depend on."""
    digest = hashlib.sha256(
        repr((tuple(fetched.mean), tuple(fetched.std), fetched.settings, info.fingerprint)).encode()
    )
    # Two modules may have the same weights and different code, so the whole file counts.
    digest.update(fetched.file)
    for name, tensor in fetched.network.state_dict().items() if fetched.settings else ():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
