"""Every recipe is read, checked, described truly by its comments, and trained for two steps on data of its format."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from raykd.command_line import parse
from raykd.config import Experiment
from raykd.data import load_data
from raykd.models import build_model
from raykd.settings_io import load_experiment, override
from raykd.shipped import purpose, shipped
from raykd.training.messages import TrainRequest
from raykd.training.saved import load_model
from raykd.training.teacher_cache import teachers
from tests.helpers.genuine_data import write_cifar, write_images
from tests.helpers.paths import ROOT
from tests.helpers.specs import train

RECIPES = sorted((ROOT / "experiments/recipes").glob("*.yaml"))
BATCH, STEPS = 6, 2
SMALLER = {"timm/resnetv2_152x2_bit": "timm/resnetv2_50x1_bit"}
"""Teachers of 200 million parameters and more, and smaller ones of their family that stand in for them."""

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


@cache
def script(name: str) -> Experiment:
    """The settings of an experiment's script."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"experiments/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment: Experiment = module.EXPERIMENT
    return experiment


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `data` as the recipes expect it."""
    root = tmp_path_factory.mktemp("genuine") / "data"
    write_cifar(root, 10, per_class=4)
    write_cifar(root, 100, classes=10, per_class=12)
    write_images(root / "imagenet/train", count=50)
    write_images(root / "imagenet/val", count=3)
    return root


def identities(experiment: Experiment) -> list[dict[str, Any]]:
    """Everything that decides the weights of the recipe's networks."""
    specs = [experiment.training_spec()]
    if experiment.teacher.source is None:
        specs.append(experiment.standard_teacher_spec())
    if experiment.teacher.kind == "generous":
        specs.append(experiment.generous_teacher_spec())
    return [spec.identity() for spec in specs]


def test_there_is_a_recipe_for_every_pair_and_paper() -> None:
    families = ("cifar100_", "imagenet_", "bias_", "generous_")
    counts = {family: sum(path.stem.startswith(family) for path in RECIPES) for family in families}
    assert counts == {"cifar100_": 9, "imagenet_": 3, "bias_": 3, "generous_": 4}
    assert [path.stem for path in RECIPES] == list(shipped("recipes"))


@each_recipe
def test_a_recipe_gives_the_same_networks_in_every_script(recipe: Path) -> None:
    # With a constant temperature the settings of the other policy have no effect.
    without_effect = {"temperature.multiplier": 1.0, "temperature.loss_weight": "temperature"}
    bases = (Experiment(), script("distill"), script("tune_dkd"), script("train_teacher"))
    loaded = [override(load_experiment(recipe, base), without_effect) for base in bases]
    assert loaded[0].temperature.policy == "constant"
    assert all(identities(other) == identities(loaded[0]) for other in loaded)
    assert {experiment.study.name for experiment in loaded} == {recipe.stem}


@each_recipe
def test_the_comments_say_what_it_is_how_to_run_it_and_which_epoch_is_meant(recipe: Path) -> None:
    first, _, command, *_ = lines = recipe.read_text().splitlines()
    assert first == f"# {purpose(recipe)}"
    assert command.split() == ["#", "python", "experiments/distill.py", "--config", f"{recipe.relative_to(ROOT)}"]
    comments = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    assert re.search(r"Published .*(best|last) epoch", comments)
    assert "What differs: " in comments
    assert max(map(len, lines)) <= 120


def variants_of(recipe: Path) -> list[list[str]]:
    """The words of the other methods that a recipe's comments name."""
    text = re.sub(r"\n# {9,}(?=--)", " ", recipe.read_text())
    found = re.findall(r"^#   \w.*?  +(--.+?)(?: {2,}\(.*)?$", text, re.MULTILINE)
    return [words.split() for words in found]


def settings_of(words: list[str]) -> dict[str, Any]:
    """What words of the command line set. The command line's own parser takes a second for each line."""
    names = [word.removeprefix("--") for word in words[::2]]
    assert all(word.startswith("--") for word in words[::2]) and len(names) == len(words[1::2])
    return {
        {"method": "method.name"}.get(name, name): yaml.safe_load(value)
        for name, value in zip(names, words[1::2], strict=True)
    }


@each_recipe
def test_the_other_methods_of_its_comments_exist(recipe: Path) -> None:
    assert len(variants_of(recipe)) >= 2
    loaded = load_experiment(recipe, script("distill"))
    variants = [loaded, *(override(loaded, settings_of(words)) for words in variants_of(recipe))]
    specs = [each.training_spec().identity() | {"teacher": each.teacher.kind} for each in variants]
    assert all(specs.count(spec) == 1 for spec in specs)


def test_the_command_line_reads_a_recipe_and_the_words_of_its_comments() -> None:
    recipe = next(path for path in RECIPES if path.stem == "imagenet_resnet50_mobilenetv1")
    for words in variants_of(recipe):
        read = parse(script("distill"), arguments=["--config", str(recipe), *words])
        assert read == override(load_experiment(recipe, script("distill")), settings_of(words))


@each_recipe
def test_the_weights_that_a_recipe_names_exist(recipe: Path) -> None:
    experiment = load_experiment(recipe, Experiment())
    source = experiment.teacher.source
    teacher = experiment.teacher.model
    models = [experiment.student, teacher if source is None else teacher.model_copy(update={"weights": source})]
    with torch.device("meta"):
        for model in models:
            build_model(model, num_classes=1000, in_channels=3)


@each_recipe
def test_a_recipe_takes_two_steps(recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    experiment = override(load_experiment(recipe, script("distill")), shortened(recipe))
    info = load_data(experiment.data).info
    assert info.split_sizes["train"] == BATCH * STEPS
    chain = teachers(experiment, info.fingerprint)
    spec = experiment.training_spec()
    student = TrainRequest("student", spec, chain[-1].folder, str(tmp_path / "student"))
    for request in (*chain, student):
        report = train(request)[-1]
        assert report.failure is None
        assert report.finished
        assert torch.isfinite(torch.tensor(list(report.metrics.values()))).all()
    assert "distillation" in report.metrics
    network = load_model(tmp_path / "student").network
    steps = {int(count) for name, count in network.state_dict().items() if name.endswith("num_batches_tracked")}
    # Group norms do not count.
    assert steps == ({STEPS} if any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) else set())


def shortened(recipe: Path) -> dict[str, Any]:
    """Two steps of few and small images, and no downloads."""
    training = {"epochs": 1, "batch_size": BATCH, "warmup_epochs": 0}
    settings = {
        f"{owner}{name}": value for owner in ("training.", "teacher.training.") for name, value in training.items()
    }
    settings |= {"data.train_images": BATCH * STEPS, "data.image_size": 32, "data.loader_processes": 0}
    settings |= {"student.weights": None, "teacher.model.weights": None, "teacher.source": None}
    if (large := load_experiment(recipe, Experiment()).teacher.model.name) in SMALLER:
        settings["teacher.model.name"] = SMALLER[large]
    return settings | {"teacher.cache": "cache"}
