"""From a script's defaults to a run: the command line is the settings, and users' errors end without traceback."""

from __future__ import annotations

import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from raykd.config import Experiment
from raykd.errors import FAILED, RaykdError, SaidError, nearest, shortened, unknown_name
from raykd.progress import standard_output
from raykd.settings_errors import SettingsError
from raykd.settings_help import print_help
from raykd.settings_io import friendly, load_experiment, override, resolve_setting, setting_names, without_leftovers
from raykd.shipped import shipped
from raykd.storage import disk_error, local_path

T = TypeVar("T")


class _ConfigFile(BaseModel):
    config: Annotated[
        str | None,
        tyro.conf.arg(
            aliases=["--experiment"], help="YAML file of settings, or the name of a recipe, laid over the script's own."
        ),
    ] = None


class _Name(BaseModel):
    name: str | None = None


class _Teacher(BaseModel):
    model: _Name = _Name()


class _Names(BaseModel):
    """The names among the arguments; see `raykd.settings_io.without_leftovers`."""

    data: _Name = _Name()
    student: _Name = _Name()
    teacher: _Teacher = _Teacher()


def parse(
    experiment: Experiment,
    description: str = "",
    arguments: Sequence[str] | None = None,
    others: Collection[str] = (),
    program: str | None = None,
) -> Experiment:
    """The experiment as the command line changes it: ``--config FILE_OR_RECIPE`` first, then single settings.

    What the script says of a data set or network ends where another one is named.

    Args:
        experiment: The script's own experiment, shown as defaults by ``--help``.
        description: Shown by ``--help``.
        arguments: Command line without the program's name. None: that of this process.
        others: Names of options that the program knows besides, for errors.
        program: The program's name, for help. None: that of this process.

    Raises:
        RaykdError: the file cannot be read, or a setting in it or an argument is wrong.
        SystemExit: help was asked for.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    file, rest = read_words(_ConfigFile, arguments, add_help=False)
    if file.config is not None:
        experiment = load_experiment(_file_or_recipe(file.config), experiment)
    names, _ = read_words(_Names, rest, add_help=False)
    given = {
        "data.name": names.data.name,
        "student.name": names.student.name,
        "teacher.model.name": names.teacher.model.name,
    }
    experiment = without_leftovers(experiment, {name: value for name, value in given.items() if value is not None})
    if not rest:
        return experiment
    description = (
        f"{description}\n\n--config FILE.yaml, or the name of a recipe (raykd list recipes), lays a file of settings "
        "under those given here."
    )
    if {"-h", "--help"} & set(rest):
        print_help(program or Path(sys.argv[0]).name, description, experiment)
        raise SystemExit(0)
    rest = ["--help" if word == ALL else word for word in rest]
    parsed, unknown = read_words(Experiment, rest, default=experiment, description=description)
    if unknown:
        raise unknown_words(unknown, rest, "setting", ["config", *others, *_aliases(), *setting_names()])
    return parsed


def _file_or_recipe(text: str) -> Path:
    """A file of settings, or the recipe of this name."""
    path = local_path(text)
    recipes = shipped("recipes")
    if not path.exists() and len(path.parts) == 1 and not path.suffix:
        if text not in recipes:
            raise unknown_name("file or recipe", text, recipes, "--config")
        return recipes[text]
    return path


def _aliases() -> list[str]:
    """The short names that some settings have on the command line, without dashes."""
    arguments = [each for name in setting_names() for each in resolve_setting(name).metadata]
    return [alias.lstrip("-") for each in arguments for alias in getattr(each, "aliases", None) or ()]


def read_words(
    wanted: Callable[..., T] | type[T], words: Sequence[str], program: str | None = None, **options: Any
) -> tuple[T, list[str]]:
    """What tyro makes of a command line, and the words that it does not know.

    Args:
        wanted: What is made: a class, or a function that is called.
        words: The command line, without the program's name.
        program: Its name, for help and errors. None: that of this process.
        options: Of `tyro.cli`.

    Raises:
        RaykdError: a word is wrong or missing.
        SystemExit: help was asked for, and was printed.
    """
    for number, word in enumerate(words):
        # Of a shell's variable that is not set.
        if not word or (word.startswith("--") and word.endswith("=")):
            name = word.rstrip("=") or (words[number - 1] if number else "an argument")
            raise RaykdError(f"{name} is empty: give a value, or leave it out")
    output = io.StringIO()

    def read() -> tuple[T, list[str]]:
        return tyro.cli(wanted, args=list(words), prog=program, return_unknown_args=True, **options)

    try:
        with redirect_stdout(output), redirect_stderr(output), _wide_terminal():
            return read()
    except SystemExit as end:
        if end.code:
            raise _refused(end, output.getvalue(), program or sys.argv[0]) from None
    return read()  # Help is printed by tyro, as wide as the terminal is.


def run_command(commands: Mapping[str, Callable[..., None]], words: Sequence[str], program: str, help_: str) -> None:
    """Call one of several functions, as the first word says, with the arguments that the others say.

    Args:
        commands: Each function's signature is its command line.
        words: The command line. Without any, help is printed.
        program: Its name.
        help_: Says what the commands are for.

    Raises:
        RaykdError: a word is wrong or missing, or as the function.
    """
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        tyro.extras.subcommand_cli_from_dict(dict(commands), prog=program, description=help_, args=["--help"])
    if name not in commands:
        raise unknown_name("command", name, commands, program if len(program.split()) > 1 else "")
    command = commands[name]

    @functools.wraps(command)
    def bound(*args: Any, **keywords: Any) -> Callable[[], None]:
        # Called later, so that what it prints is not taken for tyro's.
        return functools.partial(command, *args, **keywords)

    call, unknown = read_words(bound, rest, f"{program} {name}")
    if unknown:
        raise unknown_words(unknown, rest, "option", list(inspect.signature(command).parameters), f"{program} {name}")
    call()


def unknown_words(
    unknown: Sequence[str], words: Sequence[str], kind: str, names: Collection[str], where: str = ""
) -> RaykdError:
    """An error for words of a command line that nothing takes.

    Args:
        unknown: These words.
        words: The whole command line.
        kind: What a word that begins with ``--`` should have named.
        names: All valid names, without dashes.
        where: What does not know them.
    """
    word = unknown[0]
    option, has_value, value = word.partition("=")
    if option.startswith("--") and len(option) > 2:
        name = option.removeprefix("--").replace("-", "_")
        # Those that are there, and that only a file may set, are not worth to be proposed.
        return unknown_name(kind, option, [f"--{known}" for known in names if known != name], where)
    place = f" in {where}" if where else ""
    if has_value and option in names:
        return RaykdError(f"unexpected {word!r}{place}: did you mean '--{option}={value}'?")
    index = list(words).index(word)
    if index and words[index - 1].startswith("--") and words[index - 1] not in unknown:
        return RaykdError(f"{words[index - 1]} takes no value{place}: leave {word!r} out")
    return RaykdError(f"unexpected {shortened(repr(word), 80)}{place}: each value stands after its --NAME; see --help")


@contextmanager
def _wide_terminal() -> Iterator[None]:
    """Let tyro write what it refuses without breaking lines, and words, to fit a terminal."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


