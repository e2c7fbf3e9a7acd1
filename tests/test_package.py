"""What users get: a light import, a wheel with its search spaces and recipes, a command line whose errors are short."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
import zipfile

import pytest

import raykd
from raykd.command_line import parse, run
from raykd.config import Experiment
from tests.helpers.paths import ROOT
from tests.helpers.scripts import failed_script

FOLDERS = ("search_spaces", "experiments/recipes")
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))
JOBS = ("tune_dkd", "distill", "train_teacher", "generous_teacher", "reproduce_claims")
TUNE = ROOT / "experiments/tune_dkd.py"


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("raykd", "torch ray mlflow optuna"),
        ("raykd.config", "torch ray mlflow"),
        ("raykd.search.trial", "torch mlflow sqlalchemy"),
        ("raykd.results.load", "ray torch mlflow"),
        ("raykd.training.classroom", "ray torchvision"),
    ],
)
def test_importing_does_not_pay_for_what_is_not_needed(module, absent):
    code = f"import {module}, sys; print(*[name for name in {absent.split()} if name in sys.modules])"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_every_public_name_can_be_had():
    for name in raykd.__all__:
        assert getattr(raykd, name) is not None
    with pytest.raises(AttributeError, match="tuna"):
        _ = raykd.tuna


def exists(name: str) -> bool:
    """Whether a dotted name is that of a module, or of an attribute in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_module_and_attribute_that_raykd_refers_to_exists():
    texts = {file: file.read_text() for file in (ROOT / "raykd").rglob("*.py")}
    # Tags of MLflow's runs begin as raykd's modules do; the code has them as strings.
    tags = {tag for text in texts.values() for tag in re.findall(r"[\"'](raykd\.\w+)", text) if not exists(tag)}
    references = {(file, name) for file, text in texts.items() for name in re.findall(r"`(raykd(?:\.\w+)+)", text)}
    assert len(references) > 50
    dead = [(file, name) for file, name in references if ".".join(name.split(".")[:2]) not in tags and not exists(name)]
    assert dead == []


def test_a_wheel_finds_its_search_spaces_and_recipes_anywhere(tmp_path):
    built = python("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist"), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import raykd; from raykd.search.space_file import load_space, space_names\n"
        "from raykd.shipped import script, shipped\n"
        "print(load_space('dkd_bias', raykd.Experiment()).source)\n"
        "print(*space_names())\n"
        "print(*shipped('spaces'))\n"
        "print(*shipped('recipes'))\n"
        f"print(*map(script, {JOBS}))"
    )
    found = python("-c", code, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")})
    assert found.returncode == 0, found.stderr
    source, *names, scripts = found.stdout.splitlines()
    assert source == str(tmp_path / "site/raykd/search_spaces/dkd_bias.yaml")
    spaces, recipes = (sorted(path.stem for path in (ROOT / folder).glob("*.yaml")) for folder in FOLDERS)
    assert [line.split() for line in names] == [spaces, spaces, recipes]
    site = tmp_path / "site/raykd"
    assert scripts.split() == [str(site / "experiments" / f"{name}.py") for name in JOBS]
    assert (site / "py.typed").exists()
    (entry_points,) = (tmp_path / "site").glob("raykd-*.dist-info/entry_points.txt")
    assert "raykd = raykd.cli:main" in entry_points.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_explains_every_setting(script):
    shown = python(str(script), "--help-all").stdout
    assert "--config FILE.yaml" in shown
    for words in ("--temperature.multiplier FLOAT", "--cluster.seats", "--tracking.uri", "--resume"):
        assert words in shown


def test_the_command_line_wins_over_the_file_and_the_file_over_the_script(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 3, batch_size: 10}\nmethod: {name: kd}\n")
    student = raykd.ModelSettings(name="resnet8", arguments={"width": 0.5, "depth": 3})
    script = Experiment(student=student, training=raykd.TrainingSettings(epochs=7, learning_rate=0.3))
    parsed = parse(
        script, arguments=["--config", str(file), "--training.epochs", "5", "--student.arguments", "width=2"]
    )
    assert parsed.training.epochs == 5
    assert parsed.training.batch_size == 10
    assert parsed.training.learning_rate == 0.3
    assert parsed.method.name == "kd"
    assert parsed.student.arguments == {"width": 2}
    assert parse(script, arguments=[]) == script
    assert parse(script, arguments=["--student.arguments"]).student.arguments == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--student.name", "resnet9"], ["unknown model 'resnet9'", "'resnet8'"]),
        (["--method", "dkdd"], ["method.name", "unknown method 'dkdd'", "'dkd'"]),
        (["--method", "mse", "--bias.strength", "1"], ["method mse", "bias.strength 1"]),
        (["--method", "fitnet", "--method.student_layers", "layer9"], ["layer9", "method.student_layers"]),
        (["--method", "kd", "--method.student_layers", "layer1"], ["method kd uses no hint layers"]),
        (["--bias.strength", "2"], ["bias.strength", "less than or equal to 1"]),
        (["--data.name", "digit"], ["unknown data set 'digit'", "'digits'"]),
        (["--study.space", "dkd_bais"], ["unknown search space 'dkd_bais'", "'dkd_bias'"]),
        (["--config", "absent.yaml"], ["absent.yaml"]),
        (["--data.name", "cifar10", "--data.root", "nowhere"], ["nowhere", "data.root"]),
        (["--tracking.uri", "ftp://somewhere"], ["tracking.uri", "ftp"]),
        (["--student.name", "no_such_package:build"], ["no_such_package"]),
    ],
)
def test_a_users_error_ends_in_two_lines_and_leaves_nothing(
    tmp_path, monkeypatch, capfd, caplog, recwarn, arguments, words
):
    arguments = [*arguments, "--teacher.cache", "cache"]
    message = failed_script(TUNE, arguments, tmp_path, monkeypatch, capfd, caplog, recwarn)
    assert message.startswith("error: ")
    assert len(message.splitlines()) <= 2
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "outputs").exists()


@pytest.mark.xdist_group("ray")
def test_an_error_after_all_imports_and_rays_start_ends_in_two_lines_as_well(tmp_path):
    done = python(str(TUNE), "--cluster.classrooms", "99", "--teacher.cache", "cache", cwd=tmp_path)
    assert done.returncode == 2
    # Ray itself tells of a machine without any network.
    lines = [line for line in done.stderr.splitlines() if "Failed to determine local IP" not in line]
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2
    assert "Traceback" not in done.stdout + done.stderr
    for words in ("99 workers", "do not fit"):
        assert words in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_wrong_value_is_refused_by_name(tmp_path):
    script = str(ROOT / "experiments/tune_dkd.py")
    wrong_value = python(script, "--bias.strength", "2", cwd=tmp_path)
    assert wrong_value.returncode != 0
    assert "less than or equal to 1" in wrong_value.stderr + wrong_value.stdout
    wrong_name = python(script, "--bias.strenght", "1", cwd=tmp_path)
    assert wrong_name.returncode != 0
    assert "--bias.strength" in wrong_name.stderr + wrong_name.stdout


def test_a_job_that_is_interrupted_or_wrong_does_not_exit_with_zero(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["job"])

    def wrong(experiment: Experiment) -> None:
        raise raykd.RaykdError("no [good]\ndo this")

    def interrupted(experiment: Experiment) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(wrong, Experiment())
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: no [good]\ndo this\n"
    with pytest.raises(SystemExit) as ended:
        run(interrupted, Experiment())
    assert ended.value.code == 130
