"""The client in Python and on the command line."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from mcn.catalog.query import query
from mcn.catalog.store import Catalog
from serve.client import Client, ClientError

from ..waiting import DEADLINE_S
from .conftest import MCN, Endpoint


def test_the_typed_client(endpoint: Endpoint, tile: Path, scanned: Path) -> None:
    with Client(endpoint.url, endpoint.tokens["lab"]) as client:
        analysis = client.analyze(tile, masks="none", min_confidence=0.5)
        assert analysis.crystals[0].shape in client.models().shapes
        assert analysis.segmenter == client.models().segmenter
        batch = client.analyze_batch([tile, b"nothing"])
        assert [hasattr(image, "crystals") for image in batch.images] == [True, False]
        (well,) = client.wells()
        rows = query(Catalog.open(scanned / "catalog"))
        assert pa.concat_tables(client.crystals(well.well)).equals(rows)
        assert len(client.segment(tile, {"points": [[50, 50]]}).masks) == 1
        with pytest.raises(ClientError, match=r"422.*a crop has 64") as refused:
            client.classify([tile])
    assert refused.value.status == 422
    assert refused.value.request_id


def test_errors_give_advice(endpoint: Endpoint, tile: Path) -> None:
    with Client(endpoint.url, "wrong") as client, pytest.raises(ClientError, match=r"401.*token"):
        client.wells()
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError, match="check the addr"):
        client.wells()
    for url in ("http://me:secret@127.0.0.1:9", "http://me:secret@127.0.0.1:port"):
        with pytest.raises(ClientError) as failure, Client(url, patience_s=0) as client:
            client.wells()
        assert "127.0.0.1" in str(failure.value)
        assert "secret" not in str(failure.value)
    with Client(endpoint.url) as client, pytest.raises(ClientError, match="check the path"):
        client.analyze("nowhere.tif")


def test_the_command(endpoint: Endpoint, tile: Path, tmp_path: Path) -> None:
    words = [
        "remote",
        "analyze",
        str(tile),
        "--url",
        endpoint.url,
        "--out",
        str(tmp_path),
        "--json",
    ]
    environ = {**os.environ, "MCN_TOKEN": endpoint.tokens["lab"]}
    done = subprocess.run(
        [MCN, *words], env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    (image,) = json.loads(done.stdout)["images"]
    assert len(image["crystals"]) > 50
    assert (tmp_path / f"{tile.stem}.overlay.png").read_bytes().startswith(b"\x89PNG")
    environ["MCN_TOKEN"] = "wrong"
    done = subprocess.run(
        [MCN, *words], env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 1
    assert "401" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_an_open_endpoint_listens_on_this_machine_only() -> None:
    done = subprocess.run(
        [MCN, "serve", "--insecure", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "127.0.0.1" in done.stderr
    environ = {name: value for name, value in os.environ.items() if name != "MCN_TOKEN"}
    done = subprocess.run(
        [MCN, "serve"], env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 2
    assert "no token is set" in done.stderr


def test_a_request_whose_connection_broke_is_repeated() -> None:
    answers = [b"", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", b"", WELLS]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with Client(f"http://127.0.0.1:{server.getsockname()[1]}", "token") as client:
            assert client.wells() == []
        thread.join(DEADLINE_S)


WELLS = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{"wells":[]}'
