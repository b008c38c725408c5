"""A real S3 server on loopback, with one bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from moto.server import ThreadedMotoServer
from pyarrow import fs

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@contextmanager
def bucket() -> Iterator[str]:
    """URI of a folder in an empty bucket; processes started meanwhile may use it, too."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    try:
        with mock.patch.dict(os.environ, CREDENTIALS):
            where = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            made, path = fs.FileSystem.from_uri(f"s3://storage/?{where}&allow_bucket_creation=true")
            made.create_dir(path)
            yield f"s3://storage/here?{where}"
    finally:
        server.stop()
