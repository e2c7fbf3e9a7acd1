"""What `ray job submit` uploads: the code and nothing else; and the runtime environment for bare nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private import ray_constants
from ray._private.runtime_env import packaging
from ray.runtime_env import RuntimeEnv

from tests.helpers.paths import ROOT

MIB = 2**20


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A working checkout: the repository's files, and large files as they accumulate beside them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.splitlines()
    if listed.returncode:
        pytest.skip("no git checkout")
    root = tmp_path / "checkout"
    for name in names:
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    large = [
        *(".venv/lib/torch.so", "venv/lib/torch.so", ".git/objects/pack", "outputs/digits/best/model.safetensors"),
        *("outputs/digits/mlflow.db", "data/train.bin", "teacher.pt", "photos.tar.gz", "raykd/__pycache__/a.pyc"),
    ]
    for name in large:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        os.truncate(root / name, 11 * MIB)
    return root


def uploaded(root: Path, package: Path, excludes: list[str]) -> zipfile.ZipFile:
    """The package that Ray makes of a working directory before it sends it."""
    packaging.create_package(
        str(root),
        package,
        include_gitignore=True,
        excludes=[*ray_constants.get_runtime_env_default_excludes(), *excludes],
    )
    return zipfile.ZipFile(package)


@pytest.mark.parametrize("with_runtime_env", [False, True])
def test_a_job_uploads_only_the_code(checkout: Path, tmp_path: Path, with_runtime_env: bool) -> None:
    excludes = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())["excludes"] if with_runtime_env else []
    package = tmp_path / "package.zip"
    names = set(uploaded(checkout, package, excludes).namelist())
    # Unpacked as well: the large files here would be small in the package, because they are empty.
    assert package.stat().st_size < 10 * MIB
    assert sum(file.file_size for file in zipfile.ZipFile(package).infolist()) < 10 * MIB
    needed = {
        str(file.relative_to(checkout))
        for folder in ("raykd", "experiments", "search_spaces")
        for file in (checkout / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert len(needed) > 100 and not needed - names
    assert not [name for name in names if name.startswith(("tests/", "outputs/", ".venv/", "data/"))]


def test_the_runtime_environment_has_all_dependencies_of_raykd_except_ray() -> None:
    settings = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())
    RuntimeEnv(**settings)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = [name for name in project["dependencies"] if not name.startswith("ray[")]
    assert settings["pip"]["packages"] == dependencies
