"""The command `raykd confirm`: the best settings trained again beside baselines, and measured on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from rich.console import Console

from raykd.command_line import ALL, parse
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.models import parameter_count
from raykd.places import SETTINGS
from raykd.records import write_json
from raykd.results.confirm import ConfirmResult, StudentRow, TeacherRow
from raykd.results.confirm_table import markdown, show
from raykd.results.load import recorded_study
from raykd.settings_help import print_help
from raykd.settings_io import override, setting_names
from raykd.storage import local_path, write
from raykd.study.confirm.contenders import BASELINES, contenders, named_teachers
from raykd.study.confirm.setup import OWN, RECORD, ConfirmSetup, set_up
from raykd.study.contenders import Contender, Contest
from raykd.study.networks import student_network, teacher_network
from raykd.study.preflight import rehearse
from raykd.study.session import Session, open_session, untrained
from raykd.tracking.parent_run import tag_study
from raykd.training.folder import description

RESULT, TABLE = "result.json", "table.md"
MOST_SEATS = 8
"""Of a classroom, unless the settings say otherwise: one for each contender, so that those of a seed share a class."""

HELP = """Confirm a finished study.

STUDY is the study's folder, or its name below study.output. Of the settings only confirm, cluster, tracking,
teacher.cache and --resume may be given; all else is the study's."""


def confirm(experiment: Experiment, console: Console | None = None) -> ConfirmResult:
    """Teach a finished study's best settings anew beside baselines, and measure all on the test split.

    The trials, the plain student, and KD and DKD as published learn from train and validation, each under several
    seeds, at the same budget. Everything is written to `outputs/<study>/<confirm.name>/` and to MLflow beside the
    study's run; with `study.resume` an interrupted confirm goes on, and a finished one is only shown.

    Args:
        experiment: Names the study by `study.name` and `study.output`; of the rest only `confirm`, `cluster`,
            `tracking`, `teacher.cache` and `study.resume` are used, where they are not at their defaults.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: there is no such study, it is not over, something in the settings is wrong, or the standard teacher
            or all students failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    setup = set_up(experiment)
    others = [trial.values for trial in setup.fixed.trials]
    with open_session(setup.experiment, "confirm", console, held_out="test", others=others, rehearsed=False) as session:
        contest = _contest(setup, session)
        if open_work := untrained(contest.requests):
            cluster = session.experiment.cluster
            seats = cluster.seats or min(len(contest.contenders), MOST_SEATS)
            session.open_cluster(session.experiment.confirm.seeds, cluster.model_copy(update={"seats": seats}))
            _begin(setup, session, contest)
            with session.classrooms(_plan_lines(setup, contest)) as classrooms:
                contest.train(classrooms.broker)
        result = _result(setup, session, contest)
        if open_work or not (session.folder / TABLE).exists():
            write_json(session.folder / RESULT, result.as_data())
            write(session.folder, TABLE, markdown(result).encode())
            session.tracker.study_metrics(result.summary())
            for name in (RESULT, TABLE):
                session.tracker.artifact(session.folder / name)
        show(result, session.console)
        return result


def main(arguments: Sequence[str]) -> None:
    """Confirm the study that the command line names.

    Raises:
        RaykdError: no study is named, or it cannot be confirmed.
    """
    words = list(arguments)
    if {"-h", "--help", ALL} & set(words):
        print_help(
            "raykd confirm STUDY", HELP, Experiment(), [each for each in setting_names() if each.startswith(OWN)]
        )
        return
    if not words or words[0].startswith("-"):
        raise RaykdError("raykd confirm needs a study first: its folder, or its name below outputs/")
    study, *settings = words
    folder = local_path(study).absolute()
    named = {"study.name": study}
    if (folder / SETTINGS).exists():
        named = {"study.name": folder.name, "study.output": str(folder.parent)}
    elif len(Path(study).parts) > 1:
        recorded_study(study)  # It says what is wrong.
    confirm(parse(override(Experiment(), named, "raykd confirm"), HELP, settings))


def _contest(setup: ConfirmSetup, session: Session) -> Contest:
    compared = contenders(session.experiment, setup.fixed.trials, session.data.fingerprint)
    for contender in compared:
        rehearse(contender.experiment, session.data)
    return Contest(session, compared, named_teachers(session.experiment, compared, session.data.fingerprint))


def _begin(setup: ConfirmSetup, session: Session, contest: Contest) -> None:
    """Write down, in the folders and in MLflow, what is fixed and that the test split is used from now on."""
    fixed, study, settings = setup.fixed, setup.study, session.experiment.confirm
    session.make_folder()
    setup.begin()
    tags = {"raykd.test_split": ", ".join(map(str, setup.uses()))}
    run = tag_study(study.experiment.tracking, study.folder, fixed.study, tags)
    tags |= {"raykd.study": fixed.study} | ({"raykd.study_run": run} if run else {})
    winner = fixed.trials[0].name
    parameters = {"confirm.top": settings.top, "confirm.seeds": settings.seeds, "winner": winner}
    session.begin(parameters, tags, [session.folder / RECORD], contest.table)


def _plan_lines(setup: ConfirmSetup, contest: Contest) -> dict[str, str]:
    best, others = setup.fixed.trials[0], ", ".join(map(str, setup.others))
    names = ", ".join(contender.name for contender in contest.contenders)
    return {
        "confirms": f"{setup.fixed.study}; its winner is {best.name}, {best.accuracy:.2%} on the validation split",
        "students": f"{len(contest.students)}: {names}; {contest.count()}",
        "test split": f"no longer fresh: used by {others}, too" if others else "not used before",
    }


def _result(setup: ConfirmSetup, session: Session, contest: Contest) -> ConfirmResult:
    # Those of the folds teach as one, and are shown as one.
    whole = [teacher for teacher in contest.teachers if teacher.request.spec.data.left_out is None]
    parameters = {t.name: parameter_count(teacher_network(t.experiment, session.data)) for t in whole}
    models = [(teacher.name, description(teacher.request.folder)) for teacher in whole]
    return ConfirmResult(
        folder=session.folder,
        fixed=setup.fixed,
        teachers=tuple(TeacherRow(name, parameters[name], model) for name, model in models if model),
        rows=tuple(_row(contest, contender, session, parameters) for contender in contest.contenders),
        images=session.data.split_sizes["test"],
        others=setup.others,
        place=session.tracker.describe(),
    )


def _row(contest: Contest, contender: Contender, session: Session, parameters: dict[str, int]) -> StudentRow:
    teacher = contest.teacher_of(contender)
    return StudentRow(
        name=contender.name,
        seeds=tuple(contender.students),
        students=contest.finished(contender),
        baseline=contender.name in BASELINES,
        teacher=teacher,
        parameters=parameter_count(student_network(contender.experiment, session.data)),
        teacher_parameters=parameters[teacher] if teacher is not None else None,
        values=contender.values,
    )
