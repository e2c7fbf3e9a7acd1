"""Teachers trained elsewhere: fetched into the teacher cache as finished models, and evaluated on the study's data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from raykd.config import DataSettings, ModelSettings, PreprocessingSettings, TrackingSettings
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.models import Classifier, build_pretrained, preprocessing, published_accuracy
from raykd.models.build import Claim
from raykd.models.weights import SUFFIXES, check_finite
from raykd.storage import below, is_url, local_path, read
from raykd.tracking.load_model import SCHEMES, fetched_model, own_folder, unpickled_network, untrusted
from raykd.training.folder import MODULE, SIZE, VIEW, description, write_description
from raykd.training.network_checks import check_answers
from raykd.training.saved import (
    as_described,
    is_pickled,
    is_whole,
    load_cached_model,
    load_model,
    pickle_key,
    save_module,
    save_weights,
    weights_digest,
)

EVALUATION_BATCH = 256
HOW_TO_TRUST = "--teacher.trust"
"""How the user says that a pickled teacher may be loaded."""
CLAIM = "claim"
"""Key of a description: the accuracy that the source of an external teacher tells, and where it does."""
CLAIMED = ("test_accuracy", "validation_accuracy")
"""Metrics of a raykd model that tell its accuracy."""


@dataclass(frozen=True)
class _Source:
    """A teacher as its source gave it.

    - network: bare
    - wanted: how it wants its images, as far as the source says
    - settings: the network's, or None of a module that raykd cannot rebuild
    - file: of such a module, as `torch.load` reads it
    - class_names: of its logits, or None if they are unknown
    - claim: the accuracy that the source tells, and where it does
    """

    network: nn.Module
    wanted: PreprocessingSettings
    settings: ModelSettings | None
    file: bytes = b""
    class_names: Sequence[str] | None = None
    claim: Claim | None = None


def fetch_external_teacher(
    source: str,
    model: ModelSettings,
    info: DataInfo,
    teachers: str,
    tracking: TrackingSettings,
    wanted: PreprocessingSettings | None = None,
    *,
    trust: bool = False,
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
        wanted: How the teacher wants its images, where the source does not say so or is wrong.
        trust: Whether a pickled network may be loaded, which runs its maker's code.

    Raises:
        RaykdError: It cannot be fetched, is pickled and not trusted, or is not for such images and classes. Then
            nothing is written.
    """
    fetched = _fetch(source, model, info, tracking, trust)
    seen = info.wanted_by((wanted or PreprocessingSettings()).over(_in_channels(fetched.wanted, info.channels)))
    check_finite(fetched.network, f"teacher.source {source}")
    check_answers(fetched.network, seen, f"teacher.source {source}")
    _check_classes(fetched, info, source)
    # In float32, in which images are normalised, so that the same numbers from any kind of source give the same digest.
    mean, std = (tuple(torch.tensor(values, dtype=torch.float32).tolist()) for values in (seen.mean, seen.std))
    seen = replace(seen, mean=mean, std=std)
    view = _own_view(seen, info)
    folder = below(teachers, _key(fetched, seen, view))
    if is_whole(folder):
        return folder
    if fetched.settings is None:
        save_module(folder, fetched.file)
    else:
        save_weights(folder, fetched.network)
    content = {
        # How it was trained is unknown.
        "lesson": {"student": fetched.settings and fetched.settings.model_dump(mode="json")},
        "data": asdict(seen),
        "metrics": {},
        "epochs": 0,
        "source": source,
        CLAIM: fetched.claim,
        "weights": weights_digest(fetched.network.state_dict()),
    }
    if fetched.settings is None:
        content["module"] = hashlib.sha256(fetched.file).hexdigest()
    if view:
        content[VIEW] = view
    if (seen.height, seen.width) != (info.height, info.width):
        content[SIZE] = [seen.height, seen.width]
    write_description(folder, content)
    return folder


def evaluate_external_teacher(folder: str | Path, settings: DataSettings) -> None:
    """Evaluate an external teacher on the held-out split, once, and write the metrics into its description."""
    content = description(folder)
    assert content is not None
    if content["metrics"]:
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = load_cached_model(folder, device)
    data = load_data(settings).to(device)
    data = data.seen_as(as_described(content, data.info))
    held_out = data.info.held_out
    right = loss = undefined = torch.zeros((), dtype=torch.float64, device=device)
    with torch.no_grad():
        for batch in evaluation_batches(data, held_out, batch_size=EVALUATION_BATCH, device=device):
            logits = teacher(batch.pixels).float()
            undefined = undefined + (~logits.isfinite().all(1)).sum()
            right = right + (logits.argmax(1) == batch.labels).sum()
            loss = loss + F.cross_entropy(logits, batch.labels, reduction="sum")
    count = data.info.split_sizes[held_out]
    if undefined:
        raise RaykdError(
            f"teacher.source {content['source']}: its answers to {int(undefined)} of {count} {held_out} images are not "
            "finite: it cannot teach\ntake an earlier checkpoint, or look at what the network does to such images"
        )
    metrics = {f"{held_out}_accuracy": right.item() / count, f"{held_out}_loss": loss.item() / count}
    write_description(folder, content | {"metrics": metrics})


