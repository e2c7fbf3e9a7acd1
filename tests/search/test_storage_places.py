"""Studies in journal files, SQLite and PostgreSQL: what a killed driver leaves, who may drive, and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import ray.cloudpickle as cloudpickle
from ray.tune.search import Searcher

import raykd
from raykd.errors import DamagedError, RaykdError
from raykd.places import LOCK, SETTINGS
from raykd.results.load import recorded_study
from raykd.search.optuna_study import open_study
from raykd.search.storage import check_optuna_storage, storage_address, study_storage
from raykd.settings_io import load_experiment
from raykd.study.folder import begin_folder, check_folder, locked_folder, locked_optuna_storage
from tests.helpers.mlflow_places import PostgreSQL, postgresql_programs
from tests.helpers.optuna_storages import SPACE, Launch, experiment_in

KINDS = ["default", "journal", "sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to PostgreSQL's user
    server = PostgreSQL(programs, folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    match request.param:
        case "default":
            return None
        case "journal":
            return f"journal://{tmp_path}/all.journal"
        case "sqlite":
            return f"sqlite:///{tmp_path}/all.db"
        case _:
            # One server for all tests: each has a study of its own name.
            return request.getfixturevalue("postgresql").uri()


def name_of(tmp_path: Path) -> str:
    return f"s-{tmp_path.name}"


def test_a_killed_drivers_trials_are_handed_out_again(tmp_path: Path, storage: str | None) -> None:
    setting = experiment_in(tmp_path, name=name_of(tmp_path), storage=storage, trials=5)
    first = Launch(*setting)
    configs = [first.suggest(f"a{i}") for i in range(4)]
    first.searcher.on_trial_result("a1", {"epoch": 1, "validation_accuracy": 0.5})
    first.end("a2", 0.7)
    del first

    second = Launch(*setting)
    assert [second.suggest(f"b{i}") for i in range(3)] == [configs[0], configs[1], configs[3]]
    for epoch, accuracy in ((1, 0.9), (2, 0.6)):  # epoch 1 is recorded already
        second.searcher.on_trial_result("b1", {"epoch": epoch, "validation_accuracy": accuracy})
    assert second.study.trials[1].intermediate_values == {1: 0.5, 2: 0.6}
    assert second.suggest("b3")["trial"] == 4
    assert second.searcher.suggest("b4") == Searcher.FINISHED
    for name in ("b0", "b1", "b2", "b3"):
        second.end(name, 0.8, epoch=3)
    third = Launch(*setting)
    assert third.searcher.suggest("c") == Searcher.FINISHED
    assert [trial.value for trial in third.study.trials] == [0.8, 0.8, 0.7, 0.8, 0.8]
    assert [trial.number for trial in third.study.trials] == list(range(5))


def test_every_storage_draws_the_same(tmp_path: Path, storage: str | None) -> None:
    def drawn(folder: Path, **study: object) -> list[dict[str, object]]:
        folder.mkdir()
        launch = Launch(*experiment_in(folder, trials=6, **study))
        configs = []
        for i in range(6):
            configs.append(launch.suggest(f"t{i}"))
            launch.end(f"t{i}", 1 / (1 + float(configs[-1]["temperature.multiplier"])))
        return configs

    here = drawn(tmp_path / "here", name=name_of(tmp_path), storage=storage)
    assert here == drawn(tmp_path / "there", storage=f"sqlite:///{tmp_path}/there/study.db")


def test_a_study_is_read_back_from_its_folder(tmp_path: Path, storage: str | None, monkeypatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PostgreSQL.PASSWORD)
    experiment, space = experiment_in(tmp_path, name=name_of(tmp_path), storage=storage)
    begin_folder(experiment)
    with pytest.raises(RaykdError, match="holds no search"):
        recorded_study(experiment.folder)
    Launch(experiment, space).suggest("a")
    assert len(recorded_study(experiment.folder).study.trials) == 1
    assert experiment.study.name in [study.name for study in (recorded_study(experiment.folder).experiment.study,)]


@contextmanager
def sole_process(experiment: raykd.Experiment) -> Iterator[None]:
    with locked_folder(experiment), locked_optuna_storage(experiment):
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_driver_is_refused(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    places = {"default": None, "journal": "all.journal", "sqlite": f"sqlite:///{tmp_path}/all.db"}
    storage = places[kind] if kind in places else request.getfixturevalue("postgresql").uri()
    storage = f"{tmp_path}/{storage}" if kind == "journal" else storage
    experiment, _ = experiment_in(tmp_path, name=name_of(tmp_path), storage=storage)
    # Another folder, as that of a copy: only the storage knows that they are the same study.
    other = tmp_path / "copy" if kind != "default" else tmp_path
    code = (
        "import pathlib, sys; from raykd.config import *\n"
        "from raykd.study.folder import locked_folder, locked_optuna_storage\n"
        f"experiment = Experiment(study=StudySettings(name={experiment.study.name!r}, storage={storage!r}, "
        f"output=pathlib.Path({str(other / 'outputs')!r})))\n"
        "with locked_folder(experiment), locked_optuna_storage(experiment):\n"
        "    print('open', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(RaykdError, match="is being run by another process") as caught, sole_process(experiment):
            pass
        process.kill()
    assert PostgreSQL.PASSWORD not in str(caught.value)
    with sole_process(experiment):  # however the other ended
        assert (experiment.folder / LOCK).exists()
    assert experiment.folder.exists() == (kind == "default")  # the killed one's


def test_a_folder_that_has_something_keeps_it(tmp_path: Path) -> None:
    experiment, _ = experiment_in(tmp_path)
    with sole_process(experiment):
        begin_folder(experiment)
    assert (experiment.folder / SETTINGS).exists()


def test_no_password_is_written(tmp_path: Path, postgresql: PostgreSQL) -> None:
    setting = experiment_in(
        tmp_path, name=name_of(tmp_path), storage=postgresql.uri(), warm_start=(f"{postgresql.uri()}#old",)
    )
    folder = begin_folder(setting[0])
    launch = Launch(*setting)
    (folder / "searcher.pkl").write_bytes(cloudpickle.dumps(launch.searcher))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 3
    assert [file for file in files if PostgreSQL.PASSWORD.encode() in file.read_bytes()] == []
    begun = load_experiment(folder / SETTINGS, raykd.Experiment()).study
    assert begun.storage == postgresql.uri(None)
    assert begun.warm_start == (f"{postgresql.uri(None)}#old",)
    # The same study, whether the password is given or the environment has it.
    for address in (postgresql.uri(), postgresql.uri(None)):
        resumed = setting[0].study.model_copy(update={"resume": True, "storage": address})
        check_folder(setting[0].model_copy(update={"study": resumed}))


def test_a_password_comes_from_the_environment(tmp_path: Path, postgresql: PostgreSQL, monkeypatch) -> None:
    experiment, _ = experiment_in(tmp_path, name="absent", storage=postgresql.uri(None))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(RaykdError, match=r"no password supplied.*set PGPASSWORD"):
        check_optuna_storage(experiment)
    monkeypatch.setenv("PGPASSWORD", PostgreSQL.PASSWORD)
    check_optuna_storage(experiment)


def test_a_wrong_password_is_said_without_it(tmp_path: Path, postgresql: PostgreSQL) -> None:
    experiment, _ = experiment_in(tmp_path, storage=postgresql.uri("a-wrong-one"))
    with pytest.raises(RaykdError, match="refuses the password: set PGPASSWORD, or put the password into") as caught:
        check_optuna_storage(experiment)
    assert "a-wrong-one" not in str(caught.value)


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (
            "mysql://me:hush@host/db",
            r"'mysql://\S+' is not a place that Optuna can use: give a path ending in .journal",
        ),
        ("study.sqlite", "is not a place"),
        ("sqlite:///:memory:", "is not a place"),
        ("sqlite:///{folder}/none/study.db", r"there is no folder .*/none"),
        ("{folder}/none/study.journal", r"there is no folder .*/none"),
        ("sqlite:///{folder}/notes.db", "holds another program's tables"),
        ("sqlite:///{folder}/text.db", "not a database"),
        ("{folder}/text.journal", "study.storage"),
        ("postgresql://me:hush@127.0.0.1:1/db", "connection refused"),
        ("postgresql://me:hush@host.invalid/db", "the host's name is unknown|failed to resolve host"),
        ("postgresql://me:hush/db", r"postgresql://\*\*\* cannot be read as an address"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_and_left_alone(tmp_path: Path, storage: str, words: str) -> None:
    with sqlite3.connect(tmp_path / "notes.db") as notes:
        notes.execute("create table notes (text)")
    for name in ("text.db", "text.journal"):
        (tmp_path / name).write_text("This is no study.\n" * 100)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    experiment, _ = experiment_in(tmp_path, storage=storage.format(folder=tmp_path))
    with pytest.raises(RaykdError, match=words) as caught:
        check_optuna_storage(experiment)
    (tmp_path / "space.yaml").unlink()
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert "hush" not in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_study_that_another_folder_has_begun_is_refused(tmp_path: Path, storage: str | None) -> None:
    name = name_of(tmp_path)
    setting = experiment_in(tmp_path, name=name, storage=storage)
    begin_folder(setting[0])
    Launch(*setting).suggest("a")
    check_optuna_storage(setting[0])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other, _ = experiment_in(elsewhere, name=name, storage=storage)
    if storage is None:
        check_optuna_storage(other)  # each folder has its own journal
        return
    with pytest.raises(RaykdError, match=f"has a study '{name}' already") as caught:
        check_optuna_storage(other)
    assert PostgreSQL.PASSWORD not in str(caught.value)


def test_relative_places_are_taken_from_a_folder(tmp_path: Path) -> None:
    assert storage_address("some/study.journal", tmp_path) == tmp_path / "some/study.journal"
    assert storage_address("journal:///some/study.journal", tmp_path) == Path("/some/study.journal")
    assert (
        storage_address("sqlite:///some/study.db?timeout=9", tmp_path)
        == f"sqlite:///{tmp_path}/some/study.db?timeout=9"
    )
    experiment, _ = experiment_in(tmp_path)
    assert study_storage(experiment.study, Path("/moved")) == Path("/moved/study.journal")


def test_optunas_own_tools_find_the_study_by_raykds_names(tmp_path: Path) -> None:
    file = tmp_path / "all.db"
    launch = Launch(*experiment_in(tmp_path, SPACE, name="found", storage=f"sqlite:///{file}"))
    launch.suggest("a")
    launch.end("a", 0.5)
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{file}")
    assert (summary.study_name, summary.n_trials) == ("found", 1)
    study = optuna.load_study(study_name="found", storage=f"sqlite:///{file}")
    assert study.metric_names == ["validation_accuracy"]
    assert set(study.best_params) == {"temperature.multiplier", "bias.form", "bias.strength"}


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    study = open_study(f"sqlite:///{file}", "study", 0)
    for _ in range(200):
        study.ask().suggest_float("x", 0, 1)
    content = bytearray(file.read_bytes())
    for page in range(2, len(content) // 4096):
        content[4096 * page : 4096 * page + 200] = bytes(200)
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=rf"^study\.storage sqlite:///{file} is damaged: .*\nbring back a copy"):
        open_study(f"sqlite:///{file}", "study", 0)
