"""A study's page while the study runs: served on this machine alone, and made anew as the study's record grows."""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
import time
import zlib
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from plotly.offline import get_plotlyjs, get_plotlyjs_version
from rich.console import Console

from raykd.errors import RaykdError
from raykd.places import BEST, FINALISTS, JOURNAL, PLAIN, SETTINGS, TEACHER
from raykd.report.study.facts import CONFIRMED, facts_from
from raykd.report.study.page import Live, page, rendered
from raykd.report.study.sections import sections
from raykd.results.load import RecordedStudy, recorded_study
from raykd.tracking.outbox import FILE as OUTBOX
from raykd.training.folder import DESCRIPTION

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 8642
EVERY = 2.0
"""Seconds between two looks of a browser at the record."""
SHARE = 10
"""A page that takes a second of the processor to make is made anew every so many seconds: the study needs it, too."""
RECORD = (
    SETTINGS,
    JOURNAL,
    OUTBOX,
    TEACHER,
    FINALISTS,
    f"{BEST}/{DESCRIPTION}",
    f"{PLAIN}/{DESCRIPTION}",
    str(CONFIRMED),
)
"""Files of a study's folder that say all that the page shows. Every epoch is in the outbox, whatever the storage is."""
ASKED, PLOTLY = "version", f"plotly-{get_plotlyjs_version()}.js"


class LivePage:
    """The page as the study's record has it now. Any thread may ask for it; nothing is written or locked.

    Args:
        recorded: The study.
    """

    def __init__(self, recorded: RecordedStudy) -> None:
        self._recorded = recorded
        self._making = threading.Lock()
        self._version = ""
        self._html = ""
        self._not_before = 0.0

    def now(self) -> tuple[str, str]:
        """The version of the record, and the page of it as HTML."""
        with self._making:
            version, changed = self._present()
            if version != self._version and time.monotonic() >= self._not_before:
                began, first = time.thread_time(), not self._version
                self._html = self._made(version, changed)
                self._version = version
                # Only the first one loads libraries.
                pause = 0.0 if first else SHARE * (time.thread_time() - began)
                self._not_before = time.monotonic() + pause
            return self._version, self._html

    def _present(self) -> tuple[str, float]:
        """A digest of the record's state, and when it changed last, in seconds since 1970."""
        found = []
        for name in RECORD:
            try:
                state = (self._recorded.folder / name).stat()
            except OSError:
                continue
            found.append((name, state.st_size, state.st_mtime_ns))
        changed = max((mtime for _, _, mtime in found), default=0) / 1e9
        return hashlib.sha256(repr(found).encode()).hexdigest()[:16], changed

    def _made(self, version: str, changed: float) -> str:
        when = datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        said = f"This page follows the study. Its record has last changed at {when}."
        live = Live(version, said, ASKED, PLOTLY, round(1000 * EVERY))
        try:
            facts = facts_from(self._recorded, live=True)
            return page(facts, list(sections(facts)), live)
        except RaykdError as error:
            settings = self._recorded.experiment
            if (self._recorded.folder / TEACHER).exists():
                sentences = [f"The page cannot be made: {error}"]
            else:
                sentences = [
                    f"Waiting for the teacher: it is trained or looked up first. The {settings.study.trials} trials of "
                    f"{settings.training.epochs} epochs begin when it is there."
                ]
            return rendered(settings.study.name, sentences, [], "the page follows by itself", live)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        # Of another site's page that has got itself the name of this address.
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        match self.path.partition("?")[0]:
            case "/":
                self._answer("text/html; charset=utf-8", self.server.page.now()[1].encode())
            case path if path == f"/{ASKED}":
                self._answer("text/plain", self.server.page.now()[0].encode())
            case path if path == f"/{PLOTLY}":
                self._answer(
                    "text/javascript", _plotly(), {"Content-Encoding": "deflate", "Cache-Control": "max-age=86400"}
                )
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {"Cache-Control": "no-store", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        log.debug(format, *arguments)


class Server(ThreadingHTTPServer):
    """Serves a live page on this machine alone.

    Args:
        page: The page.
        port: Where; 0: a free one.

    Raises:
        OSError: The port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(self, page: LivePage, port: int) -> None:
        self.page = page
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{HOST}:{self.server_port}/"


def follow(study: str | Path, port: int | None = None, console: Console | None = None) -> None:
    """Serve a study's page until Ctrl-C; it is made anew as the study goes on. The study's folder is only read.

    Args:
        study: The study's folder, or its name below `outputs/`.
        port: Of 127.0.0.1. None: 8642, or if that is taken a free one.
        console: Where the address is printed. None: standard output.

    Raises:
        RaykdError: there is no such study, or the port is taken.
    """
    console = console or Console(soft_wrap=True, highlight=False)
    page = LivePage(recorded_study(study))
    with _server(page, port) as server:
        console.print(f"live report: {server.address} (Ctrl-C ends it)", markup=False)
        server.serve_forever()


def _server(page: LivePage, port: int | None) -> Server:
    try:
        return Server(page, PORT if port is None else port)
    except (OSError, OverflowError) as error:
        if port is None and getattr(error, "errno", None) == errno.EADDRINUSE:
            return Server(page, 0)
        reason = getattr(error, "strerror", None) or str(error)
        raise RaykdError(f"--port {port}: {reason}\nname another one, or leave --port out") from error


@cache
def _plotly() -> bytes:
    return zlib.compress(get_plotlyjs().encode())