def describes_itself(source: str) -> bool:
    """Whether a source says which network it holds: a raykd folder, or a model in MLflow. Weights do not."""
    return source.startswith(SCHEMES) or is_url(source) or local_path(source).is_dir()


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


def _fetch(source: str, model: ModelSettings, info: DataInfo, tracking: TrackingSettings, trust: bool) -> _Source:
    if source.startswith(SCHEMES):
        try:
            with fetched_model(source, tracking) as stored:
                if (own := own_folder(stored)) is not None:
                    return _in_folder(str(own), source, trust)
                if not trust:
                    raise untrusted("what it holds", HOW_TO_TRUST)
                return _of_module(*unpickled_network(stored))
        except RaykdError as error:
            raise RaykdError(f"teacher.source {source}: {error}") from error
    if is_url(source):
        return _in_folder(source, source, trust)
    path = local_path(source)
    if path.is_dir():
        return _in_folder(str(path), source, trust)
    if path.is_file():
        source = str(path)
    elif source.endswith(SUFFIXES) or "/" in source:
        raise RaykdError(
            f"teacher.source {source}: no such file or folder, seen from {Path.cwd()}\n"
            "weights by name, such as IMAGENET1K_V1, are those of teacher.model.name torchvision/NAME or timm/NAME"
        )
    settings = model.model_copy(update={"weights": source})
    try:
        network, claim = build_pretrained(settings, num_classes=info.num_classes, in_channels=info.channels)
        wanted, published = preprocessing(settings), published_accuracy(settings)
    except RaykdError as error:
        raise RaykdError(f"teacher.source: {error}") from error
    if published is not None and info.name == "imagenet":
        claim = ("torchvision", published)
    bare = settings.model_copy(update={"weights": None, "weights_key": None})
    return _Source(network, wanted, bare, claim=claim)


def _in_channels(wanted: PreprocessingSettings, channels: int) -> PreprocessingSettings:
    """What weights for colour images want, for images of other channels, to which they were adapted."""
    means = {
        name: (sum(values) / len(values),)
        for name, values in (("mean", wanted.mean), ("std", wanted.std))
        if values is not None and len(values) not in (1, channels)
    }
    return wanted.model_copy(update=means)


def _in_folder(folder: str, source: str, trust: bool) -> _Source:
    content = description(folder)
    if content is None:
        raise RaykdError(f"teacher.source {source}: no finished raykd model in this folder")
    settings, file = None, b""
    if is_pickled(content):
        if not trust:
            raise untrusted(f"teacher.source {source}: its {MODULE}", HOW_TO_TRUST)
        file = read(folder, MODULE) or b""
    else:
        settings = ModelSettings.model_validate(content["lesson"]["student"]).model_copy(update={"weights": None})
    metrics = content["metrics"]
    claim = next(((name, metrics[name]) for name in CLAIMED if name in metrics), None) or content.get(CLAIM)
    network = load_model(folder, trust=trust).network
    return _Source(network, wanted_by(content), settings, file, content["data"]["class_names"], claim)


def wanted_by(content: Mapping[str, Any]) -> PreprocessingSettings:
    """How the network of a raykd folder wants its images, by the folder's description."""
    data = content["data"]
    return PreprocessingSettings(
        # Only square images can be asked for.
        image_size=data["height"] if data["height"] == data["width"] else None,
        **{name: data.get(name) for name in ("resize", "crop", "interpolation", "mean", "std")},
    )


def _of_module(module: nn.Module, file: bytes) -> _Source:
    """The parts of a `Classifier`; any other module is assumed to expect images in [0, 1] without normalisation."""
    if isinstance(module, Classifier):
        mean, std = (values.flatten().tolist() for values in (module.mean, module.std))
        size = module.size[0] if module.size is not None and module.size[0] == module.size[1] else None
        wanted = PreprocessingSettings(image_size=size, mean=mean, std=std)
        return _Source(module.network, wanted, None, file, module.class_names)
    return _Source(module, PreprocessingSettings(mean=(0.0,), std=(1.0,)), None, file)


def _own_view(seen: DataInfo, info: DataInfo) -> tuple[object, ...]:
    """How a teacher sees the images, apart from their normalisation; nothing where that is as the study does."""
    own, studys = ((each.height, each.width, each.resized_to, each.crop, each.interpolation) for each in (seen, info))
    return () if own == studys else own


def _key(fetched: _Source, seen: DataInfo, view: tuple[object, ...]) -> str:
    """A digest of all that an external teacher's answers depend on: the data, and how it sees them."""
    if fetched.settings is None:
        return pickle_key(seen.mean, seen.std, seen.fingerprint, fetched.file, view)
    digest = hashlib.sha256(repr((tuple(seen.mean), tuple(seen.std), fetched.settings, seen.fingerprint)).encode())
    if view:
        digest.update(repr(view).encode())
    for name, tensor in fetched.network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
