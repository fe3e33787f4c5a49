"""Three hundred malicious request bodies, and connections that never end."""

import io
import random
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

from ...waiting import DEADLINE_S
from ..conftest import Endpoint


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of very many black pixels in few bytes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    line = bytes(width + 1)
    packed = b"".join(rows.compress(line) for _ in range(min(height, 4000))) + rows.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def tiff_bomb() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((3000, 3000), np.uint8), compression="zlib")
    return file.getvalue()


def polyglot(picture: bytes) -> bytes:
    """A picture that is also a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../etc/cron.d/x", "* * * * * root true")
    return picture + file.getvalue()


def hostile(tile: bytes) -> Iterator[tuple[str, bytes]]:
    """Description and bytes of each malicious body."""
    chance = random.Random(5)
    grey = Image.fromarray(np.full((32, 32), 90, np.uint8))
    small = {}
    for kind in ("PNG", "JPEG", "TIFF"):
        file = io.BytesIO()
        grey.save(file, kind)
        small[kind] = file.getvalue()
    yield "nothing", b""
    yield "png bomb", png_bomb(20_000, 20_000)
    yield "wide png bomb", png_bomb(100_000, 1000)
    yield "png of no pixels", png_bomb(0, 10)
    yield "tiff bomb", tiff_bomb()
    yield "zip", polyglot(b"")
    yield "html", b"<html><script>alert(1)</script></html>"
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield (
        "pickle",
        b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94",
    )
    yield "numpy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    yield "gzip", zlib.compress(b"\0" * 10**6, 9)
    yield "elf", b"\x7fELF" + bytes(200)
    yield "text", b"rhombic" * 100
    for kind, data in small.items():
        yield f"{kind} that is a zip too", polyglot(data)
        for _ in range(50):
            cut = data[: chance.randrange(1, len(data))]
            yield f"{kind} cut short", cut
        for _ in range(42):
            turned = bytearray(data)
            for _ in range(chance.randrange(1, 30)):
                turned[chance.randrange(len(turned))] = chance.randrange(256)
            yield f"{kind} with bytes turned", bytes(turned)
    for n in range(8):
        yield "tile cut short", tile[: chance.randrange(1, len(tile))] + bytes(n)


@pytest.mark.long
def test_hostile_bodies_are_refused_and_harm_nothing(endpoint: Endpoint, tile: Path) -> None:
    before = {kind: endpoint.replicas(kind) for kind in ("Ingress", "Models", "Catalog")}
    bodies = list(hostile(tile.read_bytes()))
    assert len(bodies) >= 300
    statuses: dict[str, set[int]] = {}
    with endpoint.client() as client:
        for description, body in bodies:
            answer = client.post(
                "/v1/analyze", content=body, headers={"Content-Type": "application/octet-stream"}
            )
            statuses.setdefault(description, set()).add(answer.status_code)
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json", description
    # A picture with a changed byte, or with a zip archive appended, may still be valid.
    expected = {200, 413, 422}
    for description, codes in statuses.items():
        assert codes <= expected, (description, codes)
    for description in ("nothing", "zip", "html", "svg", "pickle", "numpy", "gzip", "elf", "text"):
        assert statuses[description] == {422}, description
    assert statuses["png bomb"] == statuses["wide png bomb"] == statuses["tiff bomb"] == {413}
    assert before == {kind: endpoint.replicas(kind) for kind in before}, "no replica died"


@pytest.mark.long
def test_bodies_of_two_hundred_megabytes_are_refused(endpoint: Endpoint) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(2**20)

    with endpoint.client() as client:
        response = client.post("/v1/analyze", content=bytes(200 * 2**20), headers=_OCTETS)
        assert response.status_code == 413
        # Without a Content-Length, the stream is measured.
        with suppress(httpx.WriteError):  # The connection may be closed while we are still sending.
            assert client.post("/v1/analyze", content=endless(), headers=_OCTETS).status_code == 413
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/html", b"<p>", 415),
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"image=x", 415),
        ("multipart/form-data", b"no boundary", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken", 422),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"'
         b"\r\n\r\nno file\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=" + "x" * 5000, b"", 400),
    ],
)  # fmt: skip
def test_other_kinds_of_bodies(endpoint: Endpoint, kind: str, body: bytes, status: int) -> None:
    with endpoint.client() as client:
        for path in ("/v1/analyze", "/v1/classify", "/v1/segment"):
            answer = client.post(path, content=body, headers={"Content-Type": kind})
            assert answer.status_code == status, (path, answer.text)


def test_a_body_that_never_arrives_times_out(endpoint: Endpoint) -> None:
    host, port = endpoint.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as slow:
        slow.sendall(
            "POST /v1/analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            f"Authorization: Bearer {endpoint.tokens['lab']}\r\n"
            "Content-Length: 1000\r\n\r\n".encode()
        )
        slow.sendall(b"\x89PNG")
        started = time.monotonic()
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started > 2


def test_file_names_are_never_used_as_paths(endpoint: Endpoint, tile: Path) -> None:
    form = {"image": ("../../etc/passwd\r\nX-Evil: 1", tile.read_bytes(), "image/tiff")}
    with endpoint.client() as client:
        answer = client.post("/v1/analyze", files=form, params={"masks": "none"})
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers


_OCTETS = {"Content-Type": "application/octet-stream"}
