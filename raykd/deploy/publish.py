"""The command `raykd register`: a study's best student into MLflow's model registry, now and with an answer."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from raykd.config import TrackingSettings
from raykd.database_urls import hide_password, sqlite_file
from raykd.deploy.agreement import images_for
from raykd.deploy.source import FoundModel, best_student
from raykd.errors import RaykdError
from raykd.results.load import RecordedStudy, recorded_study
from raykd.tracking.address import check_tracking, quiet, reason, short_calls, tracking_uri
from raykd.tracking.model import save_student
from raykd.tracking.parent_run import parent_run
from raykd.tracking.registry import Version, check_names, register_student
from raykd.tracking.tracker import SAVED_STUDENT
from raykd.training.folder import description
from raykd.training.saved import load_model


def register(study: str | Path, name: str, alias: str, console: Console | None = None) -> Version:
    """Register a study's best student as a version of a model, unless it is one already, and set the alias to it.

    Args:
        study: The study's folder, or its name below `outputs/`.
        name: Name of the registered model.
        alias: Leads to the version from now on.
        console: Where it tells what it did. None: standard output.

    Raises:
        RaykdError: There is no such study, it has no best student, its MLflow cannot be reached or has no run of it or
            no registry, or name or alias are none that MLflow takes.
    """
    console = console or Console(soft_wrap=True, highlight=False)
    check_names(name, alias)
    recorded = recorded_study(study)
    best = best_student(recorded)
    settings = _settings(recorded)
    check_tracking(settings)
    server = hide_password(settings.uri or "")
    with short_calls(settings.timeout_seconds), quiet():
        try:
            version = _register(recorded, best, settings, name, alias)
        except RaykdError:
            raise
        except Exception as error:
            # MLflow and its stores raise anything.
            without_registry = getattr(error, "error_code", "") == "ENDPOINT_NOT_FOUND"
            why = "it has no model registry" if without_registry else reason(error)
            raise RaykdError(f"{server}: {name!r} cannot be registered: {why}") from error
    uri = f"models:/{name}@{alias}"
    known = "" if version.new else ", which it was already"
    console.print(
        f"{best.provenance['trial']} of {recorded.folder} is version {version.number} of {name}{known}: {uri}"
    )
    console.print(f"serve it: MLFLOW_TRACKING_URI={server} mlflow models serve -m {uri} --env-manager local")
    return version


def _settings(recorded: RecordedStudy) -> TrackingSettings:
    """Where the study was logged."""
    begun = recorded.experiment.tracking
    uri = tracking_uri(begun, recorded.folder)
    file = sqlite_file(uri)
    if file and not file.exists():
        raise RaykdError(f"the study's MLflow database {file} is gone: bring it back, or --resume the study")
    return begun.model_copy(update={"uri": uri})


def _register(recorded: RecordedStudy, best: FoundModel, settings: TrackingSettings, name: str, alias: str) -> Version:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=settings.uri, registry_uri=settings.uri)
    run = parent_run(client, settings, recorded.folder, recorded.experiment.study.name)
    if run is None:
        server = hide_password(settings.uri or "")
        raise RaykdError(f"{server} has no run of the study {recorded.folder}: --resume it to deliver it")
    path = recorded.folder / SAVED_STUDENT
    if not path.exists():
        model = description(best.folder)
        assert model is not None
        metadata = {key: best.provenance[key] for key in ("study", "trial")}
        save_student(load_model(best.folder), images_for(model).pixels[:1], path, metadata)
    return register_student(client, run.info.experiment_id, run.info.run_id, path, name, alias, best.provenance)
