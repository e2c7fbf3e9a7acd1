"""Every command in README and the docs exists: its subcommands, options, settings and their values."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import raykd
from raykd.cli import COMMANDS, WITH_OWN_PARSER
from raykd.errors import RaykdError
from raykd.settings_io import override, resolve_setting, setting_names
from raykd.shipped import shipped
from raykd.study.confirm.setup import OWN
from tests.helpers.pages import commands
from tests.helpers.paths import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks/README.md"])
SCRIPTS = {path.name for path in (ROOT / "experiments").glob("*.py")}
FLAGS = {"help", "help_all"}
EXAMPLES = {"my_methods", "js", "JensenShannon"}
"""Methods that own_method.md shows how to write; its own test runs their commands."""


@cache
def known() -> dict[str, Any]:
    """Names of settings as the command line has them, with their fields; None for those of raykd's other options."""
    names: dict[str, Any] = {name: resolve_setting(name) for name in setting_names()}
    arguments = [each for info in names.values() for each in info.metadata]
    aliases = [alias for each in arguments for alias in getattr(each, "aliases", None) or ()]
    return names | dict.fromkeys([*(alias.lstrip("-").replace("-", "_") for alias in aliases), "config", "experiment"])


def options(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option with the values that follow it."""
    for number, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            rest = words[number + 1 :]
            end = next((place for place, each in enumerate(rest) if each.startswith("--")), len(rest))
            yield name.replace("-", "_"), [value] if equals else rest[:end]


def others(command: str) -> set[str]:
    """Options of a command that are no settings of a study."""
    if command == "plan":
        from raykd.planning.command import Options

        return {each.name for each in dataclasses.fields(Options)}
    if command == "show":
        from raykd.report.show_data import Options

        return {each.name for each in dataclasses.fields(Options)}
    if command == "bank":
        from raykd.study.bank import build, clear_, list_

        return {name for each in (build, clear_, list_) for name in inspect.signature(each).parameters}
    return {"quick"} if command == "claims" else set()


def check(words: list[str]) -> None:
    """Refuse a command that raykd would refuse for a name, or for the value of a setting."""
    program, *rest = words
    if program == "python":
        script = rest.pop(0).removeprefix("experiments/")
        assert script in SCRIPTS, script
        command = {"tune_dkd.py": "tune", "reproduce_claims.py": "claims"}.get(script, script.removesuffix(".py"))
    elif rest[:1] == ["--version"] or not rest:
        return
    else:
        command = rest.pop(0)
        assert command in COMMANDS, f"no command {command}"
    if command not in (*WITH_OWN_PARSER, "train_teacher", "generous_teacher"):
        parameters = set(inspect.signature(COMMANDS[command]).parameters)
        assert {name for name, _ in options(rest)} <= parameters | FLAGS
        return
    if command == "bank":
        assert {name for name, _ in options(rest)} <= others(command) | FLAGS
        return
    values: dict[str, Any] = {}
    for name, given in options(rest):
        negated = ".".join([*name.split(".")[:-1], name.split(".")[-1].removeprefix("no_")])
        if name in others(command) | FLAGS or any(each in name or each in " ".join(given) for each in EXAMPLES):
            continue
        assert name in known() or negated in known(), f"no setting {name}"
        assert command != "confirm" or program == "python" or name == "resume" or name.startswith(OWN)
        if name in ("config", "experiment"):
            assert given[0].endswith(".yaml") or given[0] in shipped("recipes"), f"no recipe {given[0]}"
        elif known().get(name) is not None and given and not re.search(r"[A-Z]{3,}|^\.\.\.$", given[0]):
            values[name] = _value(name, given)
    override(raykd.Experiment(), values)


def _value(name: str, given: list[str]) -> Any:
    """What a setting is given, as a file of settings would give it."""
    if "Arguments" in str(resolve_setting(name).annotation) or name.endswith("arguments"):
        return dict(pair.split("=", 1) for pair in given)
    parsed = [yaml.safe_load(each) for each in given]
    several = "tuple" in str(resolve_setting(name).annotation)
    return parsed if several else given[0] if isinstance(parsed[0], dict) else parsed[0]


def test_pages_hold_commands() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page: Path) -> None:
    for words in commands(page):
        try:
            check(words)
        except (AssertionError, RaykdError) as error:
            pytest.fail(f"{shlex.join(words)}: {error}", pytrace=False)


@pytest.mark.parametrize(
    "wrong",
    [
        "raykd tun --study.trials 3",
        "raykd tune --study.trails 3",
        "raykd tune --bias.form pears",
        "raykd confirm outputs/x --training.epochs 3",
        "raykd export outputs/x --formats onnx",
        "raykd distill --config cifar100_resnet56_resnet21",
        "python experiments/tune.py",
    ],
)
def test_what_does_not_exist_is_seen(wrong: str) -> None:
    with pytest.raises((AssertionError, RaykdError)):
        check(shlex.split(wrong))
