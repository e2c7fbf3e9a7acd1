"""Which studies can be confirmed, under which settings, and what is written down before the test split is touched."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from raykd.cli import main
from raykd.config import DataSettings, Experiment, ModelSettings, StudySettings, TeacherSettings
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.places import JOURNAL, SETTINGS
from raykd.results.confirm import Use
from raykd.saved_settings import save_experiment
from raykd.search.optuna_study import open_study
from raykd.settings_io import override
from raykd.study.confirm.setup import RECORD, USES, set_up
from raykd.study.external_teacher import RECORD as EXTERNAL_TEACHER
from raykd.study.folder import begin_folder, remember_trained_teacher
from raykd.training.folder import write_description

ACCURACIES = (0.8, 0.9, 0.85)


@pytest.fixture(scope="module")
def data():
    return load_data(DataSettings(name="digits")).info


@pytest.fixture
def study(tmp_path: Path, data) -> Experiment:
    """A study of three trials that is over, as its folder has it."""
    experiment = Experiment(
        data=DataSettings(name="digits"),
        teacher=TeacherSettings(model=ModelSettings(name="resnet8"), cache=tmp_path / "cache"),
        study=StudySettings(name="done", output=tmp_path / "outputs", trials=len(ACCURACIES)),
    )
    begun(experiment, data.fingerprint, ACCURACIES)
    return experiment


def begun(experiment: Experiment, fingerprint: str, accuracies: tuple[float, ...]) -> None:
    folder = begin_folder(experiment)
    record = open_study(folder / JOURNAL, experiment.study.name, 0)
    for accuracy in accuracies:
        add(record, accuracy)
    metrics = {"validation_accuracy": 0.95}
    remember_trained_teacher(folder, {"data": {"fingerprint": fingerprint}, "metrics": metrics, "folder": "teacher"})


def add(record: optuna.Study, accuracy: float) -> None:
    name = "temperature.multiplier"
    record.add_trial(
        create_trial(
            params={name: 1 + accuracy},
            distributions={name: FloatDistribution(0.5, 8.0)},
            value=accuracy,
            intermediate_values={1: 0.1, 2: accuracy},
        )
    )


def asked(study: Experiment, **settings: object) -> Experiment:
    """What a user says: which study, and settings of the confirm."""
    place = Experiment(study=study.study.model_copy(update={"trials": Experiment().study.trials}))
    return override(place, {"teacher.cache": study.teacher.cache} | settings)


def started(study: Experiment, **settings: object):
    setup = set_up(asked(study, **settings))
    begin_folder(setup.experiment)
    setup.begin()
    return setup


def test_the_confirm_s_experiment_is_the_study_s_on_the_test_split_in_a_folder_of_its_own(study):
    setup = set_up(asked(study, **{"confirm.top": 2, "confirm.seeds": 3, "cluster.seats": 5}))
    own = setup.experiment
    assert own.folder == study.folder / "confirm"
    assert own.data == study.data.model_copy(update={"held_out": "test"})
    for section in ("student", "training", "objective", "method", "temperature", "bias", "schedule", "teacher"):
        assert getattr(own, section) == getattr(study, section)
    assert own.cluster.seats == 5
    assert own.tracking.uri == f"sqlite:///{study.folder / 'mlflow.db'}"
    assert own.tracking.experiment == "done"
    assert [trial.name for trial in setup.fixed.trials] == ["trial-0001", "trial-0002"]
    assert [trial.accuracy for trial in setup.fixed.trials] == [0.9, 0.85]
    assert setup.fixed.trials[0].values == {"temperature.multiplier": 1.9}
    assert setup.fixed.seeds == (1, 2, 3)
    assert setup.others == ()
    assert sorted(path.name for path in study.folder.iterdir()) == sorted([SETTINGS, JOURNAL, "teacher.json"])


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"training.epochs": 3}, r"training\.epochs is the study's to decide: .*done/experiment\.yaml"),
        ({"data.held_out": "test"}, r"data\.held_out is the study's to decide"),
        ({"confirm.top": 4}, r"confirm\.top is 4, but 3 trials of study .*done have finished"),
        ({"confirm.name": "best"}, r"best exists and is no confirm: name another with --confirm\.name"),
        ({"study.name": "dome"}, r"unknown study 'dome'.*done"),
    ],
)
def test_what_cannot_be_confirmed_so_is_told_in_a_line(study, settings, error):
    (study.folder / "best").mkdir()
    (study.folder / "best" / "model.json").write_text("{}")
    with pytest.raises(RaykdError, match=error) as error_info:
        set_up(asked(study, **settings))
    assert len(str(error_info.value).splitlines()) == 1


def test_a_study_that_is_not_over_is_refused(study):
    save_experiment(override(study, {"study.trials": 5}), study.folder / SETTINGS)
    with pytest.raises(RaykdError, match="is not over: 2 of 5 trials have not ended"):
        set_up(asked(study))


def test_a_study_without_a_finished_trial_is_refused(study, data):
    failed = override(study, {"study.name": "failed", "study.trials": 1})
    begun(failed, data.fingerprint, ())
    open_study(failed.folder / JOURNAL, "failed", 0).add_trial(create_trial(state=TrialState.FAIL))
    with pytest.raises(RaykdError, match="has no finished trial: there is nothing to confirm"):
        set_up(asked(failed))


def test_other_images_than_the_study_s_are_refused(study, data):
    other = override(study, {"study.name": "other"})
    begun(other, "another fingerprint", ACCURACIES)
    with pytest.raises(RaykdError, match="the images of digits differ from those of study"):
        set_up(asked(other))


def test_seeds_are_two_at_least():
    with pytest.raises(RaykdError, match=r"confirm\.seeds: .*greater than or equal to 2"):
        override(Experiment(), {"confirm.seeds": 1})


def test_a_confirm_is_begun_once_and_resumed_as_it_was_begun(study):
    setup = started(study, **{"confirm.seeds": 3})
    with pytest.raises(RaykdError, match=r"confirm 'confirm' exists in .* add --resume .*--confirm\.name"):
        set_up(asked(study, **{"confirm.seeds": 3}))
    again = set_up(asked(study, **{"confirm.seeds": 3, "study.resume": True}))
    assert again.fixed == setup.fixed
    assert again.others == ()
    with pytest.raises(RaykdError, match=r"was begun with seeds 1, 2, 3, not 1, 2:\nresume it as it was begun"):
        set_up(asked(study, **{"confirm.seeds": 2, "study.resume": True}))
    # The study goes on and finds a better trial: what was fixed before the test split was touched stays fixed.
    add(open_study(study.folder / JOURNAL, "done", 0), 0.99)
    with pytest.raises(RaykdError, match="was begun with trials trial-0001, not trial-0003"):
        set_up(asked(study, **{"confirm.seeds": 3, "study.resume": True}))


def test_every_use_of_the_test_split_is_written_down_once_and_told_to_the_next(study):
    first = started(study)
    started(study, **{"study.resume": True})
    uses = json.loads((study.folder / USES).read_text())
    assert uses == [{"confirm": "confirm", "began": first.fixed.began}]
    assert json.loads((study.folder / "confirm" / RECORD).read_text()) == json.loads(json.dumps(asdict(first.fixed)))
    second = started(study, **{"confirm.name": "again", "confirm.top": 2})
    assert [use.confirm for use in second.others] == ["confirm"]
    assert [use["confirm"] for use in json.loads((study.folder / USES).read_text())] == ["confirm", "again"]
    # The first one, shown again, knows that it is no longer alone.
    first_again = set_up(asked(study, **{"study.resume": True}))
    assert [use.confirm for use in first_again.others] == ["again"]


@pytest.mark.parametrize("content", ["[", "{}", '[{"confirm": 3}]', None])
def test_uses_of_the_test_split_outlive_damage_of_their_list(study, content):
    first = started(study)
    if content is None:
        (study.folder / USES).unlink()
    else:
        (study.folder / USES).write_text(content)
    second = started(study, **{"confirm.name": "again"})
    assert second.others == (Use("confirm", first.fixed.began),)
    assert [use["confirm"] for use in json.loads((study.folder / USES).read_text())] == ["confirm", "again"]


@pytest.mark.parametrize("content", ["[", "{}", '{"trials": [{"name": 1}]}'])
def test_a_damaged_record_of_a_confirm_is_said_to_be(study, content):
    started(study)
    (study.folder / "confirm" / RECORD).write_text(content)
    with pytest.raises(RaykdError, match=r"confirm.json is damaged: .*\nput it back, or confirm under another name"):
        set_up(asked(study, **{"study.resume": True}))


def test_the_study_s_adopted_teacher_is_taken_as_it_is_whatever_its_source_holds_by_now(study, tmp_path):
    adopted = override(study, {"teacher.source": "models:/teacher@best"})
    save_experiment(adopted, study.folder / SETTINGS)
    (study.folder / EXTERNAL_TEACHER).write_text("0123\n")
    assert set_up(asked(study)).experiment.teacher.source == "models:/teacher@best"
    folder = tmp_path / "cache" / "teachers" / "0123"
    folder.mkdir(parents=True)
    write_description(folder, {"metrics": {}})
    assert set_up(asked(study)).experiment.teacher.source == str(folder)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "raykd confirm needs a study first"),
        (["--confirm.seeds", "3"], "raykd confirm needs a study first"),
        (["no/such/study"], "study 'no/such/study'"),
        (["DONE", "--confirm.seeds", "1"], "confirm.seeds: Input should be greater than or equal to 2"),
        (["DONE", "--student.name", "resnet14"], "student.name is the study's to decide"),
    ],
)
def test_the_command_refuses_in_a_line(study, words, error, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["confirm", *(str(study.folder) if word == "DONE" else word for word in words)])
    assert ended.value.code == 2
    assert error in capsys.readouterr().err
