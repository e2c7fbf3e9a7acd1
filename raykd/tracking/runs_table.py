"""What MLflow's page shows of a run's children at first sight: a table, sorted, with the columns that say something.

MLflow keeps such views as tags of the experiment, as its own button for sharing does; an address then names the view.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raykd.database_urls import hide_password, sqlite_file
from raykd.errors import RaykdError
from raykd.records import read_json, write_json

RECORD = "mlflow_view.json"
"""File of a run's folder: where MLflow has the view of its children."""
TAG = "mlflow.sharedViewState."
"""How MLflow's tags of shared views begin."""
MOST_PARAMETERS = 40
"""A tag has at most 5,000 characters."""


@dataclass(frozen=True)
class RunsTable:
    """The table of a run's children.

    - metrics: columns; it is sorted by the first, the highest value first
    - parameters: further columns, behind the state
    - role: only children whose tag `raykd.role` is this. None: the experiment's runs, as there are no children
    """

    metrics: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    role: str | None = None

    def content(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> RunsTable:
        """From what `content` gave."""
        return cls(tuple(content["metrics"]), tuple(content["parameters"]), content["role"])

    def view(self, parent: str) -> str:
        """The view in MLflow's form.

        Args:
            parent: Id of the run whose children are shown.
        """
        columns = {f"metrics.`{name}`": name for name in self.metrics}
        columns |= {"tags.`raykd.state`": "raykd.state"}
        columns |= {f"params.`{name}`": name for name in self.parameters[:MOST_PARAMETERS]}
        chosen = f"tags.`mlflow.parentRunId` = '{parent}' AND tags.`raykd.role` = '{self.role}'"
        return json.dumps(
            {
                "searchFilter": "" if self.role is None else chosen,
                "orderByKey": f"metrics.`{self.metrics[0]}`",
                "orderByAsc": False,
                "selectedColumns": list(columns),
                "columnOrder": list(columns),
                # Wide enough for the names.
                "columnWidths": {column: 40 + 7 * max(len(name), 8) for column, name in columns.items()},
            },
            separators=(",", ":"),
        )


def remember_view(folder: Path, uri: str, experiment: str, view: str) -> None:
    """Keep where MLflow has the view of a run.

    Args:
        folder: The run's.
        uri: Where it is logged.
        experiment: Id of its experiment there.
        view: The view's name, the tag without `TAG`.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    write_json(folder / RECORD, {"uri": _kept(folder, uri), "experiment": experiment, "view": view})


def path_of_view(folder: Path, uri: str) -> str | None:
    """The view of a run in the address of MLflow's page, from the ``#`` on. None: it is not known there.

    Args:
        folder: The run's.
        uri: Where it is logged.
    """

    def made_of(content: Any) -> tuple[str, str, str]:
        return str(content["uri"]), str(content["experiment"]), str(content["view"])

    try:
        found = read_json(folder / RECORD, made_of, "")
    except (RaykdError, OSError):
        return None  # a link is not worth an error
    if found is None or found[0] != _kept(folder, uri):
        return None
    # Without the type MLflow shows what it has for language models.
    return f"#/experiments/{found[1]}/runs?workflowType=machine_learning&viewStateShareKey={found[2]}"


def _kept(folder: Path, uri: str) -> str:
    """An address without a password; of a file in the folder, which may be moved, its place in there."""
    file = sqlite_file(uri)
    inside = file is not None and file.is_relative_to(folder.absolute())
    return str(file.relative_to(folder.absolute())) if file is not None and inside else hide_password(uri)
