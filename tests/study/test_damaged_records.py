"""Every file of a study's folder that is read again is named where it is damaged, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import raykd
from raykd.config import Experiment, TrackingSettings
from raykd.errors import DamagedError, RaykdError
from raykd.places import FINALISTS, SETTINGS, TEACHER
from raykd.report.study.facts import CONFIRMED, facts_of
from raykd.results.finalists import Finalist, Finalists
from raykd.results.load import load_study, recorded_study
from raykd.saved_settings import CHECKSUM, load_saved, save_experiment
from raykd.settings_io import override
from raykd.study import external_teacher, warm_start
from raykd.study.confirm.setup import RECORD, _begun
from raykd.study.folder import begin_folder, check_folder, with_lasting_paths
from tests.helpers.finished_models import finished_study
from tests.helpers.small_study import small_experiment


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def told(file: Path, read: Callable[[], object]) -> str:
    """What is said of a damaged file: two lines that begin with its name."""
    with pytest.raises(DamagedError) as raised:
        read()
    message = str(raised.value)
    assert message.startswith(f"{file} is damaged: ")
    assert len(message.splitlines()) == 2
    return message


@pytest.fixture
def resumed(tmp_path: Path) -> Experiment:
    """A study that was begun, as it is resumed."""
    experiment = with_lasting_paths(small_experiment(tmp_path))
    begin_folder(experiment)
    return override(experiment, {"study.resume": True})


@pytest.mark.parametrize("harm", [cut, flip, empty])
def test_damaged_settings_are_not_taken_for_others(harm: Callable[[Path], None], resumed: Experiment) -> None:
    check_folder(resumed)
    file = resumed.folder / SETTINGS
    harm(file)
    assert "bring back a copy" in told(file, lambda: raykd.tune(resumed))
    told(file, lambda: recorded_study(resumed.folder))


def test_every_cut_of_the_settings_is_found(resumed: Experiment) -> None:
    file = resumed.folder / SETTINGS
    content = file.read_bytes()
    for length in range(0, len(content) - 1, 37):
        file.write_bytes(content[:length])
        with pytest.raises(RaykdError, match=f"^{file} "):
            load_saved(file)


def test_settings_that_a_user_has_changed_are_read_without_their_checksum(resumed: Experiment) -> None:
    """So are those of earlier releases, which had none."""
    file = resumed.folder / SETTINGS
    first, _, rest = file.read_bytes().partition(b"\n")
    assert first.startswith(CHECKSUM)
    file.write_bytes(rest.replace(b"trials: 6", b"trials: 7"))
    assert load_saved(file).study.trials == 7
    save_experiment(load_saved(file), file)
    assert load_saved(file).study.trials == 7


@pytest.mark.parametrize("harm", [cut, empty])
@pytest.mark.parametrize("name", [TEACHER, FINALISTS, str(CONFIRMED)])
def test_damaged_records_of_a_finished_study_are_named(harm: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    folder = experiment.folder
    Finalists((Finalist("plain", None, 0, 0.5, {1001: 0.5}),), 1).write(folder)
    (folder / CONFIRMED).parent.mkdir()
    (folder / CONFIRMED).write_text('{"table": []}\n')
    facts_of(folder)
    harm(folder / name)
    message = told(folder / name, lambda: facts_of(folder))
    assert "--resume" in message
    if name != str(CONFIRMED):
        told(folder / name, lambda: load_study(folder))


def test_a_damaged_record_of_an_external_teacher_is_named(resumed: Experiment) -> None:
    file = resumed.folder / external_teacher.RECORD
    file.write_text("external-0123456789abcdef\n")
    for harm in (cut, empty):
        harm(file)
        told(file, lambda: external_teacher._begun_with(resumed.folder))


def test_damaged_records_of_warm_starts_and_confirms_are_named(resumed: Experiment) -> None:
    folder = resumed.folder
    readers: dict[str, Callable[[], object]] = {
        warm_start.RECORD: lambda: warm_start.earlier_trials(resumed, None, ""),
        RECORD: lambda: _begun(folder / RECORD),
    }
    for name, read in readers.items():
        (folder / name).write_text('[{"name":')
        told(folder / name, read)
