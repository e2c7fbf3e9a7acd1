"""Tests see nothing of the user's: no setting, no home folder, nor what lies in the folder they are started from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

USERS = {
    **{"RAY_ADDRESS": "10.9.9.9:1", "RAY_AUTH_MODE": "disabled", "RAY_NAMESPACE": "theirs"},
    **{"MLFLOW_TRACKING_URI": "http://nowhere", "MLFLOW_TRACKING_TOKEN": "theirs", "OPTUNA_STORAGE": "theirs"},
    **{"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"},
    **{"AWS_PROFILE": "theirs", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_SESSION_TOKEN": "theirs"},
    **{"AWS_ACCESS_KEY_ID": "theirs", "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere", "PGHOST": "nowhere"},
    **{"PGPASSWORD": "theirs", "GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere", "HF_HOME": "/nowhere"},
    **{"XDG_CACHE_HOME": "/nowhere", "TORCH_HOME": "/nowhere", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"},
    **{"SLURM_JOB_ID": "7", "COLUMNS": "40", "NO_COLOR": "1", "FORCE_COLOR": "1", "LC_ALL": "C", "TERM": "dumb"},
}
"""What a shell, a job of a cluster, or a hook of git may hold."""

SEEN = """
import json, os
from pathlib import Path
import tests.conftest
from raykd.config import DataSettings, Experiment
caches = [DataSettings().cache.expanduser(), Experiment().teacher.cache.expanduser()]
print(json.dumps([dict(os.environ), str(Path.home()), list(map(str, caches)), [cache.exists() for cache in caches]]))
"""


def test_no_setting_of_the_user_reaches_a_test(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for junk in (".cache/raykd/data/photos", ".cache/raykd/teachers/theirs", ".ray/auth_token"):
        (home / junk).parent.mkdir(parents=True, exist_ok=True)
        (home / junk).write_text("junk")
    environment = os.environ | USERS | {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SEEN], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    seen, own_home, caches, exist = json.loads(done.stdout)
    assert {name: seen.get(name) for name in USERS if seen.get(name) == USERS[name]} == {}
    assert seen["PATH"] == os.environ["PATH"]
    assert Path(own_home) != home
    assert all(cache.startswith(own_home) for cache in caches)
    assert exist == [False, False]


def test_tests_start_in_an_empty_folder_of_their_own(tmp_path_factory) -> None:
    assert Path.cwd().is_relative_to(tmp_path_factory.getbasetemp())
    assert not Path.cwd().is_relative_to(ROOT)
