"""The bank: teachers' answers to the training images, stored for all later trials and studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.filesize import decimal
from rich.progress import track

from raykd.command_line import run_command
from raykd.config import Experiment, TeacherSettings
from raykd.data import DataInfo, WholeViews, load_data, training_batches
from raykd.errors import RaykdError, unknown_name
from raykd.places import teachers_folder
from raykd.results.load import recorded_study, recorded_teacher
from raykd.results.tables import show_narrow
from raykd.settings_io import override
from raykd.storage import below, check_creatable, files_below, name_of
from raykd.tracking.load_model import untrusted
from raykd.training.bank.bank import Bank, BankSize, about_views
from raykd.training.bank.parts import StoredViews, clear, stored_views
from raykd.training.build import autocast_type
from raykd.training.cross_fitting import load_teacher
from raykd.training.folder import description
from raykd.training.saved import is_pickled
from raykd.training.teacher_cache import teachers
from raykd.training.team import Team

DEFAULT_CACHE = TeacherSettings().cache
NONE_LIVE = "none: images are streamed from files, and the teacher answers each batch once for a class"


def bank_line(experiment: Experiment, data: DataInfo | None) -> str:
    """What a run stores of its teacher's answers, in a line.

    Args:
        experiment: With an external teacher's folder as `teacher.source`.
        data: The images; None: they are streamed.
    """
    settings = experiment.bank
    if settings.mode == "off":
        return "off: the teacher answers each batch once for a class"
    if data is None:
        return NONE_LIVE
    size = BankSize.of(settings, data, experiment.training.epochs)
    stored = stored_count(experiment, data)
    logits = f"the teacher's logits for {size.views} view{'' if size.views == 1 else 's'}"
    budget = f"{settings.budget:g} GiB (bank.budget)"
    if size.fitting < size.views:
        line = f"{logits} take {decimal(size.views * size.view_size)}; {size.fitting} of them fit into {budget}"
    else:
        line = f"{logits}, {decimal(size.views * size.view_size)} of at most {budget}"
    return line + (f"; {stored} are stored already" if stored else "")


def stored_count(experiment: Experiment, data: DataInfo) -> int:
    """How many views of an experiment's images its teacher's bank holds; see `bank_line`."""
    found = stored_views(teachers(experiment, data.fingerprint)[-1].folder)
    wanted = about_views(experiment.bank, data)
    return max((each.views for each in found if wanted.items() <= each.about.items()), default=0)


def list_(
    cache: Path = DEFAULT_CACHE,
    storage: str | None = None,
) -> None:
    """List the stored answers of all teachers.

    Args:
        cache: As teacher.cache.
        storage: As cluster.storage, where studies had one.
    """
    console = Console(highlight=False)
    found = _all_stored(cache, storage)
    rows = [_row(each) for each in found]
    folder = teachers_folder(_experiment(cache, storage))
    total = f"{decimal(sum(each.size for each in found))} in {folder}"
    if not rows:
        console.print(f"no answers are stored in {folder}", soft_wrap=True)
        return
    headings = ("teacher", "network", "data", "views", "seed", "precision", "size")
    notes = [
        total,
        "seed: of the views; in brackets: the largest rounding of a logit",
        "raykd bank clear TEACHER deletes them",
    ]
    show_narrow(console, "stored answers of teachers", headings, rows, notes)


def build(study: Annotated[str, tyro.conf.Positional], /, output: Path | None = None, trust: bool = False) -> None:
    """Compute and store the answers of a study's teacher to all views that are not stored yet, in this process.

    Args:
        study: Folder of a study whose teacher is trained, or its name below --output.
        output: Folder of the studies. None: outputs.
        trust: As teacher.trust.
    """
    recorded = recorded_study(study, output)
    experiment, folder = recorded.experiment, recorded_teacher(recorded.folder)["folder"]
    if experiment.bank.mode == "off":
        raise RaykdError(f"study {recorded.folder} has bank.mode off: its trials would not read what is stored")
    team = Team(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    data = load_data(experiment.data).to(team.device)
    images = training_batches(data, batch_size=experiment.training.batch_size, device=team.device)
    console = Console(highlight=False)
    if not isinstance(images, WholeViews):
        console.print(NONE_LIVE)
        return
    precision = autocast_type(experiment.training, team.device)
    # A study's folder may come from somebody else, and name a teacher of his.
    model = description(folder)
    if model is not None and is_pickled(model) and not trust:
        raise untrusted(f"the teacher in {folder}", "--trust")
    check_creatable(folder, "the teacher's folder")
    teacher = load_teacher(folder, data, experiment.data.seed, precision, team.device)
    bank = Bank(experiment.bank, teacher, images, data.info, team)
    size = BankSize.of(experiment.bank, data.info, experiment.training.epochs)
    stored = sum(map(bank.store, track(range(size.fitting), "answers to views", console=console)))
    console.print(
        f"{stored} of {size.views} views are stored in {folder} ({decimal(stored * size.view_size)})", soft_wrap=True
    )


def clear_(
    teacher: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    all: bool = False,
    cache: Path = DEFAULT_CACHE,
    storage: str | None = None,
) -> None:
    """Delete stored answers. Nothing is lost: a study that needs them computes them again.

    Args:
        teacher: Names of teachers, as `raykd bank list` shows them.
        all: Those of all teachers.
        cache: As teacher.cache.
        storage: As cluster.storage, where studies had one.
    """
    folders: dict[str, list[StoredViews]] = {}
    for each in _all_stored(cache, storage):
        folders.setdefault(each.teacher, []).append(each)
    names = {name_of(folder): folder for folder in folders}
    if not teacher and not all:
        raise RaykdError("name the teachers whose answers are to be deleted (raykd bank list), or give --all")
    for name in teacher:
        if name not in names:
            raise unknown_name("teacher", name, names, "raykd bank list")
    chosen = [names[name] for name in (names if all else teacher)]
    for folder in chosen:
        clear(folder)
    freed = sum(each.size for folder in chosen for each in folders[folder])
    Console(highlight=False).print(f"deleted: {decimal(freed)} of {len(chosen)} teachers")


def main(arguments: Sequence[str]) -> None:
    """Run `raykd bank`.

    Raises:
        RaykdError: there is no such study or teacher, or the storage does not answer.
    """
    run_command({"build": build, "list": list_, "clear": clear_}, arguments, "raykd bank", __doc__ or "")


def _experiment(cache: Path, storage: str | None) -> Experiment:
    return override(Experiment(), {"teacher.cache": cache.expanduser(), "cluster.storage": storage})


def _all_stored(cache: Path, storage: str | None) -> list[StoredViews]:
    root = teachers_folder(_experiment(cache, storage))
    names = sorted({file.partition("/")[0] for file in files_below(root)})
    return [each for name in names for each in stored_views(below(root, name))]


def _row(stored: StoredViews) -> tuple[str, ...]:
    about, model = stored.about, description(stored.teacher) or {}
    network = model.get("lesson", {}).get("student", {}).get("name", "")
    seed, error = about.get("view_seed"), None if about.get("precision") == "float32" else stored.error
    rounding = f" ({error:.0e})" if error else ""
    return (
        name_of(stored.teacher),
        network,
        str(about.get("data", "")),
        str(stored.views),
        "any" if seed is None else str(seed),
        f"{about.get('precision', '')}{rounding}",
        decimal(stored.size),
    )
