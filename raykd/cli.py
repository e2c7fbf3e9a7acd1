"""The command `raykd`: what there is, and what it means. Experiments are scripts, see experiments/."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from raykd.command_line import ended_well
from raykd.errors import RaykdError, unknown_name


def list_(kind: Annotated[str, tyro.conf.Positional]) -> None:
    """List what there is to choose from, a line each.

    Args:
        kind: methods, models, datasets, spaces or recipes.
    """
    from raykd.report.catalogue import aligned, catalogue

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(aligned(catalogue(kind), width))


def explain(method: Annotated[str, tyro.conf.Positional]) -> None:
    """Explain a method: its formula, source, settings, what it combines with, and how to run it as published.

    Args:
        method: One of `raykd list methods`, or an import path package.module:name.
    """
    from rich.console import Console

    from raykd.report.explanation import explain as explained
    from raykd.report.explanation_shown import show_explanation

    show_explanation(explained(method), Console(highlight=False))


def plan(*arguments: str) -> None:
    """Simulate a study on 1 to 1,000 GPUs: wall time, GPU hours, and where it stops scaling, and why.

    Args:
        arguments: Options and settings; see `raykd plan --help`.
    """
    from raykd.study.planning.command import main as plan_study

    plan_study(arguments)


def replay(
    run: Annotated[str, tyro.conf.Positional],
    uri: str | None = None,
    output: Path | None = None,
    data_root: Path | None = None,
    teacher_cache: Path | None = None,
    teacher_source: str | None = None,
    cluster_address: str | None = None,
) -> None:
    """Teach one trial's student again, alone, and say whether it came out the same to the bit, or what differs.

    Args:
        run: STUDY/trial-0007 (the study's folder, or its name below --output), or the id of the trial's MLflow run.
        uri: MLflow's tracking URI. None: the study's own; needed with a run's id.
        output: Folder of the studies; the replay goes into STUDY/replay/ below it. None: outputs.
        data_root: As data.root, where the data lie elsewhere than they did.
        teacher_cache: As teacher.cache.
        teacher_source: As teacher.source.
        cluster_address: As cluster.address. None: the cluster of RAY_ADDRESS, else a local one.
    """
    from raykd.study.replay import replay as replayed

    given = {
        "data.root": data_root,
        "teacher.cache": teacher_cache,
        "teacher.source": teacher_source,
        "cluster.address": cluster_address,
    }
    result = replayed(run, uri, output, {name: value for name, value in given.items() if value is not None})
    if not result.same:
        raise RaykdError(f"{result.trial.name} did not come out the same; see what differs above")


COMMANDS: dict[str, Callable[..., None]] = {"list": list_, "explain": explain, "plan": plan, "replay": replay}
"""Each command is a function whose signature is its command line; heavy imports stand inside."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; users' errors end in a line or two and exit code 1."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]

    def command() -> None:
        if not words[0].startswith("-") and words[0] not in COMMANDS:
            raise unknown_name("command", words[0], COMMANDS)
        if words[0] == "plan":
            plan(*words[1:])  # It takes all settings of a study, too many for a signature.
            return
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="raykd", description=__doc__, args=words)

    ended_well(command)


if __name__ == "__main__":
    main()
