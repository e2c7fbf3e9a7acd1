"""Places that Optuna can keep a study in, all on this machine; and a study driven by hand, without a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raykd.config import Experiment, StudySettings
from raykd.study.optuna_storage import storage_of
from raykd.study.record import without_passwords
from raykd.study.searcher import OptunaSearcher, open_study
from raykd.study.space import SearchSpace, load_space

SPACE = """
temperature.multiplier: {low: 0.5, high: 8.0, log: true}
bias.form: {choices: [pair, swap]}
bias.strength: {low: 0.0, high: 1.0, when: {bias.form: pair}}
"""

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
"""Where Debian keeps PostgreSQL's own programs; None without them."""
PASSWORD = "not-to-be-seen"


class PostgreSQL:
    """A server on a free port, which asks for a password. Unlike root, which it refuses, its user owns its folder."""

    def __init__(self) -> None:
        assert PROGRAMS is not None
        self.folder = Path(tempfile.mkdtemp())
        account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        if account:
            shutil.chown(self.folder, **account)
        initdb = [PROGRAMS / "initdb", "--no-sync", "--auth=scram-sha-256", "--username=me", f"--pwfile={secret}"]
        data = self.folder / "data"
        subprocess.run([*initdb, data], check=True, capture_output=True, cwd=self.folder, **account)
        options = ["-D", data, "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1", "-F"]
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen([PROGRAMS / "postgres", *options], stderr=log, cwd=self.folder, **account)
        log.close()
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError((self.folder / "log").read_text())

    def address(self, password: str | None = PASSWORD) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://me{secret}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        shutil.rmtree(self.folder)


def experiment_in(folder: Path, text: str = SPACE, **study: Any) -> tuple[Experiment, SearchSpace]:
    """An experiment below a folder, and its space."""
    file = folder / "space.yaml"
    file.write_text(text)
    experiment = Experiment(study=StudySettings(output=folder / "outputs", space=str(file), **study))
    return experiment, load_space(str(file), without_passwords(experiment))


class Launch:
    """One launch of an experiment's study, driven by hand; to drop it without telling anybody is to kill it."""

    def __init__(self, experiment: Experiment, space: SearchSpace, earlier: Any = (), sizes: Any = None) -> None:
        settings = experiment.study
        place = storage_of(settings, experiment.folder)
        self.study = open_study(
            place, settings.name, settings.seed, settings.objectives, settings.trials, earlier=earlier
        )
        self.searcher = OptunaSearcher(self.study, space, settings.trials, sizes=sizes)

    def suggest(self, name: str) -> dict[str, Any]:
        config = self.searcher.suggest(name)
        assert isinstance(config, dict)
        return config

    def end(self, name: str, accuracy: float, epoch: int = 1, **last: Any) -> None:
        result: Mapping[str, Any] = {"epoch": epoch, "validation_accuracy": accuracy, "finished": True, **last}
        self.searcher.on_trial_complete(name, result=dict(result))
