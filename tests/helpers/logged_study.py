"""A study of `finished_study` in MLflow, as `raykd tune` logs it: the study, its trial and its best student."""

from __future__ import annotations

from pathlib import Path

import torch

import raykd
from raykd.data import load_data
from raykd.places import SETTINGS
from raykd.results.load import recorded_study
from raykd.saved_settings import save_experiment
from raykd.settings_io import override
from raykd.study.mlflow_log import Provenance
from raykd.tracking import Tracker
from raykd.training.folder import model_files


def log_study(folder: Path) -> None:
    """Log the study in a folder."""
    experiment = recorded_study(folder).experiment
    tags = Provenance(experiment, load_data(experiment.data).info, None).tags
    tracker = Tracker(experiment.tracking, folder, experiment.study.name)
    tracker.start_study({}, {"raykd.kind": "tune", **tags}, [folder / SETTINGS])
    settings = folder / "trials" / "trial-0000" / SETTINGS
    save_experiment(override(experiment, {"temperature.multiplier": 1.5}), settings)
    tracker.start_trial("trial-0000", {"temperature.multiplier": 1.5}, tags, [settings])
    tracker.epoch("trial-0000", 1, {"validation_accuracy": 0.9, "view": 0})
    tracker.end_trial("trial-0000", "finished")
    best = folder / "best"
    tracker.log_student(raykd.load_model(best), torch.zeros(1, 1, 8, 8), {"study": "small"}, model_files(best))
    tracker.end_study("finished")
    assert tracker.close(60) is None
