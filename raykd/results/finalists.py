"""The finalists of a study: its best settings and what they must beat, taught again under further seeds.

The search sees one student of each setting, on few images: its best result is partly luck. A setting is judged by its
mean over seeds that the search did not use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from raykd.places import FINALISTS, PLAIN, label
from raykd.records import read_json, write_json
from raykd.results.statistics import Estimate, interval, p_value, percent, spread

ADVICE = (
    "Try longer training (training.epochs; the plain student gains as well), a teacher that is clearly better than the "
    "plain student, or other methods (--study.space methods)."
)
"""What helps where a teacher did not, as far as docs/claims.md and docs/search.md show."""


@dataclass(frozen=True)
class Finalist:
    """One setting and what it reached on the validation split.

    - name: of the trial, or ``plain``
    - start: the start point that it is, or None
    - settings: how many settings it has of its own
    - search: accuracy in the search
    - accuracies: after the last epoch, by further seed; those of students that did not finish are missing
    - unlike_plain: settings of training, data and network that differ from the plain student's
    """

    name: str
    start: str | None
    settings: int
    search: float | None
    accuracies: Mapping[int, float]
    unlike_plain: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name, and what start point it is."""
        return label(self.name, self.start)

    @property
    def is_baseline(self) -> bool:
        """Whether the search did not find it: a start point or the plain student."""
        return self.start is not None or self.name == PLAIN

    @property
    def accuracy(self) -> Estimate | None:
        """Over the seeds; None if no student finished."""
        return Estimate.of(self.accuracies.values())

    @property
    def luck(self) -> float | None:
        """By how much the search's figure lies above the mean over further seeds."""
        return None if self.search is None or not self.accuracies else self.search - fmean(self.accuracies.values())

    def over(self, other: Finalist, seeds: int) -> Estimate | None:
        """By how much its accuracy exceeds another's, over the seeds that both have, of the seeds that there are."""
        return Estimate.of_differences(self.accuracies, other.accuracies, wanted=seeds)


