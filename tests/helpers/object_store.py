"""moto's server of S3's protocol, in a thread of this process, whose connections can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

Request = dict[str, Any]
"""A request as WSGI has it."""


class ObjectStore:
    """What a test knows of the server.

    Attributes:
        endpoint: HOST:PORT.
        cuts: Says of each request whether the connection is cut instead of answering it.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.cuts: Callable[[Request], bool] = lambda request: False

    def folder(self, bucket: str = "bucket") -> str:
        """The URL of a folder that nobody has used before."""
        return f"s3://{bucket}/{uuid4().hex}?endpoint_override={self.endpoint}&scheme=http"

    def contents(self) -> list[str]:
        """Everything in the bucket, as another client sees it; a folder's marker is not listed."""
        found = self.client().list_objects_v2(Bucket="bucket").get("Contents", [])
        return [each["Key"] for each in found if not each["Key"].endswith("/")]

    def client(self) -> Any:
        """Amazon's own client of this server."""
        import boto3

        return boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://{self.endpoint}")

    @contextmanager
    def cut(self, cuts: Callable[[Request], bool] = lambda request: True) -> Iterator[None]:
        """Cut the connections of some requests, or of all."""
        self.cuts = cuts
        try:
            yield
        finally:
            self.cuts = lambda request: False


@contextmanager
def running() -> Iterator[ObjectStore]:
    """A server with an empty bucket, named bucket."""
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store, answers = ObjectStore(), DomainDispatcherApplication(create_backend_app)

    def application(request: Request, start_response: Any) -> Any:
        if store.cuts(request):
            request["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return answers(request, start_response)

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store.endpoint = f"127.0.0.1:{server.server_port}"
    store.client().create_bucket(Bucket="bucket")
    try:
        yield store
    finally:
        server.shutdown()
