"""The command `raykd export`: a finished model as files that do not need raykd, each compared with the model first."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from raykd.deploy.agreement import BATCH_SIZES, Agreement, Images, agreement, images_for
from raykd.deploy.formats import CARD, FORMATS, FormatName, check_packages
from raykd.deploy.source import FinishedModel, find_model
from raykd.errors import RaykdError, shortened
from raykd.models import Classifier
from raykd.storage import local_path
from raykd.training.folder import description
from raykd.training.saved import load_model


def export(
    model: str | Path,
    output: Path,
    formats: tuple[FormatName, ...],
    tolerance: float,
    console: Console | None = None,
    *,
    trust: bool = False,
) -> Path:
    """Export a finished model, and return the folder with the files and their card.

    The files take float32 images (N, C, H, W) in [0, 1], with any N, and give logits (N, classes). All are first
    written and checked beside the folder: if one fails, the folder is not changed. An earlier export in it is replaced.

    Args:
        model: A model's folder, or a study's, whose best student is taken.
        output: The folder.
        formats: Names of `FORMATS`.
        tolerance: Largest difference of logits that is accepted, in units of the model's largest logit.
        console: Where it prints its results. None: standard output.
        trust: See `raykd.load_model`.

    Raises:
        RaykdError: There is no such model, it is pickled and not trusted, a package is missing, the network cannot be
            expressed in a format, or an exported file's logits are not the model's.
    """
    console = console or Console(soft_wrap=True, highlight=False)
    check_packages(formats)
    _check_output(output)
    finished = find_model(model)
    classifier = load_model(finished.folder, trust=trust)
    model_description = description(finished.folder)
    assert model_description is not None
    images = images_for(model_description)
    console.print(f"model: {finished.folder} ({finished.provenance['model']})", markup=False)
    sizes = ", ".join(map(str, BATCH_SIZES))
    console.print(f"checked on {images.origin}, in batches of {sizes}", markup=False)
    facts = _facts(finished, model_description)
    with _staged(output) as folder:
        files = {}
        for name in dict.fromkeys(formats):
            path = folder / FORMATS[name].file
            FORMATS[name].write(classifier, images.pixels[:2], facts, path)
            agreed = compare(name, path, classifier, images, tolerance)
            console.print(
                f"{path.name}: {path.stat().st_size:,} bytes, largest difference of logits "
                f"{agreed.largest_difference:.1e} (largest logit {agreed.largest_logit:.1f}), "
                f"{agreed.equal_answers:.2%} equal answers",
                markup=False,
            )
            files[path.name] = _file_facts(name, path, agreed, images)
        (folder / CARD).write_text(json.dumps(facts | {"files": files}, indent=2) + "\n", encoding="utf-8")
    console.print(f"exported to {output}", markup=False)
    return output


def compare(name: FormatName, path: Path, model: Classifier, images: Images, tolerance: float) -> Agreement:
    """Read an exported file again and compare its logits with the model's.

    Raises:
        RaykdError: It cannot be read, or its logits differ by more than the tolerance.
    """
    try:
        agreed = agreement(model, FORMATS[name].read(path), images.pixels)
    except RaykdError:
        raise
    except Exception as error:
        # A file that another library reads and runs may raise any exception.
        raise RaykdError(f"the exported {path.name} cannot be used, so no file is kept: {shortened(error)}") from error
    if not agreed.relative <= tolerance:  # nan is refused, too
        raise RaykdError(
            f"the exported {path.name} does not give the model's logits, so no file is kept: they differ by up to "
            f"{agreed.largest_difference:.1e} (largest logit {agreed.largest_logit:.1e}), "
            f"{agreed.equal_answers:.2%} equal answers\n"
            f"--tolerance accepts differences of more than {tolerance:g} of the largest logit"
        )
    return agreed


def _facts(finished: FinishedModel, model_description: Mapping[str, Any]) -> dict[str, Any]:
    """What users of an exported file need to know: the content of its card but for the files."""
    data, settings = model_description["data"], model_description["lesson"]["student"]
    return {
        "model": settings and {"name": settings["name"], "arguments": settings["arguments"]},
        "input": {
            "name": "images",
            "shape": ["batch", data["channels"], data["height"], data["width"]],
            "dtype": "float32",
            "range": [0.0, 1.0],
        },
        "output": {"name": "logits", "shape": ["batch", data["num_classes"]], "dtype": "float32"},
        "classes": list(data["class_names"]),
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "normalisation": "inside model.pt2 and model.onnx; model.safetensors takes (images - mean) / std",
        "provenance": finished.provenance,
    }


def _file_facts(name: FormatName, path: Path, agreed: Agreement, images: Images) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format": name,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "checked_on": images.origin,
        "batch_sizes": list(BATCH_SIZES),
        "largest_difference": agreed.largest_difference,
        "largest_logit": agreed.largest_logit,
        "equal_answers": agreed.equal_answers,
    }


def _check_output(output: Path) -> None:
    there = next(each for each in (local_path(output).absolute(), *output.absolute().parents) if each.exists())
    if not there.is_dir():
        raise RaykdError(f"--output {output} lies below {there}, which is a file: name a new folder")
    if output.exists() and not (output / CARD).exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RaykdError(f"--output {output} holds something other than an earlier export: name a new folder")


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A temporary folder beside the output; its files, once complete, replace those of an earlier export."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as staged:
        yield Path(staged)
        output.mkdir(exist_ok=True)
        for old in (CARD, *(format.file for format in FORMATS.values())):
            (output / old).unlink(missing_ok=True)
        for file in sorted(Path(staged).iterdir(), key=lambda file: file.name == CARD):
            os.replace(file, output / file.name)
