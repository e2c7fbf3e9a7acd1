"""A run's output folder: one process at a time, begun once, and resumed only with the same settings."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from raykd.config import Experiment
from raykd.database_urls import sqlite_file, with_absolute_path, without_password
from raykd.errors import RaykdError, StorageError
from raykd.places import LOCK, SETTINGS, TEACHER
from raykd.records import write_json
from raykd.saved_settings import load_saved, save_experiment
from raykd.search.storage import database_connection, storage_address, study_storage
from raykd.settings_io import setting_names, setting_value

MAY_CHANGE = (
    "study.resume",
    "study.trials",
    "study.output",
    "study.retries",
    "study.retry_failed",
    "comparison.",
    "confirm.",
    "claims.parts",
    "claims.seeds",
    "cluster.",
    "tracking.",
    "teacher.cache",
    "teacher.trust",
    "teacher.expected_accuracy",
    "teacher.fetched",
    "data.download",
    "data.cache",
    "bank.budget",
)
"""Settings that a resumed run may change: they do not change what its students learn."""
MUST_STAY = "cluster.storage"
"""May not change, although it belongs to the cluster: the students lie there."""

JOB_COPIES = "working_dir_files"
"""Ray unpacks what `ray job submit --working-dir` uploads below a folder of this name, and deletes it later."""


def with_lasting_paths(experiment: Experiment) -> Experiment:
    """The same experiment with absolute paths, none of whose results lie in a job's copy of its working directory.

    Relative paths are taken from the present folder; in a submitted job those of results and caches are taken from
    `~/raykd/`: the job's own folder is another one after every change of the code, and Ray deletes it.

    Raises:
        RaykdError: it is no experiment.
    """
    if not isinstance(experiment, Experiment):
        kind = type(experiment).__name__
        raise RaykdError(f"a job needs an experiment, raykd.Experiment(...), not an object of type {kind}")
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
    if (uri := experiment.tracking.uri) is not None:
        tracking = experiment.tracking.model_copy(update={"uri": with_absolute_path(uri, root)})
        experiment = experiment.model_copy(update={"tracking": tracking})
    return experiment.with_absolute_paths()


def without_passwords(experiment: Experiment) -> Experiment:
    """The experiment as it is written: others may read the folder, and MLflow.

    Accounts are then taken from the environment: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PGPASSWORD.
    That a pickled teacher is trusted is the user's word at each run, and is not written either.
    """
    study, uri = experiment.study, experiment.tracking.uri
    if uri is not None:
        uri = re.sub(r"^(https?://)[^/@]*@", r"\1", without_password(uri))
    addresses = {
        "storage": study.storage and without_password(study.storage),
        "warm_start": tuple(map(without_password, study.warm_start)),
    }
    tracking = experiment.tracking.model_copy(update={"uri": uri})
    teacher = experiment.teacher.model_copy(update={"trust": False})
    return experiment.model_copy(
        update={"study": study.model_copy(update=addresses), "teacher": teacher, "tracking": tracking}
    )


@contextmanager
def locked_folder(experiment: Experiment) -> Iterator[None]:
    """Be the only process that runs a job in the experiment's folder while this is open.

    A folder that was made for the lock, and in which nothing was begun, is removed again.

    Raises:
        RaykdError: another process holds it.
    """
    folder = experiment.folder
    with ExitStack() as stack:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        stack.callback(_remove_what_was_not_begun, folder, made)
        stack.enter_context(_locked(folder / LOCK, experiment, "study.output"))
        yield


@contextmanager
def locked_optuna_storage(experiment: Experiment) -> Iterator[None]:
    """Be the only process that runs the study of this name in its Optuna storage while this is open.

    A file beside a journal or SQLite is locked; in PostgreSQL an advisory lock of the session, which ends with the
    connection. The study's own folder, where the default journal lies, is locked by `locked_folder`.

    Raises:
        RaykdError: another process holds it.
    """
    storage = study_storage(experiment.study, experiment.folder)
    file = storage if isinstance(storage, Path) else sqlite_file(storage)
    with ExitStack() as stack:
        if file is None:
            stack.enter_context(_locked_in_database(str(storage), experiment))
        elif experiment.study.storage is not None:
            lock = file.with_name(f"{file.name}.{experiment.study.name}.lock")
            stack.enter_context(_locked(lock, experiment, "study.storage"))
        yield


def check_folder(experiment: Experiment, kind: str = "study") -> None:
    """Make sure that a run's folder may be begun or resumed, and change nothing.

    Args:
        experiment: The experiment.
        kind: What the run is called in errors, and the section of settings that names it.

    Raises:
        RaykdError: the folder exists and ``--resume`` was not given, or the run was begun with other settings.
    """
    settings = experiment.folder / SETTINGS
    if not settings.exists():
        return
    if not experiment.study.resume:
        raise RaykdError(
            f"{kind} {experiment.study.name!r} exists in {experiment.folder}: add --resume to go on with it, "
            f"or name another with --{kind}.name"
        )
    _check_same(load_saved(settings), without_passwords(experiment), settings, kind)


def begin_folder(experiment: Experiment) -> Path:
    """Make the run's folder, with the resolved settings in it, and return it."""
    # What failed is run again once, not at each later launch.
    study = experiment.study.model_copy(update={"retry_failed": False})
    teacher = experiment.teacher.model_copy(update={"fetched": {}})
    begun = experiment.model_copy(update={"study": study, "teacher": teacher})
    save_experiment(without_passwords(begun), experiment.folder / SETTINGS)
    return experiment.folder


