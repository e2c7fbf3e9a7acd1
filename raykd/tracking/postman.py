"""The thread that delivers the outbox: run by run, files after all else, again after a pause what failed."""

from __future__ import annotations

import logging
import threading
import time

from raykd.tracking.address import quiet, reason
from raykd.tracking.delivery import Delivery, is_upload
from raykd.tracking.outbox import Batch, Outbox
from raykd.tracking.server_runs import ServerRuns, Unavailable

log = logging.getLogger("raykd.tracking")

_BATCH = 1000
_LINGER = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE, _CLOSING_PAUSE = 0.5, 30.0, 1.0


class _Retries:
    """When to try again what failed: after pauses that double.

    Attributes:
        reason: Why it failed the last time; empty if it did not.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._pause = _FIRST_PAUSE
        self._failed = 0.0

    def failed(self, reason: str) -> bool:
        """Returns whether it had succeeded before."""
        first = not self.reason
        self.reason = reason
        if not first:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._failed = time.monotonic()
        return first

    def succeeded(self) -> None:
        """Something else was delivered since: the next pause is short again."""
        self._pause = _FIRST_PAUSE

    def left(self, closing: bool) -> float:
        """Seconds until the next try; while somebody waits for the end, pauses are short."""
        if not self.reason:
            return 0.0
        pause = min(self._pause, _CLOSING_PAUSE) if closing else self._pause
        return max(0.0, self._failed + pause - time.monotonic())


class Postman:
    """Delivers an outbox in the background until it is empty after `finish`, or until `stop`.

    A run that the server does not take holds up no other one, and a broken artifact store no metrics.

    Args:
        outbox: What to deliver.
        runs: Where to.

    Attributes:
        progressed: When something was last delivered, by `time.monotonic`.
    """

    def __init__(self, outbox: Outbox, runs: ServerRuns) -> None:
        self.progressed = 0.0
        self._outbox = outbox
        self._delivery = Delivery(runs)
        self._events, self._uploads = _Retries(), _Retries()
        self._failing: set[str] = set()
        """Runs whose events come after all others'."""
        self._news, self._closing, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-tracker", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why something could not be delivered; empty if the last tries succeeded."""
        return self._events.reason or self._uploads.reason

    def notify(self) -> None:
        """There is something new in the outbox."""
        self._news.set()

    def finish(self) -> None:
        """Nothing will be added any more: end as soon as everything is delivered."""
        self._closing.set()
        self._news.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end, no longer than so many seconds; whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End after the call that is under way."""
        self._stop.set()
        self._news.set()

    def _work(self) -> None:
        with quiet():
            while not self._stop.is_set():
                closing = self._closing.is_set()  # before reading: nothing is added after
                if self._send_events(closing) or self._send_upload(closing):
                    continue
                if closing and not self.trouble:
                    return
                tries = [retries.left(closing) for retries in (self._events, self._uploads) if retries.reason]
                self._news.wait(min(tries, default=None))
                if self._news.is_set():
                    self._news.clear()
                    self._closing.wait(_LINGER)  # what comes together is sent together

    def _send_events(self, closing: bool) -> bool:
        """Deliver a batch, run by run; whether anything was delivered."""
        if self._events.left(closing):
            return False
        before, trouble = self.progressed, None
        try:
            batch = self._outbox.read(_BATCH, self._failing)
            if not batch.runs and self._failing:
                self._failing.clear()
                batch = self._outbox.read(_BATCH)
            for run in batch.runs:
                if self._stop.is_set() or isinstance(trouble, Unavailable):
                    break
                # What else is wrong may be so with this run alone; before the next one the server is asked whether it
                # is there.
                trouble = self._send_run(batch, run) or trouble
            self._outbox.advance(batch)
        except Exception as error:
            trouble = error
        if trouble is not None:
            if self._events.failed(reason(trouble)):
                log.warning("MLflow: %s; events wait in %s", self._events.reason, self._outbox.file)
        elif self._events.reason and not self._failing:
            self._events = _Retries()
            log.warning("MLflow is back")
        return self.progressed != before

    def _send_run(self, batch: Batch, run: str) -> Exception | None:
        """Deliver a run's events of a batch, or return why it cannot be done."""
        entries = batch.runs[run]
        uploads = [entry for entry in entries if is_upload(entry.event)]
        events = [entry.event for entry in entries if not is_upload(entry.event)]
        try:
            if events:
                self._delivery.send(run, events)
        except Exception as error:
            self._failing.add(run)
            return error
        self._outbox.done(batch, run, uploads)
        self._events.succeeded()
        self.progressed = time.monotonic()
        return None

    def _send_upload(self, closing: bool) -> bool:
        """Deliver one file, folder or model; whether it was delivered."""
        if self._uploads.left(closing):
            return False
        entry, what = None, ""
        try:
            entry = self._outbox.later()
            if entry is None:
                self._uploads = _Retries()
                return False
            self._delivery.upload(entry.run, entry.event)
            self._outbox.settle()
        except Exception as error:
            if entry is not None:
                self._outbox.postpone()
                what = "" if isinstance(error, Unavailable) else f"{entry.event['path']} could not be uploaded: "
            if self._uploads.failed(what + reason(error)):
                log.warning("MLflow: %s; tried again later", self._uploads.reason)
            return False
        self._uploads.succeeded()
        self.progressed = time.monotonic()
        return True
