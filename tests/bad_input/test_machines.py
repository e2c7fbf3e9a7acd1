"""Machines that users bring along: dead clusters, read-only folders, users without a name, shared databases, names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ray._private import services
from ray._private.utils import write_ray_address

from raykd.config import Experiment, StudySettings, TrackingSettings
from raykd.database_urls import is_same_database
from raykd.tracking.registry import check_names
from tests.helpers.bad_input import Bad, Refuse, bad, settings
from tests.helpers.containers import in_container
from tests.helpers.heads import HOST, free_port
from tests.helpers.paths import ROOT

SMALL = "data.train_images: 60\nstudent: {name: resnet8, arguments: {width: 0.25}}\nteacher.model.name: resnet8\n"


def study(text: str, *says: str, make: Callable[[Path], object] = lambda folder: None) -> Bad:
    """A case of a search."""
    return Bad(("tune", "--config", "mine.yaml"), says, {"mine.yaml": SMALL + text}, make)


# One file for Optuna and for MLflow, however its path is written.


def linked(folder: Path) -> None:
    """Two links to the present folder's databases: one to the folder, one to a file."""
    (folder / "link").symlink_to(folder)
    (folder / "other.db").symlink_to(folder / "x.db")


def twice(folder: Path) -> None:
    """One file under two names."""
    (folder / "x.db").touch()
    os.link(folder / "x.db", folder / "y.db")


ONE = "study.storage and tracking.uri are one database"
DATABASES = {
    "the same words": study("study.storage: sqlite:///x.db\ntracking.uri: sqlite:///x.db", ONE, "sqlite:///", "x.db"),
    "a detour": study("study.storage: sqlite:///x.db\ntracking.uri: sqlite:///./no/../x.db", ONE),
    "a linked folder": study("study.storage: sqlite:///link/x.db\ntracking.uri: sqlite:///x.db", ONE, make=linked),
    "a linked file": study("study.storage: sqlite:///other.db\ntracking.uri: sqlite:///x.db", ONE, make=linked),
    "two names": study("study.storage: sqlite:///x.db\ntracking.uri: sqlite:///y.db", ONE, make=twice),
    "with options": study("study.storage: sqlite:///x.db?timeout=9\ntracking.uri: sqlite:///x.db", ONE),
    "with a driver": study("study.storage: sqlite+pysqlite:///x.db\ntracking.uri: sqlite:///x.db", ONE),
    "a journal's file": study("study.storage: x.journal\ntracking.uri: sqlite:///x.journal", ONE),
    "MLflow's default": study("study.storage: sqlite:///outputs/digits-dkd/mlflow.db", ONE, "leave it out"),
    "one server": study(
        "study.storage: postgresql://me:secret@localhost/x\ntracking.uri: postgresql+psycopg2://you@127.0.0.1:5432/x",
        ONE,
    ),
}


# Names that become folders, runs and models.

ALLOWED = "give up to 100 letters (a to z), digits, '.', '_' and '-', a letter or digit first"
NAMES: Mapping[str, tuple[str, str]] = {
    "a blank": ("my study", "such as 'my-study'"),
    "300 letters": ("x" * 300, f"such as '{'x' * 100}'"),
    "a folder": ("mine/first", "such as 'mine-first'"),
    "the folder above": ("..", ALLOWED),
    "this folder": (".", ALLOWED),
    "hidden": (".mine", "such as 'mine'"),
    "an absolute path": ("/tmp/mine", "such as 'tmp-mine'"),
    "an option's": ("-mine", "such as 'mine'"),
    "umlauts": ("Prüfung", "such as 'Prufung'"),
    "not Latin": ("研究", ALLOWED),
    "other digits": ("٣", ALLOWED),
    "a quote": ("it's", "such as 'it-s'"),
    "blanks around": (" mine ", "such as 'mine'"),
    "a letter that is not shown": ("mi\u200bne", "not shown: leave it out"),
}
NAMED = {
    f"{setting}: {name}": settings(f'{SMALL}{setting}: "{given}"', setting, says)
    for setting in ("study.name", "confirm.name")
    for name, (given, says) in NAMES.items()
} | {
    "study.name: empty": settings(f'{SMALL}study.name: ""', "study.name", "it is empty"),
    "study.name: on the command line": Bad(("distill", "--study.name", "my study"), ("study.name", "'my-study'")),
    "tracking.experiment: 300 letters": settings(
        f"{SMALL}tracking.experiment: {'x' * 300}", "cannot name an experiment of MLflow: give up to 250 letters"
    ),
    "tracking.experiment: a blank": settings(f'{SMALL}tracking.experiment: " "', "tracking.experiment", "no blank"),
    "tracking.experiment: empty": settings(f'{SMALL}tracking.experiment: ""', "tracking.experiment", "it is empty"),
    "register: a folder": bad("register x --name a/b", "--name 'a/b': a name has letters, digits, dots, blanks"),
    "register: 300 letters": bad(f"register x --name {'x' * 300}", "--name has 300 letters, and MLflow takes 250"),
    "register: above": bad("register x --name ..", "--name '..': a name has"),
    "register: umlauts": bad("register x --name Prüfung", "--name 'Prüfung': a name has"),
    "register: alias of 300 letters": bad(f"register x --name a --alias {'x' * 300}", "--alias has 300 letters"),
    "register: alias with a dot": bad("register x --name a --alias a.b", "--alias 'a.b': an alias has letters"),
    "register: a version's alias": bad("register x --name a --alias v3", "--alias v3 means a version's number"),
    "bank: a path as a teacher's name": bad("bank clear ../x --cache cache", "unknown teacher '../x'"),
    "output: 300 letters": settings(
        f"{SMALL}study.output: {'x' * 300}", "study.output", "it is too long, give up to 255 bytes"
    ),
    "cache: 300 letters": settings(f"{SMALL}teacher.cache: {'x' * 300}", "teacher.cache", "it is too long"),
}


