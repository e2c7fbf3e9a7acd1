"""docs/own_method.md: all files and commands of the page, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs/own_method.md").read_text()
FILES = dict(re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)```$", PAGE, re.DOTALL | re.MULTILINE))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines()]

# Lays a command over the settings of `raykd distill` as that does, and has a small student taught by its method.
TEACH = """
import runpy, shlex, sys
from pathlib import Path
from raykd.command_line import parse
from raykd.config import TrainingSpec
from raykd.settings_io import override
from raykd.training.classroom import Classroom
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.team import Team

def taught(name, spec, teacher=None):
    room = Classroom(Team())
    reports = list(room.follow(WorkerCommands(enter=(TrainRequest(name, spec, teacher, name),))))
    while room.seated:
        reports += room.follow(WorkerCommands(learn=room.seated))
    assert reports[-1].finished, reports[-1]
    return reports[-1].metrics

small = {"data.train_images": 50, "training.epochs": 2, "training.batch_size": 25}
for number, command in enumerate(sys.argv[1:]):
    _, job, *words = shlex.split(command)
    experiment = override(parse(runpy.run_path(f"experiments/{job}.py")["EXPERIMENT"], arguments=words), small)
    teacher = f"teacher{number}"
    taught(teacher, experiment.training_spec().without_teacher())
    print(experiment.method.name, *sorted(taught(f"student{number}", experiment.training_spec(), teacher)))
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of raykd with the page's files in it."""
    folder = tmp_path_factory.mktemp("own_method")
    for name in ("raykd", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(content)
    (folder / "teach.py").write_text(TEACH)
    (folder / "docs").mkdir()
    return folder


def run(workplace: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(workplace), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=workplace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_holds_a_file_of_each_kind() -> None:
    assert list(FILES) == ["my_methods.py", "raykd/knowledge/methods/js.py"]
    assert len(COMMANDS) == 7


@pytest.mark.xdist_group("ray")
def test_a_method_of_ones_own_teaches(workplace: Path) -> None:
    commands = [command for command in COMMANDS if command.startswith("raykd distill ")]
    lines = run(workplace, sys.executable, "teach.py", *commands).splitlines()
    metrics = {name: rest for name, *rest in map(str.split, lines)}
    assert list(metrics) == ["my_methods:gap", "my_methods:Loudness", "js"]
    assert "distillation" in metrics["my_methods:gap"]
    assert "features" in metrics["my_methods:Loudness"]
    assert "rectified" in metrics["js"]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith(("raykd list ", "raykd explain "))])
def test_it_is_listed_and_explained(workplace: Path, command: str) -> None:
    shown = run(workplace, sys.executable, "-m", "raykd.cli", *shlex.split(command)[1:])
    if "my_methods" in command:
        assert "Distance between the softened answers" in shown
        assert "power  default 2" in shown
    else:
        assert "Jensen-Shannon divergence of the softened answers" in shown


def test_it_is_on_the_page_of_methods_and_in_search_spaces(workplace: Path) -> None:
    (command,) = [command for command in COMMANDS if "methods_page" in command]
    run(workplace, "sh", "-c", command.replace("python", sys.executable, 1))
    assert (
        "| [js](#js) | compares the networks' answers, each sample on its own |"
        in (workplace / "docs/methods.md").read_text()
    )
    (entry,) = re.findall(r"`(method\.js.*?\})`", PAGE)
    (workplace / "space.yaml").write_text(f"{entry}\n")
    load = "print(load_space('./space.yaml', raykd.Experiment()).names)"
    code = f"import raykd; from raykd.search.space_file import load_space; {load}"
    assert run(workplace, sys.executable, "-c", code).strip() == "['method.js.share']"
