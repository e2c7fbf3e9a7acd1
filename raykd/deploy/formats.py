"""The formats of exported models: how each is written, and how it is read again from the file alone."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from raykd.config import ModelSettings
from raykd.errors import RaykdError, shortened
from raykd.models import Classifier, build_model, load_state
from raykd.training.saved import plain_state

FormatName = Literal["torch_export", "onnx", "safetensors"]
Predictor = Callable[[Tensor], Tensor]
"""Gives logits (N, classes) for float32 images (N, C, H, W) in [0, 1]."""

CARD = "card.json"
"""Describes the exported files. Each file holds the same facts under this name, too, but for those on the files."""
NOISY_LOGGERS = ("torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes", "onnxscript", "onnx_ir")
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Format:
    """One format.

    - file: name of the exported file
    - write: writes a model in evaluation mode, an example batch of two images, and the card's facts to a path
    - read: gives the predictor of such a file, from its path alone
    """

    file: str
    write: Callable[[Classifier, Tensor, Mapping[str, Any], Path], None]
    read: Callable[[Path], Predictor]


def check_packages(names: tuple[FormatName, ...]) -> None:
    """Refuse formats whose packages are not installed.

    Raises:
        RaykdError: One is missing.
    """
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None] if "onnx" in names else []
    if missing:
        raise RaykdError(f"--format onnx needs {' and '.join(missing)}: pip install 'raykd[export]'")


def exported_program(model: Classifier, example: Tensor) -> torch.export.ExportedProgram:
    """The graph of a model, for batches of any size.

    Raises:
        RaykdError: `torch.export` cannot follow the network's code.
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        with _silent():
            return torch.export.export(model, (example,), dynamic_shapes={"images": {0: batch}})
    except Exception as error:
        # The network's own code runs while it is traced and may raise any exception.
        raise RaykdError(
            f"torch.export cannot follow {type(model.network).__name__}: {shortened(error)}\n"
            "safetensors needs no graph; or write the network without branches that depend on the images or the batch"
        ) from error


def _write_torch_export(model: Classifier, example: Tensor, facts: Mapping[str, Any], path: Path) -> None:
    with _silent():
        torch.export.save(exported_program(model, example), path, extra_files={CARD: json.dumps(facts)})


def _read_torch_export(path: Path) -> Predictor:
    with _silent():
        graph: Predictor = torch.export.load(path).module()
    return graph


def _write_onnx(model: Classifier, example: Tensor, facts: Mapping[str, Any], path: Path) -> None:
    program = exported_program(model, example)
    try:
        with _silent():
            exported = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"]
            )
            assert exported is not None
            exported.model.metadata_props[CARD] = json.dumps(facts)
            exported.save(path)
    except Exception as error:
        # The translation of an operation may raise any exception, too.
        raise RaykdError(f"ONNX cannot express {type(model.network).__name__}: {shortened(error)}") from error


def _read_onnx(path: Path) -> Predictor:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    return predict


def _write_safetensors(model: Classifier, example: Tensor, facts: Mapping[str, Any], path: Path) -> None:
    if facts["model"] is None:
        raise RaykdError(
            "safetensors holds weights alone, and only the source of this network can build it: use torch_export"
        )
    safetensors.torch.save_file(plain_state(model.network), path, metadata={CARD: json.dumps(facts)})


def _read_safetensors(path: Path) -> Predictor:
    with safetensors.safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()[CARD])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    channels, classes = facts["input"]["shape"][1], facts["classes"]
    settings = ModelSettings.model_validate(facts["model"])
    network = build_model(settings, num_classes=len(classes), in_channels=channels)
    load_state(network, state, str(path), exact=True)
    return Classifier(network, facts["mean"], facts["std"], classes).eval()


FORMATS: dict[FormatName, Format] = {
    "torch_export": Format("model.pt2", _write_torch_export, _read_torch_export),
    "onnx": Format("model.onnx", _write_onnx, _read_onnx),
    "safetensors": Format("model.safetensors", _write_safetensors, _read_safetensors),
}


@contextmanager
def _silent() -> Iterator[None]:
    """Without the messages of torch's exporters; their errors are raised all the same."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    # When tracing fails, the incomplete graph is printed to standard error.
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
