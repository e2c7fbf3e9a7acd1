"""Reading a study's folder that is not there, or is no study's."""

from __future__ import annotations

import pytest

import raykd
from raykd.config import Experiment
from raykd.places import SETTINGS
from raykd.saved_settings import save_experiment
from raykd.search.optuna_study import open_study


def test_no_study_at_all(tmp_path):
    with pytest.raises(raykd.RaykdError, match=r"no study 'digits': neither is it a study's folder, nor is there one"):
        raykd.load_study("digits", tmp_path)


def test_a_run_without_a_search(tmp_path):
    save_experiment(Experiment(), tmp_path / "single" / SETTINGS)
    with pytest.raises(raykd.RaykdError, match=r"single holds no search"):
        raykd.load_study("single", tmp_path)


def test_a_study_that_has_no_teacher_yet(tmp_path):
    save_experiment(Experiment(), tmp_path / "begun" / SETTINGS)
    open_study(tmp_path / "begun" / "study.journal", "study", seed=0)
    with pytest.raises(raykd.RaykdError, match=r"begun has no teacher yet: continue it by --resume"):
        raykd.load_study(tmp_path / "begun")
