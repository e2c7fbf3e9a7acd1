"""The command `raykd`: runs studies, lists and explains what there is, and works on what studies have left."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

import raykd
from raykd.command_line import ended_well, run_command
from raykd.errors import FAILED, RaykdError


def _run_script(command: str, name: str, arguments: Sequence[str]) -> None:
    """Run a script of experiments/ as a command: it gives the defaults, and the command line changes them."""
    from raykd.shipped import script

    sys.argv = [f"raykd {command}", *arguments]
    runpy.run_path(str(script(name)), run_name="__main__")


def tune(*arguments: str) -> None:
    """Tune a distillation: train a teacher, search the student's hyperparameters, keep the best student.

    Args:
        arguments: Settings; see `raykd tune --help`.
    """
    _run_script("tune", "tune_dkd", arguments)


def distill(*arguments: str) -> None:
    """Distil one student, without a search, with the settings as they are.

    Args:
        arguments: Settings; see `raykd distill --help`.
    """
    _run_script("distill", "distill", arguments)


def train_teacher(*arguments: str) -> None:
    """Train a teacher into the cache, where studies find it: a standard one, or a generous one.

    Args:
        arguments: Settings; see `raykd train-teacher --help`.
    """
    _run_script("train-teacher", "train_teacher", arguments)


def generous_teacher(*arguments: str) -> None:
    """Compare the generous teacher, the standard one and its ablations by their students.

    Args:
        arguments: Settings; see `raykd generous-teacher --help`.
    """
    _run_script("generous-teacher", "generous_teacher", arguments)


def claims(*arguments: str) -> None:
    """Test the papers' claims: methods tuned by equal budgets, several seeds, several conditions. Hours.

    Args:
        arguments: Settings, or --quick; see `raykd claims --help`.
    """
    _run_script("claims", "reproduce_claims", arguments)


def doctor(*arguments: str) -> None:
    """Check versions, devices, cluster, folders, storage and MLflow, and say what does not work.

    Args:
        arguments: Settings of the study to come; see `raykd doctor --help`.
    """
    from raykd.study.doctor import main as examine

    examine(arguments)


def list_(kind: Annotated[str, tyro.conf.Positional]) -> None:
    """List what there is to choose from, a line each.

    Args:
        kind: methods, models, datasets, spaces or recipes.
    """
    from raykd.report.catalogue import catalogue, two_columns

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(two_columns(catalogue(kind), width))


def explain(method: Annotated[str, tyro.conf.Positional]) -> None:
    """Explain a method: its formula, source, settings, what it combines with, and how to run it as published.

    Args:
        method: One of `raykd list methods`, or an import path package.module:name.
    """
    from rich.console import Console

    from raykd.report.explanation import explain as explain_method
    from raykd.report.terminal import print_explanation

    print_explanation(explain_method(method), Console(highlight=False))


def plan(*arguments: str) -> None:
    """Simulate a study on 1 to 1,000 GPUs: wall time, GPU hours, and where and why it stops scaling.

    Args:
        arguments: Options and settings; see `raykd plan --help`.
    """
    from raykd.planning.command import main as plan_study

    plan_study(arguments)


def bank(*arguments: str) -> None:
    """Build, list or clear the bank: teachers' stored answers, which all later trials and studies read.

    Args:
        arguments: build STUDY, list, or clear TEACHER; see `raykd bank --help`.
    """
    from raykd.study.bank import main as use_bank

    use_bank(arguments)


def confirm(*arguments: str) -> None:
    """Confirm a finished study's best settings on the test split, over several seeds, against baselines and teachers.

    Args:
        arguments: The study's folder or name, and settings; see `raykd confirm --help`.
    """
    from raykd.study.confirm.confirm import main as confirm_study

    confirm_study(arguments)


def export(
    model: Annotated[str, tyro.conf.Positional],
    /,
    output: Path,
    format: tuple[Literal["torch_export", "onnx", "safetensors"], ...] = ("torch_export", "safetensors"),
    tolerance: float = 1e-4,
    trust: bool = False,
) -> None:
    """Export a finished model for use without raykd: images in [0, 1] in, logits out. Each file is compared with it.

    Args:
        model: Folder of a model, such as outputs/digits-dkd/best, or of a study, whose best student is taken.
        output: Folder for the files and card.json; an earlier export in it is replaced.
        format: torch_export (model.pt2), onnx (model.onnx; pip install 'raykd[export]'), safetensors (weights alone).
        tolerance: Largest difference between the logits of file and model, in units of the model's largest logit;
            float32 differs by about 1e-6 between kernels.
        trust: Load the model even if it is pickled, which runs its maker's code. Those that raykd has trained are not.
    """
    from raykd.deploy.export import export as export_model

    export_model(model, output, format, tolerance, trust=trust)


def register(
    study: Annotated[str, tyro.conf.Positional],
    /,
    name: str,
    alias: str = "champion",
) -> None:
    """Register a study's best student in the model registry of the MLflow that the study was logged to.

    Args:
        study: Folder of the study, or its name below outputs/.
        name: Name of the registered model; it is created if it does not exist.
        alias: Points to this version from now on, as in models:/NAME@champion.
    """
    from raykd.deploy.publish import register as register_best

    register_best(study, name, alias)


def replay(
    run: Annotated[str, tyro.conf.Positional],
    /,
    uri: str | None = None,
    output: Path | None = None,
    data_root: str | None = None,
    teacher_cache: Path | None = None,
    teacher_source: str | None = None,
    cluster_address: str | None = None,
    trust: bool = False,
) -> None:
    """Train one trial's student again, alone, and say whether the result is the same to the bit, or what differs.

    Args:
        run: STUDY/trial-0007 (the study's folder, or its name below --output), or the id of the trial's MLflow run.
        uri: MLflow's tracking URI. None: that of the study. Required with a run's id.
        output: Folder of the studies; the replay is written to STUDY/replay/ in it. None: outputs.
        data_root: As data.root, if the data have been moved since.
        teacher_cache: As teacher.cache.
        teacher_source: As teacher.source.
        cluster_address: As cluster.address. None: the cluster of RAY_ADDRESS, else a local one.
        trust: As teacher.trust.
    """
    from raykd.study.replay import replay as replay_run

    overrides = {
        "data.root": data_root,
        "teacher.cache": teacher_cache,
        "teacher.source": teacher_source,
        "cluster.address": cluster_address,
        "teacher.trust": trust,
    }
    result = replay_run(run, uri, output, {name: value for name, value in overrides.items() if value is not None})
    if not result.same:
        error = RaykdError(f"the replay of {result.trial.name} differs from the trial; see the differences above")
        error.exit_code = FAILED
        raise error


def report(study: Annotated[str, tyro.conf.Positional], /, output: Path | None = None) -> None:
    """Write a study's report: its results, how certain they are, what mattered, where the teacher is wrong, its cost.

    Args:
        study: Folder of the study, or its name below outputs/.
        output: HTML file to write. None: report/report.html in the study's folder, and the study's MLflow run.
    """
    from raykd.report.study.command import report as write_report

    write_report(study, output)


def show(*arguments: str) -> None:
    """Show data: draw training images as a student will see them, augmented, with their labels.

    Args:
        arguments: data, --output FILE.png, and settings; see `raykd show data --help`.
    """
    from raykd.report.show_data import main as show_data

    show_data(arguments)


def sync(study: Annotated[str, tyro.conf.Positional], /, uri: str | None = None) -> None:
    """Deliver to MLflow what a study could not log while the server was away; it fails if something is left then.

    Args:
        study: Folder of the study, or its name below outputs/. Its confirms are delivered as well.
        uri: MLflow's tracking URI, if it is another one by now. None: that of the study.
    """
    from raykd.study.sync import sync as deliver

    deliver(study, uri)


COMMANDS: dict[str, Callable[..., None]] = {
    "tune": tune,
    "distill": distill,
    "train-teacher": train_teacher,
    "generous-teacher": generous_teacher,
    "claims": claims,
    "doctor": doctor,
    "list": list_,
    "explain": explain,
    "plan": plan,
    "bank": bank,
    "confirm": confirm,
    "export": export,
    "register": register,
    "replay": replay,
    "report": report,
    "show": show,
    "sync": sync,
}
"""Each command is a function whose signature is its command line; it imports heavy packages when it is called."""
SCRIPTS = ("tune", "distill", "train-teacher", "generous-teacher", "claims")
WITH_OWN_PARSER = (*SCRIPTS, "doctor", "plan", "bank", "confirm", "show")
"""Commands that parse their own arguments: a study's settings, which are too many for a signature, or subcommands."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's error is printed without traceback, and the exit code is that of the error."""
    words = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        if words == ["--version"]:
            print(f"raykd {raykd.__version__}")
        elif words and words[0] in WITH_OWN_PARSER:
            COMMANDS[words[0]](*words[1:])
        else:
            run_command(COMMANDS, words, "raykd", __doc__ or "")

    ended_well(command)


if __name__ == "__main__":
    main()
