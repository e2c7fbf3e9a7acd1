"""An HTTP proxy in front of a real server, which fails on demand in the ways in which servers and networks do."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

from tests.helpers.mlflow_places import free_port

Fault = Literal["error", "hang", "slow", "cut", "late"]
"""What becomes of a request: answered with 500; never answered; answered after `SLOW_SECONDS`; done, but the connection
breaks off instead of an answer; done, unanswered, once the proxy is told to `release` it."""
SLOW_SECONDS = 0.2
_OWN_HEADERS = ("connection", "transfer-encoding", "content-length", "date", "server")


class Request(NamedTuple):
    """A request that reached the proxy."""

    line: str
    """Method and path."""
    body: str


@dataclass
class _Rule:
    fault: Fault
    line: str
    body: str

    def fits(self, request: Request) -> bool:
        return bool(re.search(self.line, request.line)) and bool(re.search(self.body, request.body))


class Proxy:
    """Forwards to a port of this machine; `uri` is its own address. While `down` it refuses connections."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        self._rules: list[_Rule] = []
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.up()

    def up(self) -> None:
        """Listen."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    proxy._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Listener(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, fault: Fault, line: str = "", body: str = "") -> None:
        """From now on requests fail so.

        Args:
            fault: How.
            line: Regular expression found in the method and path of those that fail.
            body: Regular expression found in their bodies.
        """
        self._rules.append(_Rule(fault, line, body))

    def mend(self) -> None:
        """From now on requests are answered."""
        self._rules.clear()

    def release(self) -> None:
        """Do what was asked of the server by requests that came late."""
        self._released.set()

    def close(self) -> None:
        """End; nothing more reaches the server."""
        self.down()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = Request(f"{handler.command} {handler.path}", body.decode(errors="replace"))
        self.requests.append(request)
        fault = next((rule.fault for rule in self._rules if rule.fits(request)), None)
        if fault == "error":
            handler.send_response(500)
            handler.end_headers()
            handler.wfile.write(b"<html>Internal Server Error</html>")
            return
        if fault == "hang":
            while any(rule.fits(request) for rule in list(self._rules)) and self._server is not None:
                time.sleep(0.02)
            return
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        if fault == "late":
            handler.connection.shutdown(socket.SHUT_RD)
            self._released.wait()
        answer, content = self._forward(handler, body)
        if fault in ("cut", "late"):
            return
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN_HEADERS:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()
