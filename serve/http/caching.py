"""Responses that clients may keep: entity tags, and compression."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import pyarrow as pa
from fastapi import Request, Response

_CODECS: Final = ("zstd", "gzip")
_LEAST_BYTES: Final = 1024
_TEXT: Final = ("application/json", "application/geo+json", "application/ld+json", "text/")

CHECK: Final = "private, no-cache"
"""May be kept, but must be checked each time; the check costs no transfer."""

KEEP: Final = "private, max-age=86400"
"""For pictures, which change only when a tile is scanned again."""


async def content_response(
    request: Request,
    body: bytes,
    media_type: str,
    *,
    version: str = "",
    cache: str = CHECK,
    headers: dict[str, str] | None = None,
) -> Response:
    """A response with an entity tag, without its body if the client has it already.

    Text is compressed as the client accepts.

    Parameters
    ----------
    request : Request
    body : bytes
    media_type : str
    version : str
        Changes when the content does; by default taken from the content.
    cache : str
        The header Cache-Control.
    headers : dict of str to str, optional
    """
    # Weak, since a compressed body has other bytes.
    digest = hashlib.blake2b(version.encode() if version else body, digest_size=12).hexdigest()
    tag = f'W/"{digest}"'
    headers = {**(headers or {}), "ETag": tag, "Cache-Control": cache, "Vary": "Accept"}
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    if media_type.startswith(_TEXT) and len(body) >= _LEAST_BYTES:
        headers["Vary"] = "Accept, Accept-Encoding"
        if codec := _accepted_codec(request):
            headers["Content-Encoding"] = codec
            body = await asyncio.to_thread(_compress, codec, body)
    return Response(body, media_type=media_type, headers=headers)


def is_known(request: Request, tag: str) -> bool:
    """Whether the client has the content of an entity tag."""
    known = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    return "*" in known or tag.removeprefix("W/") in [each.removeprefix("W/") for each in known]


def _accepted_codec(request: Request) -> str | None:
    weights = {}
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.partition(";")
        weights[name.strip()] = weight.replace(" ", "")
    refused = ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((codec for codec in _CODECS if weights.get(codec, "q=0") not in refused), None)


def _compress(codec: str, body: bytes) -> bytes:
    level = 3 if codec == "zstd" else 5
    return bytes(pa.Codec(codec, compression_level=level).compress(body, asbytes=True))
