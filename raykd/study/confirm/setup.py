"""From a finished study to the experiment that confirms it, and what is fixed before the test split is touched."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raykd.config import Experiment
from raykd.data import load_data
from raykd.errors import DamagedError, RaykdError
from raykd.places import LOCK, SETTINGS, teachers_folder
from raykd.records import read_json, write_json
from raykd.results.confirm import ChosenTrial, Fixed, Use
from raykd.results.load import RecordedStudy, recorded_study
from raykd.results.study import StudyResult
from raykd.search.optuna_study import remaining_trials
from raykd.settings_io import override, setting_names, setting_value
from raykd.storage import below, check_writable, is_url
from raykd.study.confirm.contenders import seeds_of
from raykd.study.external_teacher import RECORD as EXTERNAL_TEACHER
from raykd.study.folder import check_folder, with_lasting_paths
from raykd.tracking.address import tracking_uri
from raykd.training.folder import description

RECORD = "confirm.json"
"""File of a confirm's folder: what was fixed before the test split was touched."""
USES = "test_split.json"
"""File of a study's folder: by which confirms, and when, its test split was used."""
OWN = ("confirm.", "cluster.", "tracking.", "teacher.cache", "teacher.trust", "study.resume")
"""Settings in which a confirm may differ from its study."""
STUDY = ("study.name", "study.output")
"""Settings that say which study it is."""


@dataclass(frozen=True)
class ConfirmSetup:
    """A confirm that may begin or go on.

    - study: what it confirms
    - result: what that study found
    - experiment: its own, with its own folder, below the study's
    - fixed: what it compares
    - others: other confirms that have used the test split
    """

    study: RecordedStudy
    result: StudyResult
    experiment: Experiment
    fixed: Fixed
    others: tuple[Use, ...]

    def uses(self) -> list[Use]:
        """All uses of the test split as they are known now, this one among them, in the order of time."""
        own = Use(self.experiment.study.name, self.fixed.began)
        others = [use for use in _uses(self.study.folder) if use != own]
        return sorted((*others, own), key=lambda use: use.began)

    def begin(self) -> None:
        """Write what is fixed into the confirm's folder, and into the study's that the test split is used."""
        write_json(self.experiment.folder / RECORD, asdict(self.fixed))
        write_json(self.study.folder / USES, [asdict(use) for use in self.uses()])


def set_up(given: Experiment) -> ConfirmSetup:
    """Find the study that an experiment names and make sure that it can be confirmed.

    Nothing is written, but for an empty folder below a `cluster.storage` on disk.

    Args:
        given: Its `study.name` and `study.output` say which study; besides, its settings of `OWN` are used.

    Raises:
        RaykdError: there is no such study, it is not over, no trial finished, its data has changed, a setting is the
            study's to decide, or the confirm exists and is not resumed, or is another one.
    """
    given = with_lasting_paths(given)
    in_folder = (given.folder / SETTINGS).exists()
    study = recorded_study(given.folder if in_folder else given.study.name, given.study.output)
    result = _finished(study)
    experiment = _own_experiment(given, study)
    fixed = _fixed(study, result, experiment)
    folder = experiment.folder
    check_folder(experiment, "confirm")
    if folder.exists() and not (folder / SETTINGS).exists() and {file.name for file in folder.iterdir()} - {LOCK}:
        raise RaykdError(f"{folder} exists and is no confirm: name another with --confirm.name")
    began = _begun(folder / RECORD)
    if began is not None:
        _check_same(began, fixed, folder)
        fixed = began
    _check_data(study, result)
    own = Use(experiment.study.name, fixed.began)
    return ConfirmSetup(study, result, experiment, fixed, tuple(use for use in _uses(study.folder) if use != own))


def _finished(study: RecordedStudy) -> StudyResult:
    trials = study.experiment.study.trials
    left = remaining_trials(study.study, trials)
    if left > 0:
        raise RaykdError(
            f"study {study.folder} is not over: {left} of {trials} trials have not ended; --resume it first"
        )
    result = study.result
    if result.best is None:
        raise RaykdError(f"study {study.folder} has no finished trial: there is nothing to confirm")
    return result


