"""`raykd bank` builds, lists and clears what later trials read, and the plan says how large it will be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from raykd.cli import main
from raykd.config import Experiment, TrackingSettings, TrainingSettings
from raykd.data import DataInfo, load_data
from raykd.places import SETTINGS
from raykd.saved_settings import save_experiment
from raykd.settings_io import override
from raykd.study.bank import bank_line
from raykd.training.bank.parts import stored_views
from tests.helpers.finished_models import DIGITS, finished_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A study of three epochs, whose teacher lies in a cache."""
    folder = tmp_path_factory.mktemp("studies")
    experiment = finished_study(folder, TrackingSettings())
    cache = folder / "cache" / "teachers"
    cache.mkdir(parents=True)
    (folder / "teacher").rename(cache / "0123456789abcdef")
    told = (experiment.folder / "teacher.json").read_text()
    moved = told.replace(str(folder / "teacher"), str(cache / "0123456789abcdef"))
    (experiment.folder / "teacher.json").write_text(moved)
    experiment = experiment.model_copy(update={"training": TrainingSettings(epochs=3)})
    experiment = override(
        experiment, {"teacher.cache": folder / "cache", "teacher.source": str(cache / "0123456789abcdef")}
    )
    save_experiment(experiment, experiment.folder / SETTINGS)
    return experiment


@pytest.fixture(scope="module")
def info() -> DataInfo:
    return load_data(DIGITS).info


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["bank", *words])
    return " ".join(capsys.readouterr().out.split())


def error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["bank", *words])
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_bank_is_built_listed_and_cleared(
    study: Experiment, info: DataInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, folder = f"--cache={study.teacher.cache}", study.teacher.source
    assert folder is not None
    assert "no answers are stored in" in said(capsys, "list", cache)
    assert bank_line(study, info) == "the teacher's logits for 3 views, 138.0 kB of at most 8 GiB (bank.budget)"
    for _ in range(2):
        assert f"3 of 3 views are stored in {folder} (138.0 kB)" in said(capsys, "build", str(study.folder))
        assert [each.views for each in stored_views(folder)] == [3]
    assert bank_line(study, info).endswith("(bank.budget); 3 are stored already")
    for other in (replace(info, seed=1), replace(info, crop_padding=2)):
        assert bank_line(study, other).endswith("(bank.budget)"), "stored are other views"
    listed = said(capsys, "list", cache)
    assert "0123456789abcdef resnet8 digits 3 0 float32 138.9 kB" in listed
    assert "no teacher" not in listed and f"in {study.teacher.cache}/teachers" in listed
    assert "unknown teacher '0123' in raykd bank list" in error(capsys, "clear", "0123", cache)
    assert "give --all" in error(capsys, "clear", cache)
    assert len(stored_views(folder)) == 1
    assert "deleted: 138.9 kB of 1 teachers" in said(capsys, "clear", "0123456789abcdef", cache)
    assert stored_views(folder) == []
    assert "deleted: 0 bytes of 0 teachers" in said(capsys, "clear", "--all", cache)


def test_a_bank_is_built_as_far_as_its_budget_goes(
    study: Experiment, info: DataInfo, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert study.teacher.source is not None
    small = override(study, {"bank.budget": 2.5 * 46000 / 2**30, "study.output": study.study.output})
    save_experiment(small, study.folder / SETTINGS)
    assert "take 138.0 kB; 2 of them fit into" in bank_line(small, info)
    assert "2 of 3 views are stored" in said(capsys, "build", str(study.folder))
    assert [each.views for each in stored_views(study.teacher.source)] == [2]
    save_experiment(override(study, {"bank.mode": "off"}), study.folder / SETTINGS)
    assert "has bank.mode off: its trials would not read" in error(capsys, "build", str(study.folder))


def test_the_rounding_of_float16_is_listed(study: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    save_experiment(override(study, {"bank.precision": "float16"}), study.folder / SETTINGS)
    said(capsys, "build", str(study.folder))
    assert re.search(r"float16 \(\de-0\d\)", said(capsys, "list", f"--cache={study.teacher.cache}"))


def test_what_cannot_be_built_is_said_in_a_line(study: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no study 'none'" in error(capsys, "build", "none", "--output=/nowhere")
    assert "unknown command 'lst' in raykd bank: did you mean 'list'" in error(capsys, "lst")
    (study.folder / "teacher.json").unlink()
    assert "has no teacher yet: continue it by --resume" in error(capsys, "build", str(study.folder))


def test_the_plan_says_why_nothing_is_stored(study: Experiment, info: DataInfo) -> None:
    assert bank_line(override(study, {"bank.mode": "off"}), info).startswith("off: the teacher answers each batch")
    assert "images are streamed from files" in bank_line(study, None)
    still = replace(info, crop_padding=0, horizontal_flip=False)
    assert bank_line(study, still).startswith("the teacher's logits for 1 view, 46.0 kB")
