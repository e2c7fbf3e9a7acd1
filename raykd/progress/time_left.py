"""How long a run still takes: from the pace of the last epochs, and from how early trials were stopped so far.

Pure arithmetic on times that are handed in, so that recorded runs can be played again.
"""

from __future__ import annotations

import math
from collections import Counter, deque

BURST_SECONDS = 0.5
"""Epochs whose reports are no further apart come from the same classes."""

FIRST_EPOCHS = 3
"""For so many epochs' time the pace is no better than the epochs' own times say."""

WINDOW_SECONDS, WINDOW_SHARE = 60.0, 0.3
"""The pace is that of the last minute, or later of this share of the time since the first epoch."""

SMOOTHING_SECONDS, SMOOTHING_SHARE = 10.0, 0.05
"""How fast the time shown follows a new estimate: a constant, and a share of the time since the first epoch."""

LEAST_SECONDS = 1.0
"""Shown while anything is left."""

LARGEST_STEP = 3.0
"""The time shown never becomes so many times longer or shorter from one look to the next."""


class Pace:
    """Epochs a second, measured between bursts: the students of a class report all at once."""

    def __init__(self) -> None:
        self._bursts: deque[tuple[float, int]] = deque()
        """When a burst began, and all epochs up to its end."""
        self._total = 0
        self._first: float | None = None

    def add(self, now: float) -> None:
        """Count an epoch that was reported now, in seconds."""
        self._total += 1
        self._first = now if self._first is None else self._first
        if self._bursts and now - self._bursts[-1][0] < BURST_SECONDS:
            self._bursts[-1] = (self._bursts[-1][0], self._total)
            return
        self._bursts.append((now, self._total))
        begin = now - max(WINDOW_SECONDS, WINDOW_SHARE * (now - self._first))
        while len(self._bursts) > 2 and self._bursts[1][0] < begin:
            self._bursts.popleft()

    def since_first(self, now: float) -> float:
        """Seconds since the first epoch was reported."""
        return 0.0 if self._first is None else now - self._first

    def since_last(self, now: float) -> float:
        """Seconds since the last burst began."""
        return now - self._bursts[-1][0] if self._bursts else 0.0

    @property
    def burst(self) -> int:
        """Epochs of the last burst; as many are expected to come next."""
        before = self._bursts[-2][1] if len(self._bursts) > 1 else 0
        return self._total - before

    def per_epoch(self, now: float) -> float | None:
        """Seconds for each epoch, of all networks together; None before the second burst."""
        if len(self._bursts) < 2:
            return None
        (begin, before), (last, total) = self._bursts[0], self._bursts[-1]
        # Epochs that are late slow the pace down before they are there.
        return max((last - begin) / (total - before), (now - begin) / (total - before + self.burst))


