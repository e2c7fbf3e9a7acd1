"""The command `raykd export`: a finished model as files for others, each compared with the model before it is kept."""

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
from raykd.deploy.source import FoundModel, find_model
from raykd.errors import RaykdError
from raykd.models import Classifier
from raykd.models.weights import shortened
from raykd.training.folder import description
from raykd.training.saved import load_model


def export(
    model: str | Path,
    output: Path,
    formats: tuple[FormatName, ...],
    tolerance: float,
    console: Console | None = None,
) -> Path:
    """Export a finished model, and return the folder with the files and their card.

    The files take float32 images (N, C, H, W) in [0, 1], N at will, and give logits (N, classes). All are written
    and checked beside the folder first: if one fails, the folder stays as it is. An earlier export there is replaced.

    Args:
        model: A model's folder, or a study's, whose best student is taken.
        output: The folder.
        formats: Names of `FORMATS`.
        tolerance: Largest difference of logits that is let pass, in units of the model's largest logit.
        console: Where it tells what it finds. None: standard output.

    Raises:
        RaykdError: There is no such model, a package is missing, the network cannot be expressed in a format, or an
            exported file does not answer as the model does.
    """
    console = console or Console(soft_wrap=True, highlight=False)
    check_packages(formats)
    _check_output(output)
    found_model = find_model(model)
    classifier = load_model(found_model.folder)
    model_description = description(found_model.folder)
    assert model_description is not None
    images = images_for(model_description)
    console.print(f"model: {found_model.folder} ({found_model.provenance['model']})", markup=False)
    sizes = ", ".join(map(str, BATCH_SIZES))
    console.print(f"checked on {images.origin}, in batches of {sizes}", markup=False)
    facts = _facts(found_model, model_description)
    with _staged(output) as folder:
        files = {}
        for name in dict.fromkeys(formats):
            path = folder / FORMATS[name].file
            FORMATS[name].write(classifier, images.pixels[:2], facts, path)
            compared = compare(name, path, classifier, images, tolerance)
            console.print(
                f"{path.name}: {path.stat().st_size:,} bytes, largest difference of logits "
                f"{compared.largest_difference:.1e} (largest logit {compared.largest_logit:.1f}), "
                f"{compared.equal_answers:.2%} equal answers",
                markup=False,
            )
            files[path.name] = _file_facts(name, path, compared, images)
        (folder / CARD).write_text(json.dumps(facts | {"files": files}, indent=2) + "\n", encoding="utf-8")
    console.print(f"exported to {output}", markup=False)
    return output


def compare(name: FormatName, path: Path, model: Classifier, images: Images, tolerance: float) -> Agreement:
    """Read an exported file anew and hold its answers against the model's.

    Raises:
        RaykdError: It cannot be read, or differs by more than the tolerance.
    """
    try:
        compared = agreement(model, FORMATS[name].read(path), images.pixels)
    except RaykdError:
        raise
    except Exception as error:
        # What another library reads and runs fails in any way.
        raise RaykdError(f"the exported {path.name} cannot be used, so none is kept: {shortened(error)}") from error
    if not compared.relative <= tolerance:  # nan passes no test
        raise RaykdError(
            f"the exported {path.name} does not answer as the model does, so none is kept: logits differ by up to "
            f"{compared.largest_difference:.1e} (largest logit {compared.largest_logit:.1e}), "
            f"{compared.equal_answers:.2%} equal answers\n"
            f"--tolerance lets through more than {tolerance:g} of the largest logit"
        )
    return compared


def _facts(found_model: FoundModel, model_description: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever uses an exported file must know."""
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
        "provenance": found_model.provenance,
    }


def _file_facts(name: FormatName, path: Path, compared: Agreement, images: Images) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format": name,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "checked_on": images.origin,
        "batch_sizes": list(BATCH_SIZES),
        "largest_difference": compared.largest_difference,
        "largest_logit": compared.largest_logit,
        "equal_answers": compared.equal_answers,
    }


def _check_output(output: Path) -> None:
    if output.exists() and not (output / CARD).exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RaykdError(f"--output {output} holds other things than an earlier export: name a new folder")


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A folder beside the output whose files, once all are there, take the place of an earlier export's."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as staged:
        yield Path(staged)
        output.mkdir(exist_ok=True)
        for old in (CARD, *(each.file for each in FORMATS.values())):
            (output / old).unlink(missing_ok=True)
        for file in sorted(Path(staged).iterdir(), key=lambda file: file.name == CARD):
            os.replace(file, output / file.name)
