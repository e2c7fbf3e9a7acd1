"""When a search has found what it will find: the plateau rule of `study.patience`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from raykd.search.start_points import start_of

ENDED = "ended"
"""Attribute of an Optuna study: why its search ended before its last trial."""


@dataclass(frozen=True)
class Plateau:
    """Ends a search when many trials in a row have not improved the best by more than chance would.

    - patience: so many trials
    - images: of the validation split, which decide how large chance is
    """

    patience: int
    images: int

    def reason(self, study: Study) -> str | None:
        """Why the search may end now; None: it goes on. Only drawn trials that have ended are waited for."""
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        ended = sorted(ended, key=lambda trial: trial.datetime_complete or datetime.max)
        drawn = [number for number, trial in enumerate(ended) if start_of(trial) is None]
        if len(drawn) < self.patience:
            return None
        first = drawn[-self.patience]
        before = max(map(_accuracy, ended[:first]), default=0.0)
        since = max(map(_accuracy, ended[first:]))
        error = math.sqrt(before * (1 - before) / self.images)
        if before == 0 or since > before + error:
            return None
        return (
            f"of the last {self.patience} trials none was better than {before:.2%} by more than {100 * error:.2f} "
            f"points, the standard error of {self.images:,} images"
        )


def _accuracy(trial: FrozenTrial) -> float:
    """Of a finished trial; stopped ones are behind those that went on."""
    return float(trial.values[0]) if trial.state == TrialState.COMPLETE else 0.0
