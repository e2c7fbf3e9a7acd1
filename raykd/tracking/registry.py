"""MLflow's model registry: the best student under a name, as versions that know where they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.errors import RaykdError
from raykd.settings import LONGEST_MLFLOW_NAME
from raykd.tracking.model import saved_digest, send_student

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST = "raykd.digest"
"""Tag of a version, and of the logged model behind it: sha256 of the file with the network."""


def check_names(name: str, alias: str) -> None:
    """Refuse what means something else in MLflow's URIs and queries.

    Raises:
        RaykdError: the name or the alias is none that MLflow takes.
    """
    for option, given in (("--name", name), ("--alias", alias)):
        if len(given) > LONGEST_MLFLOW_NAME:
            raise RaykdError(f"{option} has {len(given)} letters, and MLflow takes {LONGEST_MLFLOW_NAME}: shorten it")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]*", name):
        raise RaykdError(f"--name {name!r}: a name has letters, digits, dots, blanks, _ and -, a letter or digit first")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", alias):
        raise RaykdError(f"--alias {alias!r}: an alias has letters, digits, _ and -, a letter first")
    if re.fullmatch("latest|[vV][0-9]+", alias):
        raise RaykdError(f"--alias {alias} means a version's number to MLflow: take another")


@dataclass(frozen=True)
class Version:
    """A version in the registry; `new`: it was made now, and not found."""

    number: str
    new: bool


def register_student(
    client: MlflowClient,
    experiment: str,
    run: str,
    path: Path,
    name: str,
    alias: str,
    provenance: Mapping[str, str | float],
) -> Version:
    """Register a saved student as a version of a model; one that is a version of it already is not registered again.

    It is logged as the run's model `student` first, if it is not yet.

    Args:
        client: Whose server to register with.
        experiment: Id of the run's experiment.
        run: Id of the study's parent run.
        path: The folder of `save_student`.
        name: Of the registered model, which is made if it is not there.
        alias: Leads to this version from now on.
        provenance: Where the student comes from: tags and description of the version.

    Raises:
        Exception: If the server cannot be reached or refuses. May be called again.
    """
    digest = saved_digest(path)
    model_id = send_student(client, experiment, run, path)
    _make_name(client, name)
    known = client.search_model_versions(f"name = '{name}'")
    number = next((str(version.version) for version in known if version.tags.get(DIGEST) == digest), None)
    new = number is None
    if number is None:
        tags = {f"raykd.{key.removeprefix('raykd_')}": str(value) for key, value in provenance.items()}
        made = client.create_model_version(
            name,
            source=client.get_logged_model(model_id).artifact_location,
            run_id=run,
            tags={**tags, DIGEST: digest},
            description="\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in provenance.items()),
            model_id=model_id,
        )
        number = str(made.version)
    _link(client, model_id, name, number)
    client.set_registered_model_alias(name, alias, number)
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
