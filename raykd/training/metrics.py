"""Means of metrics over an epoch, summed on the device: the CPU waits for it once, at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from raykd.training.team import Team


class MetricSums:
    """Sums of 0-dim tensors by name, each with the number of samples or batches it stands for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, sums: Mapping[str, Tensor], count: int) -> None:
        """Add sums over `count` samples, or values of one batch (`count` 1)."""
        for name, value in sums.items():
            known = self._sums.get(name)
            # float64 counts exactly; a GPU adds it as a scalar, without a wait.
            self._sums[name] = value.double() if known is None else known + value
            self._counts[name] = self._counts.get(name, 0) + count

    def means(self, team: Team, elsewhere: Iterable[str] = ()) -> dict[str, float]:
        """Means over all workers: one all-reduce, and one wait for the device.

        Args:
            team: The workers.
            elsewhere: Names that other workers may have added to and this one not; all must sum the same.
        """
        names = sorted({*self._sums, *elsewhere})
        if not names:
            return {}
        nothing = torch.zeros((), dtype=torch.float64, device=team.device)
        sums = torch.stack([self._sums.get(name, nothing) for name in names])
        counted = [self._counts.get(name, 0) for name in names]
        counts = torch.tensor(counted, dtype=torch.float64, device=sums.device)
        totals = team.sum(torch.stack([sums, counts]))
        return dict(zip(names, (totals[0] / totals[1]).tolist(), strict=True))
