"""MLflow's model registry: the best student under a name, as versions that know where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raykd.config import TrackingSettings
from raykd.tracking.model import saved_digest, send_student

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST = "raykd.digest"
"""Tag of a version, and of the logged model behind it: sha256 of the file with the network."""


@dataclass(frozen=True)
class Registration:
    """What a student is registered as.

    - name: of the registered model, which is made if it is not there
    - alias: that is to lead to this version, or None
    - tags: of the version
    - description: of the version
    - digest: of the saved student that all this is said of
    """

    name: str
    alias: str | None
    tags: Mapping[str, str]
    description: str
    digest: str

    def as_data(self) -> dict[str, Any]:
        """As JSON types, for the outbox."""
        return asdict(self)


def registration_of(
    settings: TrackingSettings, path: Path, provenance: Mapping[str, str | float]
) -> Registration | None:
    """As what the settings have a saved student registered; None where they do not.

    Args:
        settings: Its study's.
        path: The folder of `save_student`.
        provenance: Where it comes from.
    """
    if settings.registered_name is None:
        return None
    return Registration(
        name=settings.registered_name,
        alias=settings.registered_alias,
        tags={f"raykd.{name.removeprefix('raykd_')}": str(value) for name, value in provenance.items()},
        description="\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in provenance.items()),
        digest=saved_digest(path),
    )


@dataclass(frozen=True)
class Version:
    """A version in the registry; `new`: it was made now, and not found."""

    number: str
    new: bool


def register_student(
    client: MlflowClient, experiment: str, run: str, path: Path, registration: Registration
) -> Version | None:
    """Register a saved student as a version of a model; one that is a version of it already is not registered again.

    It is logged as the run's model `student` first, if it is not yet.

    Args:
        client: Whose server to register with.
        experiment: Id of the run's experiment.
        run: Id of the study's parent run.
        path: The folder of `save_student`.
        registration: As what.

    Returns:
        The version; None if the folder holds another student by now.

    Raises:
        Exception: If the server cannot be reached or refuses. May be called again.
    """
    if saved_digest(path) != registration.digest:
        return None
    model_id = send_student(client, experiment, run, path)
    name = registration.name
    _make_name(client, name)
    known = client.search_model_versions(f"name = '{name}'")
    number = next((str(each.version) for each in known if each.tags.get(DIGEST) == registration.digest), None)
    new = number is None
    if number is None:
        made = client.create_model_version(
            name,
            source=client.get_logged_model(model_id).artifact_location,
            run_id=run,
            tags={**registration.tags, DIGEST: registration.digest},
            description=registration.description,
            model_id=model_id,
        )
        number = str(made.version)
    _link(client, model_id, name, number)
    if registration.alias is not None:
        client.set_registered_model_alias(name, registration.alias, number)
    return Version(number, new)


def _make_name(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _link(client: MlflowClient, model_id: str, name: str, number: str) -> None:
    """Have the logged model's page name the version. Servers do so themselves, databases leave it to the client."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    known = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if not any(each["name"] == name and str(each["version"]) == number for each in known):
        known.append({"name": name, "version": number})
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(known)})
