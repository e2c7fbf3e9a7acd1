"""MLflow: one parent run for a study, one child run for each trial, and nothing lost while the server is away.

The study's driver is the only writer. Its calls append to an outbox in the study's folder and return; a background
thread delivers. Importing this package imports neither MLflow nor torch.
"""

from raykd.tracking.address import Address, ServerAway, check_tracking
from raykd.tracking.dataset import Dataset
from raykd.tracking.runs_table import RunsTable
from raykd.tracking.tracker import StudyState, Tracker, TrialState, Undelivered

__all__ = [
    "Address",
    "Dataset",
    "RunsTable",
    "ServerAway",
    "StudyState",
    "Tracker",
    "TrialState",
    "Undelivered",
    "check_tracking",
]
