"""A real S3 server on loopback, with one bucket, and what may be wrong with such a server."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from moto.server import ThreadedMotoServer
from pyarrow import fs

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH")


@dataclass
class Server:
    """The server's application, one request at a time, as a condition and its write must not be torn apart."""

    app: Callable[..., Any] | None = None
    conditions: str = "kept"
    """kept; ignored: writes as if there were none; refused: 501."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        given = environ["REQUEST_METHOD"] == "PUT" and any(name in environ for name in CONDITIONS)
        if given and self.conditions == "refused":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("501 Not Implemented", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NotImplemented</Code></Error>"]
        if given and self.conditions == "ignored":
            environ = {name: value for name, value in environ.items() if name not in CONDITIONS}
        assert self.app is not None
        with self.lock:
            return list(self.app(environ, start_response))


@contextmanager
def bucket(application: Server | None = None) -> Iterator[str]:
    """URI of a folder in an empty bucket; processes started meanwhile may use it, too."""
    application = application or Server()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    application.app, server._server.app = server._server.app, application
    _, port = server.get_host_and_port()
    try:
        with mock.patch.dict(os.environ, CREDENTIALS):
            where = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            made, path = fs.FileSystem.from_uri(f"s3://storage/?{where}&allow_bucket_creation=true")
            made.create_dir(path)
            yield f"s3://storage/here?{where}"
    finally:
        server.stop()
