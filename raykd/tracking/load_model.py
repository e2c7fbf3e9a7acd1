"""Networks that are stored in MLflow, fetched by URI."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raykd.config import TrackingSettings
from raykd.database_urls import hide_password, sqlite_file
from raykd.errors import RaykdError
from raykd.tracking.address import check_tracking, quiet, reason
from raykd.tracking.model import OWN

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import nn

SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")
PICKLE, GRAPH = "model.pth", "model.pt2"
"""MLflow's file of a network: pickled, or as a graph of operations."""


def untrusted(what: str, how: str) -> RaykdError:
    """The error for a pickle that nobody has said to trust.

    Args:
        what: The file, or what holds it.
        how: How to say so.
    """
    return RaykdError(
        f"{what} is a pickle, which runs whatever its maker has put into it:\nif you trust its maker, add {how}"
    )


@contextmanager
def fetched_model(uri: str, settings: TrackingSettings) -> Iterator[Path]:
    """The files of the model that an MLflow URI names, in a folder that is deleted afterwards. Nothing of it is run.

    Args:
        uri: ``models:/ID``, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/ID/NAME``.
        settings: Where it is looked for; without a URI where MLflow's own settings say.

    Raises:
        RaykdError: No server or database is named, it does not answer, or it holds no such model.
    """
    from mlflow import MlflowClient, artifacts

    store = _store_uri(settings)
    check_tracking(settings.model_copy(update={"uri": store}))
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            client = MlflowClient(tracking_uri=store, registry_uri=store)
            location = _location(client, uri)
            path = artifacts.download_artifacts(
                artifact_uri=location, tracking_uri=store, registry_uri=store, dst_path=folder
            )
        except RaykdError:
            raise
        except Exception as error:
            # MLflow and its stores raise anything.
            raise RaykdError(
                f"cannot be had from {hide_password(store)}: {reason(error)}\n"
                "tracking.uri names the server or database that holds it"
            ) from error
        yield Path(path)


def own_folder(folder: Path) -> Path | None:
    """Where the files of an MLflow model hold raykd's own form of it, which is loaded without a pickle, if they do."""
    return next((each for each in sorted(folder.rglob(OWN)) if each.is_dir()), None)


def unpickled_network(folder: Path) -> tuple[nn.Module, bytes]:
    """The network among the files of an MLflow model, on the CPU, and a file of it that `torch.load` reads.

    This runs code of its maker's, also where it is stored as a graph: the user must have said that it may.

    Raises:
        RaykdError: They hold no network, or it needs packages that are not installed.
    """
    from torch import nn

    try:
        with quiet():
            network, content = _read(folder)
    except RaykdError:
        raise
    except Exception as error:
        # The unpickler raises anything.
        raise RaykdError(f"cannot be loaded: {reason(error)}") from error
    if not isinstance(network, nn.Module):
        raise RaykdError(f"holds a {type(network).__name__}, not a torch.nn.Module")
    return network, content


def _read(folder: Path) -> tuple[Any, bytes]:
    import torch
    from mlflow import pytorch

    from raykd.models.graph import Graph

    if graph := next(folder.rglob(GRAPH), None):
        network = Graph(graph.read_bytes())
        file = io.BytesIO()
        torch.save(network, file)
        return network, file.getvalue()
    if pickle := next(folder.rglob(PICKLE), None):
        return pytorch.load_model(str(folder), map_location="cpu"), pickle.read_bytes()
    raise RaykdError("holds no network that mlflow.pytorch stored")


def _store_uri(settings: TrackingSettings) -> str:
    import mlflow

    if settings.uri is None and not mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]
        raise RaykdError(
            "set tracking.uri to the MLflow server or database that holds it, or name that in MLFLOW_TRACKING_URI"
        )
    store = settings.uri or mlflow.get_tracking_uri()
    file = sqlite_file(store)
    if file and not file.exists():
        # MLflow would make a new one, without any models.
        raise RaykdError(f"there is no database {file}: set tracking.uri to the one that holds it")
    return store


def _location(client: MlflowClient, uri: str) -> str:
    """The location of a URI's artifacts. MLflow's own function asks the server of the process, whichever is given."""
    while uri.startswith("models:/"):
        name, is_alias, alias = uri.removeprefix("models:/").strip("/").partition("@")
        name, is_version, version = name.partition("/")
        if is_alias:
            version = client.get_model_version_by_alias(name, alias).version
        elif version == "latest":
            versions = client.search_model_versions(f"name = '{name}'")
            version = str(max((int(each.version) for each in versions), default=1))
        elif not is_version:
            return str(client.get_logged_model(name).artifact_location)
        uri = client.get_model_version_download_uri(name, version)
    if not uri.startswith("runs:/"):
        return uri
    run_id, _, name = uri.removeprefix("runs:/").strip("/").partition("/")
    run = client.get_run(run_id).info
    logged = client.search_logged_models([run.experiment_id], f"source_run_id = '{run_id}'")
    named = [model for model in logged if model.name == name]
    if not named:
        # MLflow 2 put models among the run's artifacts.
        return f"{run.artifact_uri}/{name}"
    return str(max(named, key=lambda model: model.creation_timestamp).artifact_location)