def remember_trained_teacher(folder: Path, teacher: Mapping[str, Any]) -> None:
    """Write the description of a study's teacher, and its folder, into the study's folder."""
    write_json(folder / TEACHER, teacher)


@contextmanager
def _locked(file: Path, experiment: Experiment, setting: str) -> Iterator[None]:
    """Hold a lock's file; `setting` names its folder.

    Raises:
        RaykdError: another process holds it.
        StorageError: the disk is full, or refuses.
    """
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise _refused(experiment, str(file)) from None
    except OSError as error:
        raise StorageError(
            f"{file.parent} cannot be written: {error.strerror or error}\n"
            f"let this user write there, or name another folder with --{setting}"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _locked_in_database(address: str, experiment: Experiment) -> Iterator[None]:
    from sqlalchemy import text

    key = zlib.crc32(f"raykd/{experiment.study.name}".encode())
    with database_connection(address) as connection:
        if not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            raise _refused(experiment, "its database")
        yield


def _refused(experiment: Experiment, held: str) -> RaykdError:
    return RaykdError(
        f"study {experiment.study.name!r} is being run by another process, which holds {held}:\n"
        "wait for it or stop it first, or name another study with --study.name"
    )


def _remove_what_was_not_begun(folder: Path, made: Sequence[Path]) -> None:
    """Remove the lock's file and the folders that were made for it, unless something else lies there."""
    with suppress(OSError):  # something lies there, or another process has come
        if [file.name for file in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            for each in made:
                each.rmdir()


def _check_same(begun: Experiment, now: Experiment, file: Path, kind: str) -> None:
    for name in setting_names():
        if name.startswith(MAY_CHANGE) and name != MUST_STAY:
            continue
        before, after = _compared(begun, name), _compared(now, name)
        if before != after:
            raise RaykdError(
                f"{name} is {after}, but the {kind} was begun with {before} ({file}):\n"
                f"resume with the same settings, or name another {kind} with --{kind}.name"
            )


def _compared(experiment: Experiment, name: str) -> Any:
    """What must stay of a setting: of weights in files their content, wherever they lie by now."""
    for section, model in (("student", experiment.student), ("teacher.model", experiment.teacher.model)):
        if name == f"{section}.weights":
            return model.weights_identity
        if name == f"{section}.digests":
            return sorted(model.digests.values())
    return setting_value(experiment, name)