class Lengths:
    """How many epochs trials get, estimated from those that were stopped and those that go on (Kaplan and Meier, 1958).

    Args:
        epochs: Of a whole trial.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._reached: Counter[int] = Counter()
        self._stopped: Counter[int] = Counter()
        self._expected: list[float] = []

    def reach(self, epoch: int) -> None:
        """A trial has had so many epochs, 0 as it begins."""
        self._reached[epoch] += 1
        self._expected = []

    def stop(self, epoch: int) -> None:
        """A trial ended after so many epochs, before its last."""
        self._stopped[epoch] += 1
        self._expected = []

    def expected(self) -> list[float]:
        """The epochs that a trial is expected to get still, by how many it has had, from 0 to all of them."""
        if self._expected:
            return self._expected
        left = [0.0] * (self._epochs + 1)
        for epoch in reversed(range(self._epochs)):
            # One more trial that went on: of the first that was stopped somewhere nobody should think that all are.
            goes_on = 1 - self._stopped[epoch] / (self._reached[epoch] + 1)
            left[epoch] = goes_on * (1 + left[epoch + 1])
        self._expected = left
        return left


class TimeLeft:
    """The time left of networks that are trained together, smoothed.

    Args:
        networks: How many there are to train.
        epochs: Of all of them together.
    """

    def __init__(self, networks: int, epochs: int) -> None:
        self._each = max(round(epochs / max(networks, 1)), 1)
        self._waiting = networks
        self._running: dict[str, int] = {}
        self._lengths = Lengths(self._each)
        self._pace = Pace()
        self._epoch_seconds = 0.0
        self._expected: float | None = None
        self._expected_since = 0.0
        self._shown: tuple[float, float] | None = None

    def expect(self, epoch_seconds: float, epochs_per_second: float, now: float) -> None:
        """Before any epoch is over, it is known what the first ones take.

        Args:
            epoch_seconds: Of one network.
            epochs_per_second: Of all networks together.
            now: In seconds.
        """
        if self._expected is None:
            self._expected_since = now
        self._epoch_seconds = epoch_seconds
        self._expected = 1 / epochs_per_second

    def epoch(self, name: str, now: float, seconds: float | None = None) -> None:
        """A network has had another epoch.

        Args:
            name: Of the network.
            now: In seconds.
            seconds: What the epoch took, by its own report.
        """
        self._begin(name)
        self._running[name] += 1
        self._lengths.reach(min(self._running[name], self._each))
        self._pace.add(now)
        self._epoch_seconds = seconds or self._epoch_seconds

    def end(self, name: str) -> None:
        """A network's training has ended."""
        self._begin(name)
        epoch = self._running.pop(name)
        if epoch < self._each:
            self._lengths.stop(epoch)

    def seconds(self, now: float) -> float | None:
        """The time left, to be shown now; None while nothing is known, or when nothing is left."""
        estimate = self._estimate(now)
        if not estimate:
            return None
        if self._shown is None:
            self._shown = (now, estimate)
            return estimate
        then, before = self._shown
        passed = max(now - then, 0.0)
        expected = max(before - passed, before / LARGEST_STEP)
        smoothing = SMOOTHING_SECONDS + SMOOTHING_SHARE * self._pace.since_first(now)
        weight = 1 - math.exp(-passed / smoothing)
        seconds = math.exp((1 - weight) * math.log(expected) + weight * math.log(estimate))
        seconds = min(max(seconds, before / LARGEST_STEP), before * LARGEST_STEP)
        self._shown = (now, seconds)
        return seconds

    def for_epochs(self, count: float, now: float) -> float | None:
        """What so many more epochs would take at this pace; None while that is unknown."""
        per_epoch = self._per_epoch(now)
        return None if per_epoch is None else count * per_epoch

    def _per_epoch(self, now: float) -> float | None:
        """Seconds for each epoch, of all networks together."""
        since_first = self._pace.since_first(now)
        if since_first < BURST_SECONDS:
            return self._expected  # others may be about to report
        measured = self._pace.per_epoch(now)
        if measured is not None and since_first > FIRST_EPOCHS * self._epoch_seconds:
            return measured
        # Reports of several classes may follow each other quickly; they cannot be faster than by their own times.
        return max(measured or 0.0, self._epoch_seconds / max(len(self._running), 1)) or None

    def _begin(self, name: str) -> None:
        if name not in self._running:
            self._running[name] = 0
            self._waiting = max(self._waiting - 1, 0)
            self._lengths.reach(0)

    def _estimate(self, now: float) -> float | None:
        expected = self._lengths.expected()
        running = [expected[min(epoch, self._each)] for epoch in self._running.values()]
        if self._waiting:
            running.append(expected[0])
        per_epoch = self._per_epoch(now)
        if per_epoch is None or not running:
            return None
        whole = per_epoch * (sum(running) + max(self._waiting - 1, 0) * expected[0])
        # The epochs of one network follow each other, however many others could be trained at once.
        longest = max(running) * self._epoch_seconds
        if self._pace.since_first(now) < BURST_SECONDS:
            begun = min(now - self._expected_since, self._epoch_seconds)
        else:
            begun = min(self._pace.since_last(now), per_epoch * self._pace.burst)
        return max(max(whole, longest) - begun, LEAST_SECONDS)
