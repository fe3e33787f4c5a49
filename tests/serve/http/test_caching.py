"""Entity tags and compression."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from fastapi import Request

from serve.http.caching import content_response, is_known


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


@pytest.mark.parametrize(
    ("accepted", "codec"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip", "gzip"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("br", None),
        ("", None),
    ],
)
def test_text_is_compressed_as_accepted(accepted: str, codec: str | None) -> None:
    body = b'{"a": 1}' * 500
    asked = request(accept_encoding=accepted)
    response = asyncio.run(content_response(asked, body, "application/json"))
    assert response.headers.get("content-encoding") == codec
    assert "Accept-Encoding" in response.headers["vary"]
    data = bytes(response.body)
    if codec:
        data = pa.Codec(codec).decompress(data, decompressed_size=len(body), asbytes=True)
    assert data == body


def test_pictures_and_short_texts_are_not_compressed() -> None:
    asked = request(accept_encoding="gzip")
    for body, media_type in ((b"x" * 5000, "image/png"), (b"{}", "application/json")):
        response = asyncio.run(content_response(asked, body, media_type))
        assert "content-encoding" not in response.headers


def test_a_known_body_is_not_sent() -> None:
    first = asyncio.run(content_response(request(), b"body", "text/plain"))
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = asyncio.run(content_response(request(if_none_match=known), b"body", "text/plain"))
        assert (again.status_code, again.body) == (304, b"")
    assert not is_known(request(if_none_match='"other"'), tag)
    versioned = asyncio.run(content_response(request(), b"body", "text/plain", version="2"))
    assert versioned.headers["etag"] != tag