IN_PLAIN_WORDS = {
    r"Error parsing (\S+): (invalid literal for int\(\) with base 10:|could not convert string to float:) (.*)": (
        r"\1: \3 is no number, or no whole one where one is needed"
    ),
    r"Error parsing (\S+): (?:Could not find valid parse for arguments:|no type matching \S+ could be instantiated"
    r" from) \[(.*?)\]\.?.*": r"\1 cannot be \2",
    r"Error parsing (\S+): (.*)": r"\1: \2",
    r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*?),?\)\.": r"\2 cannot be \1: give one of \3",
    r"Missing value for argument '(\S+)'\. Expected \d+ values?\.": r"\1 needs a value",
    r"Missing from (.*?): (.*)": r"\1 needs \2",
}
"""What tyro says, as regular expressions, and how raykd says it."""


def _refused(end: SystemExit, printed: str, program: str) -> RaykdError:
    """An error of one or two lines from what tyro has printed in a box, or from what our own settings refused."""
    section = ""
    cause: BaseException | None = end
    while cause is not None:
        if isinstance(cause, SettingsError):
            return friendly(cause, section=section)
        if isinstance(cause, RaykdError):
            return cause
        # tyro's own exception holds the section that it was building.
        section = getattr(cause, "arg", section)
        cause = cause.__cause__ or cause.__context__
    lines = [line.strip("│|╭╮╰╯ ") for line in printed.splitlines()]
    rules = [number for number, line in enumerate(lines) if line and not line.strip("─-")]
    # Between its title and the first rule after it.
    first = rules[0] + 1 if rules and not printed.startswith("╭") else 1
    last = next((number for number in rules if number > first), len(lines))
    text = " ".join(" ".join(lines[first:last]).replace("(required)", "").split())
    for pattern, words in IN_PLAIN_WORDS.items():
        text, found = re.subn(f"^{pattern}$", words, text)
        if found:
            break
    text = text.rstrip(".")
    if choice := re.search(r" cannot be '?(.*?)'?: give one of (.*)$", text):
        near = nearest(choice[1], re.findall(r"'([^']*)'", choice[2]))
        text += f": did you mean {near!r}?" if near else ""
    return RaykdError(f"{text}\nsee {program} --help")


ALL = "--help-all"
"""Flag that shows every setting."""
QUICK = "--quick"
"""Flag of scripts that have a small run."""


def run(job: Callable[[Experiment], object], experiment: Experiment, quick: Mapping[str, object] | None = None) -> None:
    """Run a script: parse the command line over its experiment, and do the job.

    Ends the process with code 0 if the job returns, the code of a `RaykdError`, or 130 on Ctrl-C.

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

    def told_job() -> None:
        parsed = parse(experiment, description, arguments)
        # That takes seconds, and the job's own words come after it. A log has no word of what may be refused.
        if (console := standard_output()).is_terminal:
            console.print(f"{parsed.study.name}: loading PyTorch and Ray", highlight=False, markup=False)
        job(parsed)

    ended_well(told_job)


def ended_well(job: Callable[[], object]) -> None:
    """Do a job; print an error of the user or the disk without traceback and exit with its code, on Ctrl-C with 130."""
    try:
        job()
    except SaidError:
        sys.exit(1)
    except RaykdError as error:
        _print_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if (message := disk_error(error)) is None:
            raise
        _print_error(f"{message}\nmake room there, let this user read and write it, or name another place")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_error(message: str) -> None:
    text = Text.assemble(("error:", "bold red"), " ", _printable(message))
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


def _printable(text: str) -> str:
    """The text with escapes in place of what would steer a terminal, such as a name may hold."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