@dataclass(frozen=True)
class Finalists:
    """All finalists.

    - rows: the trials, best of the search first, then the plain student
    - seeds: how many students each was to have
    """

    rows: tuple[Finalist, ...]
    seeds: int

    @property
    def winner(self) -> Finalist | None:
        """The trial with the highest mean; of those within a standard error of it, the simplest.

        Simplest are start points, then those with fewer settings. Only trials whose students have all finished count;
        None if there are none.
        """
        whole = [row for row in self.rows if row.name != PLAIN and self._is_whole(row)]
        ranked = sorted(whole, key=lambda row: fmean(row.accuracies.values()), reverse=True)
        if not ranked:
            return None
        close = [row for row in ranked if _is_close(ranked[0].over(row, self.seeds))]
        return min(close, key=lambda row: (row.start is None, row.settings))

    @property
    def best_baseline(self) -> Finalist | None:
        """Of the start points and the plain student, apart from the winner, the one with the highest mean.

        Only those whose students have all finished count; None if there are none.
        """
        whole = [row for row in self._baselines if self._is_whole(row)]
        return max(whole, key=lambda row: fmean(row.accuracies.values()), default=None)

    @property
    def unfinished_baselines(self) -> list[Finalist]:
        """Start points and the plain student of whom students are missing: they might be the best baseline."""
        return [row for row in self._baselines if not self._is_whole(row)]

    @property
    def _baselines(self) -> list[Finalist]:
        winner = self.winner
        return [row for row in self.rows if row.is_baseline and row != winner]

    @property
    def _best_trained_as_plain(self) -> Finalist | None:
        """Of the trials with a teacher that train as the plain student does, the one with the highest mean."""
        taught = [row for row in self.rows if PLAIN not in (row.name, row.start) and not row.unlike_plain]
        return max(filter(self._is_whole, taught), key=lambda row: fmean(row.accuracies.values()), default=None)

    def _is_whole(self, row: Finalist) -> bool:
        return len(row.accuracies) == self.seeds

    def sentences(self) -> Iterator[str]:
        """What came out, in words."""
        winner, baseline = self.winner, self.best_baseline
        if winner is None or winner.accuracy is None:
            yield f"No finalist has finished under all {self.seeds} seeds, so the best trial of the search counts."
            return
        yield (
            f"The winner is {winner.label}: {spread(winner.accuracy)} % over {self.seeds} further seeds. "
            f"The search's {percent(winner.search)} % was one student's: {percent(winner.luck, '+')} points of it luck."
        )
        unfinished = self.unfinished_baselines
        for row in self.rows:
            if not self._is_whole(row):
                what = f"Against {row.label} there is no verdict" if row in unfinished else f"{row.label} is left out"
                yield f"{what}: {len(row.accuracies)} of its {self.seeds} students have finished."
        if baseline is not None and (difference := winner.over(baseline, self.seeds)) is not None:
            verdict = {"yes": "better", "no": "worse", "not shown": "not shown to be better"}[difference.verdict]
            yield f"Against {baseline.label} it is {verdict}: {_points(difference)}."
        yield from self._about_distillation(winner)

    def _about_distillation(self, winner: Finalist) -> Iterator[str]:
        """Whether the teacher was of use at all, and what to try if that is not shown.

        Only settings that train as the plain student does can say so: a learning rate that was searched helps alone.
        """
        plain = next((row for row in self.rows if row.name == PLAIN and self._is_whole(row)), None)
        if plain is None:
            return
        if winner.start == PLAIN:
            yield f"No distillation was better than training without a teacher. {ADVICE}"
            return
        judged: Finalist | None = winner
        if winner.unlike_plain and (lead := winner.over(plain, self.seeds)) is not None:
            # Where plain is the best baseline, the sentence before has the points.
            gain = "that" if plain == self.best_baseline else f"its lead over plain, {_points(lead)},"
            yield (
                f"Not all of {gain} need be distillation: its {', '.join(winner.unlike_plain)} came from the search, "
                "those of plain from the experiment."
            )
            judged = self._best_trained_as_plain
        if judged is None or (difference := judged.over(plain, self.seeds)) is None:
            return
        said = {"yes": "helped", "no": "did harm", "not shown": "is not shown to have helped"}[difference.verdict]
        who = "" if judged == winner else f" by {judged.label}, trained as plain is,"
        # What the sentence before has just said needs no second one.
        known = judged == winner and plain == self.best_baseline
        points = "" if known else f": {_points(difference)} from the plain student"
        advice = "" if difference.verdict == "yes" else f" {ADVICE}"
        yield f"Distillation{who} {said}{points}.{advice}"

    def show(self, console: Console) -> None:
        """Print the table and the sentences."""
        table = Table(
            title=f"finalists: validation split, in %, mean±sd of {self.seeds} further seeds", title_justify="left"
        )
        table.add_column("")
        for heading in ("search", "further seeds", "to winner"):
            table.add_column(heading, justify="right")
        for cells in self.cells():
            table.add_row(*cells)
        console.print(table, highlight=False)
        for sentence in self.sentences():
            console.print(sentence, highlight=False)

    def cells(self) -> Iterator[tuple[str, str, str, str]]:
        """The table's rows: name, accuracy in the search and over the seeds, and the difference from the winner."""
        winner = self.winner
        for row in self.rows:
            accuracy = Estimate.of(row.accuracies.values(), wanted=self.seeds)
            against = (
                "winner" if row == winner else "-" if winner is None else spread(row.over(winner, self.seeds), "+")
            )
            yield row.label, percent(row.search), spread(accuracy), against

    def write(self, folder: Path) -> None:
        """Keep them in a study's folder."""
        write_json(folder / FINALISTS, asdict(self))

    @classmethod
    def of(cls, folder: Path) -> Finalists | None:
        """Those of a study's folder; None if it has none yet.

        Raises:
            DamagedError: their record is damaged.
        """

        def made_of(content: Any) -> Finalists:
            return cls(tuple(map(_from_data, content["rows"])), content["seeds"])

        return read_json(folder / FINALISTS, made_of, "--resume the study, which writes it again")


def _points(difference: Estimate) -> str:
    """A difference in points, with interval and p where they are known."""
    sure = f", 95 % interval {interval(difference, '+')}, p {p_value(difference)}" if difference.low is not None else ""
    return f"{percent(difference.mean, '+')} points{sure}"


def _from_data(row: Mapping[str, Any]) -> Finalist:
    accuracies = {int(seed): value for seed, value in row["accuracies"].items()}
    return Finalist(**{**row, "accuracies": accuracies, "unlike_plain": tuple(row.get("unlike_plain", ()))})


def _is_close(behind: Estimate | None) -> bool:
    """Whether a lead is at most its own standard error."""
    if behind is None:
        return False
    error: float = (behind.sd or 0.0) / math.sqrt(behind.count)
    return behind.mean <= error
