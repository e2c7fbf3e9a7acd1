"""The command `raykd register`: a study's best student becomes a version in MLflow's model registry."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from raykd.config import TrackingSettings
from raykd.database_urls import hide_password, sqlite_file
from raykd.deploy.agreement import images_for
from raykd.deploy.source import FinishedModel, best_student
from raykd.errors import RaykdError
from raykd.places import LOCK
from raykd.results.load import RecordedStudy, recorded_study
from raykd.tracking.address import check_tracking, quiet, reason, short_calls, tracking_uri
from raykd.tracking.model import OWN, is_intact, save_student
from raykd.tracking.moved_artifacts import artifacts_follow
from raykd.tracking.parent_run import parent_run
from raykd.tracking.registry import Version, check_names, register_student
from raykd.tracking.tracker import SAVED_STUDENT
from raykd.training.folder import description, keep_model, model_files
from raykd.training.saved import load_model


def register(study: str | Path, name: str, alias: str, console: Console | None = None) -> Version:
    """Register a study's best student as a version of a model, unless it is one already, and set the alias to it.

    Args:
        study: The study's folder, or its name below `outputs/`.
        name: Name of the registered model.
        alias: Points to the version from now on.
        console: Where it prints its results. None: standard output.

    Raises:
        RaykdError: There is no such study, it has no best student, its MLflow cannot be reached or has no run of it or
            no registry, or MLflow does not accept the name or the alias.
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
            # MLflow and its stores may raise any exception.
            without_registry = getattr(error, "error_code", "") == "ENDPOINT_NOT_FOUND"
            cause = "it has no model registry" if without_registry else reason(error)
            raise RaykdError(f"{server}: {name!r} cannot be registered: {cause}") from error
    uri = f"models:/{name}@{alias}"
    existing = "" if version.new else ", as it was before"
    console.print(
        f"{best.provenance['trial']} of {recorded.folder} is version {version.number} of {name}{existing}: {uri}"
    )
    console.print(f"serve it: MLFLOW_TRACKING_URI={server} mlflow models serve -m {uri} --env-manager local")
    return version


def _settings(recorded: RecordedStudy) -> TrackingSettings:
    """The settings of the MLflow to which the study was logged."""
    logged_to = recorded.experiment.tracking
    uri = tracking_uri(logged_to, recorded.folder)
    file = sqlite_file(uri)
    if file and not file.exists():
        raise RaykdError(f"the study's MLflow database {file} is missing: put it back, or --resume the study")
    artifacts_follow(uri, recorded.folder / LOCK)
    return logged_to.model_copy(update={"uri": uri})


def _register(
    recorded: RecordedStudy, best: FinishedModel, settings: TrackingSettings, name: str, alias: str
) -> Version:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=settings.uri, registry_uri=settings.uri)
    run = parent_run(client, settings, recorded.folder, recorded.experiment.study.name)
    if run is None:
        server = hide_password(settings.uri or "")
        raise RaykdError(f"{server} has no run of the study {recorded.folder}: --resume it to deliver it")
    with TemporaryDirectory() as folder:
        # A copy, as a resumed study may replace what it has saved at any moment.
        saved = _saved(recorded, best, Path(folder))
        return register_student(client, run.info.experiment_id, run.info.run_id, saved, name, alias, best.provenance)


def _saved(recorded: RecordedStudy, best: FinishedModel, folder: Path) -> Path:
    """The best student as an MLflow model, below a folder: as the study has saved it, if that is still this student.

    Raises:
        RaykdError: The best student is another one by now.
    """
    copy, digest = folder / SAVED_STUDENT, best.provenance.get("model_digest")
    with suppress(OSError):
        shutil.copytree(recorded.folder / SAVED_STUDENT, copy)
        if digest is not None and saved_weights(copy) == digest:
            return copy
    own = folder / OWN
    keep_model(best.folder, own)
    model = description(own)
    if model is None or model.get("weights") != digest:
        raise RaykdError(f"the best student of {recorded.folder} has changed meanwhile: run this again")
    metadata = {key: best.provenance[key] for key in ("study", "trial")}
    save_student(load_model(own), images_for(model).pixels[:1], copy, metadata, model_files(own))
    return copy


def saved_weights(path: Path) -> str | None:
    """Digest of the weights of a student in a folder of `save_student`; None if it is not known, or damaged."""
    model = description(path / OWN)
    return None if model is None or not is_intact(path) else model.get("weights")
