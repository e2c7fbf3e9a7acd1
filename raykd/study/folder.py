"""The study's folder: its settings, begun once and gone on with only by the same settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.search.storage_address import storage_address, without_password
from raykd.settings_io import load_experiment, save_experiment, setting_names, setting_value
from raykd.storage import replacing

SETTINGS = "experiment.yaml"
JOURNAL = "study.journal"
BEST = "best"
PLAIN = "plain"
STUDENT = "student"
TEACHER = "teacher.json"
"""What is known of the study's teacher (see `raykd.training.folder`), and its folder: readable without the cache."""
RAY = "ray"

MAY_CHANGE = (
    "study.resume",
    "study.trials",
    "study.output",
    "study.retries",
    "comparison.",
    "confirm.",
    "cluster.",
    "tracking.",
    "teacher.cache",
    "data.download",
    "data.cache",
)
"""Settings that a resumed study may change: they do not change what its trials give."""
STAYS = "cluster.storage"
"""May not, though of the cluster: the students lie there."""


JOB_COPIES = "working_dir_files"
"""Ray unpacks what `ray job submit --working-dir` uploads below a folder of this name, and deletes it later."""


def with_lasting_paths(experiment: Experiment) -> Experiment:
    """The same experiment with absolute paths, none of whose results lie in a job's copy of its working directory.

    Relative paths are taken from the present folder; in a submitted job those of results and caches are taken from
    `~/raykd/`: the job's own folder is another one after every change of the code, and Ray's to delete.
    """
    root = Path.cwd()
    if JOB_COPIES in root.parts:
        root = lasting = Path.home() / "raykd"
        study, teacher = experiment.study, experiment.teacher
        output, cache = lasting / study.output.expanduser(), lasting / teacher.cache.expanduser()
        experiment = experiment.model_copy(
            update={
                "study": study.model_copy(update={"output": output}),
                "teacher": teacher.model_copy(update={"cache": cache}),
            }
        )
    if experiment.study.storage is not None:
        storage = str(storage_address(experiment.study.storage, root))
        experiment = experiment.model_copy(update={"study": experiment.study.model_copy(update={"storage": storage})})
    if (uri := experiment.tracking.uri) is not None and uri.startswith("sqlite:"):
        tracking = experiment.tracking.model_copy(update={"uri": str(storage_address(uri, root))})
        experiment = experiment.model_copy(update={"tracking": tracking})
    return experiment.with_absolute_paths()


def check_folder(experiment: Experiment, kind: str = "study") -> None:
    """Make sure that the study's folder may be begun or gone on with, and change nothing.

    Args:
        experiment: The experiment.
        kind: What it is called in errors, and the section of settings that names it.

    Raises:
        RaykdError: it exists and ``--resume`` was not given, or it was begun with other settings.
    """
    settings = experiment.folder / SETTINGS
    if not settings.exists():
        return
    if not experiment.study.resume:
        raise RaykdError(
            f"{kind} {experiment.study.name!r} exists in {experiment.folder}: add --resume to go on with it, "
            f"or name another with --{kind}.name"
        )
    _check_same(load_experiment(settings, Experiment()), without_passwords(experiment), settings, kind)


def begin_folder(experiment: Experiment) -> Path:
    """Make the study's folder, with the resolved settings in it, and return it."""
    experiment.folder.mkdir(parents=True, exist_ok=True)
    save_experiment(without_passwords(experiment), experiment.folder / SETTINGS)
    return experiment.folder


def without_passwords(experiment: Experiment) -> Experiment:
    """The experiment as it is written: others may read the folder, and MLflow.

    Accounts are then taken from the environment: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PGPASSWORD.
    """
    study, uri = experiment.study, experiment.tracking.uri
    if uri is not None:
        uri = re.sub(r"^(https?://)[^/@]*@", r"\1", without_password(uri))
    places = {
        "storage": study.storage and without_password(study.storage),
        "warm_start": tuple(map(without_password, study.warm_start)),
    }
    tracking = experiment.tracking.model_copy(update={"uri": uri})
    return experiment.model_copy(update={"study": study.model_copy(update=places), "tracking": tracking})


def remember_taught(folder: Path, teacher: Mapping[str, Any]) -> None:
    """Write down in a study's folder what is known of its teacher."""
    with replacing(folder / TEACHER) as temporary:
        temporary.write_text(json.dumps(teacher, indent=2) + "\n", encoding="utf-8")


def _check_same(begun: Experiment, now: Experiment, file: Path, kind: str) -> None:
    for name in setting_names():
        if name.startswith(MAY_CHANGE) and name != STAYS:
            continue
        before, after = setting_value(begun, name), setting_value(now, name)
        if before != after:
            raise RaykdError(
                f"{name} is {after}, but the {kind} was begun with {before} ({file}):\n"
                f"resume with the same settings, or name another {kind} with --{kind}.name"
            )