def _own_experiment(given: Experiment, study: RecordedStudy) -> Experiment:
    """The study's experiment on the test split, with the confirm's own settings and folder."""
    usual = with_lasting_paths(Experiment())
    own: dict[str, Any] = {}
    for name in setting_names():
        value = setting_value(given, name)
        if name in STUDY or value == setting_value(usual, name):
            continue
        if not name.startswith(OWN):
            raise RaykdError(f"{name} is the study's to decide: a confirm takes it from {study.folder / SETTINGS}")
        own[name] = value
    merged = override(study.experiment, own)
    teacher, tracking, storage = merged.teacher, merged.tracking, merged.cluster.storage
    if storage is not None:
        # All confirms have the same names there.
        check_writable(storage, "cluster.storage")
        storage = below(storage, "confirms", study.experiment.study.name)
        if not is_url(storage):
            Path(storage).mkdir(parents=True, exist_ok=True)
    return override(
        merged,
        {
            "cluster.storage": storage,
            "data.held_out": "test",
            "teacher.source": _external_teacher(study, merged) or teacher.source,
            "study.name": merged.confirm.name,
            "study.output": study.folder,
            "study.resume": given.study.resume,
            # Beside the study's own run, wherever that is.
            "tracking.uri": tracking_uri(tracking, study.folder),
            "tracking.experiment": tracking.experiment or study.experiment.study.name,
        },
    )


def _external_teacher(study: RecordedStudy, experiment: Experiment) -> str | None:
    """The folder of the external teacher that the study had: its source may hold another one by now."""
    record = study.folder / EXTERNAL_TEACHER
    if experiment.teacher.source is None or not record.exists():
        return None
    folder = below(teachers_folder(study.experiment), record.read_text(errors="replace").strip())
    return folder if description(folder) is not None else None


def _check_data(study: RecordedStudy, result: StudyResult) -> None:
    data = study.experiment.data
    known: Mapping[str, Any] = result.teacher["data"]
    if load_data(data).info.fingerprint != known["fingerprint"]:
        raise RaykdError(
            f"the images of {data.name} differ from those of study {study.folder}, and so do its splits:\n"
            "bring those back, or search anew"
        )


def _fixed(study: RecordedStudy, result: StudyResult, experiment: Experiment) -> Fixed:
    top, ranked = experiment.confirm.top, result.ranked
    if top > len(ranked):
        raise RaykdError(f"confirm.top is {top}, but {len(ranked)} trials of study {study.folder} have finished")
    trials = tuple(ChosenTrial(each.name, each.values, each.accuracy or 0.0) for each in ranked[:top])
    began = datetime.now(UTC).isoformat(timespec="seconds")
    return Fixed(study.experiment.study.name, trials, tuple(seeds_of(experiment)), began)


def _begun(file: Path) -> Fixed | None:
    def made_of(content: Any) -> Fixed:
        trials = tuple(ChosenTrial(**trial) for trial in content["trials"])
        return Fixed(content["study"], trials, tuple(content["seeds"]), content["began"])

    return read_json(file, made_of, "put it back, or confirm under another name with --confirm.name")


def _check_same(begun: Fixed, now: Fixed, folder: Path) -> None:
    for field in ("trials", "seeds"):
        before, after = (_names(getattr(each, field)) for each in (begun, now))
        if before != after:
            raise RaykdError(
                f"confirm {folder} was begun with {field} {before}, not {after}:\n"
                "resume it as it was begun, or name another with --confirm.name"
            )


def _names(values: tuple[Any, ...]) -> str:
    return ", ".join(value.name if isinstance(value, ChosenTrial) else str(value) for value in values)


def _uses(folder: Path) -> tuple[Use, ...]:
    """All known uses of a study's test split: the list, or where it is damaged or missing, what each confirm says."""
    with suppress(DamagedError):
        if listed := read_json(folder / USES, lambda uses: tuple(Use(**use) for use in uses), ""):
            return listed
    begun = {record.parent.name: _begun(record) for record in sorted(folder.glob(f"*/{RECORD}"))}
    uses = [Use(name, fixed.began) for name, fixed in begun.items() if fixed is not None]
    return tuple(sorted(uses, key=lambda use: use.began))
