"""Teachers trained elsewhere: fetched into the teacher cache as finished models, and evaluated on the study's data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from raykd.config import DataSettings, ModelSettings, PreprocessingSettings, TrackingSettings
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.models import Classifier, build_pretrained, preprocessing, published_accuracy
from raykd.models.build import Claim
from raykd.models.weights import SUFFIXES, check_finite
from raykd.storage import below, is_url, read
from raykd.tracking.load_model import SCHEMES, stored_network
from raykd.training.folder import MODULE, SIZE, description, write_description
from raykd.training.network_checks import check_answers
from raykd.training.saved import as_described, is_whole, load_model, save_module, save_weights, weights_digest

EVALUATION_BATCH = 256
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

    Raises:
        RaykdError: It cannot be fetched, or is not for such images and classes. Then nothing is written.
    """
    fetched = _fetch(source, model, info, tracking)
    seen = info.wanted_by((wanted or PreprocessingSettings()).over(_in_channels(fetched.wanted, info.channels)))
    check_finite(fetched.network, f"teacher.source {source}")
    check_answers(fetched.network, seen, f"teacher.source {source}")
    _check_classes(fetched, info, source)
    # In float32, in which images are normalised, so that the same numbers from any kind of source give the same digest.
    mean, std = (tuple(torch.tensor(values, dtype=torch.float32).tolist()) for values in (seen.mean, seen.std))
    seen = replace(seen, mean=mean, std=std)
    folder = below(teachers, _key(fetched, info, seen))
    if is_whole(folder) and (fetched.settings is not None or read(folder, MODULE) == fetched.file):
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
    teacher = load_model(folder, device)
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
        network, claim = build_pretrained(settings, num_classes=info.num_classes, in_channels=info.channels)
        wanted, published = preprocessing(settings), published_accuracy(settings)
    except RaykdError as error:
        raise RaykdError(f"teacher.source: {error}") from error
    if published is not None and info.name == "imagenet":
        claim = ("torchvision", published)
    own = settings.model_copy(update={"weights": None, "weights_key": None})
    return _Source(network, wanted, own, claim=claim)


def _in_channels(wanted: PreprocessingSettings, channels: int) -> PreprocessingSettings:
    """What weights for colour images want, for images of other channels, to which they were adapted."""
    means = {
        name: (sum(values) / len(values),)
        for name, values in (("mean", wanted.mean), ("std", wanted.std))
        if values is not None and len(values) not in (1, channels)
    }
    return wanted.model_copy(update=means)


def _in_folder(folder: str, source: str) -> _Source:
    content = description(folder)
    if content is None:
        raise RaykdError(f"teacher.source {source}: no finished raykd model in this folder")
    data, settings, file = content["data"], None, read(folder, MODULE)
    if file is None:
        settings = ModelSettings.model_validate(content["lesson"]["student"]).model_copy(update={"weights": None})
    metrics = content["metrics"]
    claim = next(((name, metrics[name]) for name in CLAIMED if name in metrics), None) or content.get(CLAIM)
    wanted = PreprocessingSettings(
        # Only square images can be asked for.
        image_size=data["height"] if data["height"] == data["width"] else None,
        **{name: data.get(name) for name in ("resize", "crop", "interpolation", "mean", "std")},
    )
    return _Source(load_model(folder).network, wanted, settings, file or b"", data["class_names"], claim)


def _of_module(module: nn.Module, file: bytes) -> _Source:
    """The parts of a `Classifier`; any other module is assumed to expect images in [0, 1] without normalisation."""
    if isinstance(module, Classifier):
        mean, std = (values.flatten().tolist() for values in (module.mean, module.std))
        size = module.size[0] if module.size is not None and module.size[0] == module.size[1] else None
        wanted = PreprocessingSettings(image_size=size, mean=mean, std=std)
        return _Source(module.network, wanted, None, file, module.class_names)
    return _Source(module, PreprocessingSettings(mean=(0.0,), std=(1.0,)), None, file)


def _key(fetched: _Source, info: DataInfo, seen: DataInfo) -> str:
    """A digest of all that an external teacher's answers depend on: the data, and how it sees them."""
    digest = hashlib.sha256(repr((tuple(seen.mean), tuple(seen.std), fetched.settings, info.fingerprint)).encode())
    own, studys = ((each.height, each.width, each.resized_to, each.crop, each.interpolation) for each in (seen, info))
    if own != studys:
        digest.update(repr(own).encode())
    # Two modules may have the same weights and different code, so the whole file counts.
    digest.update(fetched.file)
    for name, tensor in fetched.network.state_dict().items() if fetched.settings else ():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
