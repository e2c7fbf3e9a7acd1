"""Addresses of clusters, servers, databases and stores, and folders. What a disk refuses is in tests/study/."""

from __future__ import annotations

from pathlib import Path

import pytest

from raykd.config import Experiment
from raykd.places import LOCK
from raykd.saved_settings import save_experiment
from tests.helpers.bad_input import Bad, Refuse, bad, settings

SMALL = "data.train_images: 60\nstudent: {name: resnet8, arguments: {width: 0.25}}\nteacher.model.name: resnet8\n"


def place(text: str, *says: str) -> Bad:
    """A case of an address."""
    return settings(SMALL + text, *says)


def study(text: str, *says: str) -> Bad:
    """A case of an address that a search has."""
    return Bad(("tune", "--config", "mine.yaml"), says, {"mine.yaml": SMALL + text})


def begun(folder: Path) -> None:
    """A single run that was begun with other settings, under the name that the script has."""
    save_experiment(Experiment(), folder / "outputs/digits-distill/experiment.yaml")
    (folder / "outputs/digits-distill" / LOCK).touch()


CASES = {
    # Ray
    "ray: nobody": place("cluster.address: 127.0.0.1:2", "nothing answers at 127.0.0.1:2", "check cluster.address"),
    "ray: no such port": place("cluster.address: 127.0.0.1:99999", "nothing answers at 127.0.0.1:99999"),
    "ray: no port": place("cluster.address: head-node", "'head-node' is no cluster's address", "give HOST:6379"),
    "ray: the jobs' address": place("cluster.address: http://127.0.0.1:8265", "the http address is the one that jobs"),
    "ray: nobody's client": place("cluster.address: ray://127.0.0.1:2", "nothing answers at ray://127.0.0.1:2"),
    # MLflow
    "mlflow: a word": place("tracking.uri: mlflow", "tracking.uri 'mlflow' is not an address that MLflow can log to"),
    "mlflow: another kind": place("tracking.uri: ftp://host", "use http(s)://HOST:PORT of a server, or sqlite:///"),
    "mlflow: nobody": place(
        "tracking: {uri: 'http://127.0.0.1:2', required: true}", "tracking.uri http://127.0.0.1:2: connection refused"
    ),
    "mlflow: no folder": place("tracking.uri: sqlite:////nowhere/x.db", "there is no folder /nowhere"),
    "mlflow: in memory": place("tracking.uri: sqlite://", "names no file, so nothing would be kept"),
    "mlflow: no host": place("tracking.uri: 'http://'", "tracking.uri http://"),
    "mlflow: password": place(
        "tracking: {uri: 'http://me:secret@127.0.0.1:2', required: true}", "http://me:***@127.0.0.1:2"
    ),
    # Optuna
    "optuna: a word": study("study.storage: database", "study.storage 'database' is not a place that Optuna can use"),
    "optuna: another kind": study("study.storage: mysql://host/x", "give a path ending in .journal, sqlite:///FILE or"),
    "optuna: no folder": study("study.storage: nowhere/x.journal", "study.storage: there is no folder"),
    "optuna: nobody": study("study.storage: postgresql://me:secret@127.0.0.1:2/x", "study.storage postgresql://me@127"),
    "optuna: no study": study("study.warm_start: [nothing]", "no study 'nothing'"),
    "optuna: no such study there": study("study.warm_start: ['x.journal#mine']", "unknown study 'mine'"),
    # stores
    "store: no folder": place("cluster.storage: nowhere", "cluster.storage", "no such folder", "make it, or mount"),
    "store: another kind": place("cluster.storage: ftp://host/x", "unknown store 'ftp' in", "known: abfs"),
    "store: misspelt": place("cluster.storage: s4://bucket/x", "unknown store 's4' in s4://bucket: did you mean 's3'?"),
    "store: no address": place("cluster.storage: 's3://[bucket'", "cluster.storage: it cannot be read as an address"),
    "store: password": place("cluster.storage: s3://me:secret@bucket/x", "no passwords in URLs, which are logged"),
    "data: nobody": place(
        "data: {name: folder, root: 'http://127.0.0.1:2/x.zip'}", "data.root http://127.0.0.1:2/x.zip"
    ),
    "data: no archive": place("data: {name: folder, root: 'http://127.0.0.1:2/x'}", "is no archive (.tar, .tar.gz,"),
    "data: no address": place("data: {name: folder, root: 'http://[host/x.zip'}", "data.root: it cannot be read as"),
    "data: password": place("data: {name: folder, root: 'http://me:secret@host/x.zip'}", "is given with a password"),
    # folders
    "begun already": settings(SMALL, "study 'digits-distill' exists in", "--resume", "--study.name", make=begun),
    "begun with other settings": settings(
        f"{SMALL}study.resume: true", "but the study was begun with", "resume with the same settings", make=begun
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    assert "secret" not in refuse(case)


def test_the_address_of_the_environment_is_refused_as_well(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    refuse(bad("distill", "'http://127.0.0.1:8265' is no cluster's address (cluster.address or RAY_ADDRESS)"))
