"""The best student as an MLflow model: saved in the study's folder first, sent when the server is there.

It is stored as a pickled torch module, which loads wherever raykd (or the module's own package) is installed, can be
trained on and moves between devices. As pickles run code, raykd itself loads its own files, which lie beside it.
MLflow's graph format (pt2) needs no class, but stays in evaluation mode, and MLflow refuses to load a graph that was
exported on a CPU where there is a GPU.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor, nn

NAME = "student"
OWN = "raykd"
"""Folder of a saved model that holds raykd's own files of it, which are loaded without a pickle."""
PICKLE = Path("data", "model.pth")
"""MLflow's file of a pickled network."""
CHECKSUM = "pickle.sha256"
"""File beside raykd's own: sha256 (hex) of the pickle."""


def save_student(
    model: nn.Module,
    example: Tensor,
    path: Path,
    metadata: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Saves a network as an MLflow model in a folder; what the folder held before is replaced.

    Args:
        model: The network, anywhere; a copy in evaluation mode on the CPU is saved.
        example: A batch of images as the network takes them. The first becomes the model's input example.
        path: The folder.
        metadata: Stored with the model; JSON types.
        files: raykd's own files of the model, by name.

    Raises:
        Exception: If the network cannot be pickled or run on the example.
    """
    import torch
    from mlflow import pytorch
    from mlflow.models import infer_signature

    saved = copy.deepcopy(model).cpu().eval()
    images = example[:1].detach().float().cpu()
    with torch.no_grad():
        logits = saved(images)
    partial = path.with_name(path.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    chatter = logging.getLogger("mlflow.pytorch")
    level = chatter.level
    chatter.setLevel(logging.ERROR)  # it warns of pickles at each save
    try:
        pytorch.save_model(
            saved,
            partial,
            signature=infer_signature(images.numpy(), logits.numpy()),
            input_example=images.numpy(),
            pip_requirements=_requirements(),  # given, or MLflow runs the model in a subprocess to find them
            metadata=dict(metadata or {}),
            serialization_format="pickle",
        )
    finally:
        chatter.setLevel(level)
    if files:
        (partial / OWN).mkdir()
        for name, content in files.items():
            (partial / OWN / name).write_bytes(content)
        (partial / OWN / CHECKSUM).write_text(saved_digest(partial))
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def is_intact(path: Path) -> bool:
    """Whether the pickle in a folder of `save_student`, made with raykd's own files, is the one that was written."""
    checksum = path / OWN / CHECKSUM
    return checksum.exists() and checksum.read_text(errors="replace") == saved_digest(path)


def saved_digest(path: Path) -> str:
    """sha256 (hex) of the network in a folder of `save_student`."""
    with (path / PICKLE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def send_student(client: MlflowClient, experiment: str, run: str, path: Path) -> str:
    """Logs a saved student as the run's model `student`; one that is already there is not logged again.

    The same as `mlflow.pytorch.log_model`, but for the global tracking URI and active run that it needs: those belong
    to the user, and start_run would set the finished study running again.

    Args:
        client: Whose server to log to.
        experiment: Id of the run's experiment.
        run: Id of the run.
        path: The folder of `save_student`.

    Returns:
        The model's id, for `models:/ID`.

    Raises:
        Exception: If the server or its artifact store cannot be reached. May be called again.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    description = Model.load(str(path / "MLmodel"))
    digest = saved_digest(path)
    known = client.search_logged_models([experiment], f"source_run_id = '{run}'")
    same = [model for model in known if model.name == NAME and model.tags.get("raykd.digest") == digest]
    same.sort(key=lambda model: model.status != LoggedModelStatus.READY)
    for double in same[1:]:
        if double.status != LoggedModelStatus.READY:  # created by a call that was given up too early
            client.delete_logged_model(double.model_id)
    model = same[0] if same else client.create_logged_model(experiment, NAME, run, tags={"raykd.digest": digest})
    if model.status != LoggedModelStatus.READY:
        description.run_id, description.model_id = run, model.model_id
        description.artifact_path = model.artifact_location
        description.save(str(path / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(path))
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def _requirements() -> list[str]:
    pins = []
    for package in ("torch", "torchvision", "raykd"):
        try:
            pins.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:  # run from a checkout
            continue
    return pins