@pytest.mark.parametrize("case", (DATABASES | NAMED).values(), ids=DATABASES | NAMED)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    assert "secret" not in refuse(case)


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "x" * 100, "1", "a.", "digits-dkd"])
def test_names_that_are_allowed(name: str) -> None:
    assert StudySettings(name=name).name == name
    assert TrackingSettings(experiment=name).experiment == name
    check_names(name, "champion")


@pytest.mark.parametrize("name", ["my experiment", "Prüfung", "/Users/me/study", "研究"])
def test_names_that_mlflow_allows(name: str) -> None:
    assert Experiment(tracking=TrackingSettings(experiment=name)).tracking.experiment == name


@pytest.mark.parametrize(
    ("storage", "uri"),
    [
        ("sqlite:///x.db", "sqlite:///y.db"),
        ("sqlite:///a/x.db", "sqlite:///b/x.db"),
        ("sqlite:///x.db", None),
        ("postgresql://host/x", "postgresql://host/y"),
        ("postgresql://one/x", "postgresql://other/x"),
        ("postgresql://host/x", "postgresql://host:5433/x"),
        ("sqlite:///x.db", "http://127.0.0.1:5000"),
    ],
)
def test_two_databases_are_none(storage: str, uri: str | None, tmp_path: Path) -> None:
    assert not is_same_database(storage, uri or f"sqlite:///{tmp_path}/mlflow.db")


# A cluster that has ended, and its address.


@pytest.fixture
def _ended(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray start` has left the address of a head that was killed, on a machine without another."""
    folder = tmp_path_factory.mktemp("temporary")
    (folder / "ray").mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setattr(services, "find_gcs_addresses", frozenset)
    write_ray_address(f"{HOST}:{free_port()}")


@pytest.mark.usefixtures("_ended")
@pytest.mark.parametrize("job", ["distill", "tune"])
def test_a_head_that_has_ended_is_named(job: str, refuse: Refuse) -> None:
    case = Bad((job, "--config", "mine.yaml"), ("cluster.address auto: nothing answers at",), {})
    files = {"mine.yaml": f"{SMALL}cluster.address: auto\nstudy.space: dkd_bias\n"}
    refuse(Bad(case.words, (*case.says, "leave cluster.address out to start a local one"), files))


# A container: its user has no name, no home folder of its own, and may write into one folder alone.

PLAIN = "--data.train_images 60 --student.name resnet8 --teacher.model.name resnet8"
IN_CONTAINER: Mapping[str, tuple[str, int, str]] = {
    "list": ("list methods", 0, ""),
    "explain": ("explain dkd", 0, ""),
    "bank list": ("bank list", 0, ""),
    "bank clear": ("bank clear --all", 0, ""),
    "plan": (f"plan --seconds-per-epoch 1 --sizes 2 --study.trials 3 {PLAIN}", 0, ""),
    "no cache": (f"distill {PLAIN} --study.output HERE/out", 2, "another folder with --teacher.cache"),
    "no output": (f"distill {PLAIN} --teacher.cache HERE/cache", 2, "another folder with --study.output"),
    # Everything is checked before the cluster is looked for.
    "distill": (f"distill {PLAIN} --teacher.cache HERE/cache --study.output HERE/out", 2, "nothing answers at 127.0."),
    "claims": (f"reproduce_claims {PLAIN} --teacher.cache HERE/cache", 2, "another folder with --study.output"),
    "MLflow": (
        f"distill {PLAIN} --teacher.cache HERE/cache --study.output HERE/out --tracking.uri sqlite:////x.db",
        2,
        "/ cannot be written",
    ),
}


@pytest.mark.parametrize(
    ("home", "cases"),
    [({}, list(IN_CONTAINER)), ({"HOME": "/"}, ["no cache", "distill"])],
    ids=["no home", "home is root"],
)
def test_in_a_container(home: dict[str, str], cases: list[str], tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "127.0.0.1:1", **home}
    environment["TMPDIR"] = str(tmp_path / "tmp")
    lines = [IN_CONTAINER[name][0].replace("HERE", str(tmp_path)) for name in cases]
    command = in_container(tmp_path, [sys.executable, "-m", "tests.helpers.containers", *lines])
    shown = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    ended = dict(zip(cases, json.loads(shown.stdout.splitlines()[-1]), strict=True))
    for name in cases:
        _, code, says = IN_CONTAINER[name]
        assert ended[name][0] == code, (name, ended[name])
        message = ended[name][1]
        assert says in message, name
        assert len(message.splitlines()) == (2 if code else 0), (name, message)
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_without_a_folder_for_temporary_files(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = in_container(tmp_path, [sys.executable, "-m", "tests.helpers.containers", f"distill {PLAIN}"])
    shown = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    ((code, message),) = json.loads(shown.stdout.splitlines()[-1])
    assert code == 2
    assert message.splitlines() == [
        "error: no folder for temporary files can be written, such as /tmp: name one by the environment variable TMPDIR"
    ]
