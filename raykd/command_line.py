"""From a script's defaults to a run: the command line is the settings, and users' errors end without traceback."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ValidationError
from rich.console import Console

from raykd.config import Experiment
from raykd.errors import RaykdError, SaidError
from raykd.settings_io import friendly, load_experiment, override, without_leftovers
from raykd.storage import disk_error


class _ConfigFile(BaseModel):
    config: Annotated[Path | None, tyro.conf.arg(help="YAML file of settings, laid over the script's own.")] = None


class _Name(BaseModel):
    name: str | None = None


class _Teacher(BaseModel):
    model: _Name = _Name()


class _Names(BaseModel):
    """The names among the arguments; see `raykd.settings_io.without_leftovers`."""

    data: _Name = _Name()
    student: _Name = _Name()
    teacher: _Teacher = _Teacher()


def parse(experiment: Experiment, description: str = "", arguments: Sequence[str] | None = None) -> Experiment:
    """The experiment as the command line changes it: ``--config FILE.yaml`` first, then single settings.

    What the script says of a data set or network ends where another one is named.

    Args:
        experiment: The script's own experiment, shown as defaults by ``--help``.
        description: Shown by ``--help``.
        arguments: Command line without the program's name. None: that of this process.

    Raises:
        RaykdError: the file cannot be read, or a setting in it is wrong.
        SystemExit: help was asked for, or an argument is wrong.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    file, rest = tyro.cli(_ConfigFile, args=arguments, return_unknown_args=True, add_help=False)
    if file.config is not None:
        experiment = load_experiment(file.config, experiment)
    names, _ = tyro.cli(_Names, args=rest, return_unknown_args=True, add_help=False)
    given = {
        "data.name": names.data.name,
        "student.name": names.student.name,
        "teacher.model.name": names.teacher.model.name,
    }
    experiment = without_leftovers(experiment, {name: value for name, value in given.items() if value is not None})
    description = f"{description}\n\n--config FILE.yaml lays a file of settings under those given here."
    muted = io.StringIO()
    try:
        with redirect_stdout(muted), redirect_stderr(muted):
            return tyro.cli(Experiment, args=rest, default=experiment, description=description)
    except SystemExit as end:
        _raise_refused_settings(end)
    # Help, and errors that tyro itself finds, are printed by tyro.
    return tyro.cli(Experiment, args=rest, default=experiment, description=description)


def _raise_refused_settings(end: SystemExit) -> None:
    """Raise a RaykdError if a value that our own settings refused made tyro end the process."""
    section = ""
    cause: BaseException | None = end
    while cause is not None:
        if isinstance(cause, ValidationError):
            raise friendly(cause, section=section) from None
        # tyro's own exception holds the section that it was building.
        section = getattr(cause, "arg", section)
        cause = cause.__cause__ or cause.__context__


QUICK = "--quick"
"""Flag of scripts that have a small run."""


def run(job: Callable[[Experiment], object], experiment: Experiment, quick: Mapping[str, object] | None = None) -> None:
    """Run a script: parse the command line over its experiment, and do the job.

    Ends the process with code 0 if the job returns, 1 on a user's error, and 130 on Ctrl-C.

    Args:
        job: Takes the experiment; its docstring is the script's help.
        experiment: The script's own settings.
        quick: Settings that ``--quick`` lays over them: a run of minutes that shows that the script works. None: the
            script has no such flag.
    """
    description, arguments = inspect.getdoc(job) or "", sys.argv[1:]
    if quick is not None:
        description += f"\n\n{QUICK} runs a small version that ends within minutes."
        if QUICK in arguments:
            arguments = [word for word in arguments if word != QUICK]
            experiment = override(experiment, quick)
    ended_well(lambda: job(parse(experiment, description, arguments)))


def ended_well(job: Callable[[], object]) -> None:
    """Do a job; print an error of the user or the disk without traceback and exit with 1, on Ctrl-C with 130."""
    try:
        job()
    except SaidError:
        sys.exit(1)
    except RaykdError as error:
        _print_error(str(error))
        sys.exit(1)
    except OSError as error:
        if (message := disk_error(error)) is None:
            raise
        _print_error(f"{message}\nmake room there, let this user read and write it, or name another place")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_error(message: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {_escape(message)}")


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
