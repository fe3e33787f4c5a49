"""What tests of several folders share."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes is the machine's business.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server on this machine, one for all tests.

    s3fs keeps connections, with the address and credentials of their time, for as long as the
    process lives: whoever sets the environment to this address clears `S3FileSystem`'s instances.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
