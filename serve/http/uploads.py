"""What comes in: bodies of bounded size and time, and the pictures in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from mcn.crystals import CROP_SIZE
from mcn.io.text import decode_text
from mcn.micrograph import (
    Limits,
    Micrograph,
    MicrographError,
    MicrographSizeError,
    decode_micrograph,
)
from mcn.sources.sidecar import Sidecars
from serve.http.errors import Problem

SIDECAR: Final = "sidecar"
"""Field of a form for the text files that microscopes put beside pictures."""

_PICTURE: Final = "image"
_FORM: Final = "multipart/form-data"
_PLAIN: Final = ("application/octet-stream", "")
_CROP_BYTES: Final = 2**20


@dataclass(frozen=True)
class UploadedFile:
    """One file of a body: its bytes, what the sender calls it, and the texts that came with it."""

    data: bytes
    name: str
    sidecars: tuple[str, ...] = ()


async def read_body(request: Request, max_bytes: int, seconds: float) -> bytes:
    """A request's body, refused as soon as it is known to be too large or too slow."""
    told = request.headers.get("content-length", "")
    too_large = Problem(413, f"the body may have {max_bytes} bytes; send a smaller one")
    if told.isdigit() and int(told) > max_bytes:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(
            408, f"the body did not come in within {seconds:g} s; send it faster"
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the connection ended before the body did") from None
    return b"".join(chunks)


async def read_parts(
    request: Request, field: str, most: int, max_bytes: int, seconds: float
) -> tuple[list[UploadedFile], dict[str, str]]:
    """The files of a body and its other fields.

    Parameters
    ----------
    request : Request
        Its body is the bytes of one picture, or `multipart/form-data`.
    field : str
        Name of the form's field that holds the files. A form of pictures may hold sidecars
        too, in the field `sidecar` or among the pictures: see `mcn.sources.sidecar`.
    most : int
        Files there may be.
    max_bytes, seconds
        As for `read_body`.

    Raises
    ------
    Problem
        415 for another kind of body, 400 for a form that cannot be read, 422 where there is
        no file or more than there may be, or a sidecar of no picture or of two.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM and kind not in _PLAIN and not kind.startswith("image/"):
        raise Problem(415, f"{kind!r} is not read; send a picture's bytes (image/…) or {_FORM}")
    body = await read_body(request, max_bytes, seconds)
    if kind != _FORM:
        return [UploadedFile(body, "image")], {}
    form = await _read_form(request, body, most, max_bytes)
    try:
        files = _files(form, field)
        texts = _files(form, SIDECAR) if field == _PICTURE else []
        listing = Sidecars(map(_path_of, [*files, *texts] if field == _PICTURE else ()))
        texts += [file for file in files if listing.holds(_path_of(file))]
        files = [file for file in files if not listing.holds(_path_of(file))]
        if not 1 <= len(files) <= most:
            many = "one file" if most == 1 else f"1 to {most} files"
            raise Problem(
                422, f"{field}: the form has {len(files)} files of that name; send {many}"
            )
        sidecars = await _sidecars_of(files, texts, listing)
        parts = [
            UploadedFile(await file.read(), (file.filename or field)[:200], its)
            for file, its in zip(files, sidecars, strict=True)
        ]
        return parts, {name: value for name, value in form.items() if isinstance(value, str)}
    finally:
        await form.close()


async def _sidecars_of(
    images: Sequence[UploadFile], texts: Sequence[UploadFile], listing: Sidecars
) -> list[tuple[str, ...]]:
    """Each picture's sidecars, in order of preference; a single picture has all there are."""
    paths = [_path_of(image) for image in images]
    read = {_path_of(text): decode_text(await text.read()) for text in texts}
    wanted = [listing.of(path) for path in paths]
    if len(images) == 1:
        return [tuple(read[path] for path in dict.fromkeys([*wanted[0], *read]))]
    for text in read:
        owners = [path for path, its in zip(paths, wanted, strict=True) if text in its]
        if len(owners) != len(set(owners)) or not (owners or listing.holds(text)):
            many = "two pictures of one name" if owners else "no picture"
            raise Problem(
                422, f"{SIDECAR}: {text!r} is of {many}; call it as its picture, a.txt for a.tif"
            )
    return [tuple(read[path] for path in its) for its in wanted]


def _files(form: FormData, field: str) -> list[UploadFile]:
    return [value for value in form.getlist(field) if isinstance(value, UploadFile)]


def _path_of(file: UploadFile) -> str:
    return (file.filename or "").replace("\\", "/")


async def _read_form(request: Request, body: bytes, most: int, max_bytes: int) -> FormData:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = MultiPartParser(
            request.headers,
            stream(),
            max_files=2 * most + 1,
            max_fields=16,
            max_part_size=max_bytes,
        )
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        why = getattr(error, "message", None) or "it has no boundary or is cut short"
        raise Problem(400, f"the form cannot be read: {why}") from None


async def decode(part: UploadedFile, pixel_size_um: float | None, limits: Limits) -> Micrograph:
    """A picture of a body as a micrograph.

    Raises
    ------
    Problem
        413 where it is larger than the limits, 422 where it is none.
    """
    try:
        return await asyncio.to_thread(
            decode_micrograph,
            part.data,
            part.name,
            pixel_size_um=pixel_size_um,
            sidecar=part.sidecars,
            limits=limits,
        )
    except MicrographSizeError as error:
        raise Problem(413, str(error)) from None
    except MicrographError as error:
        raise Problem(422, str(error)) from None


async def decode_crops(parts: Sequence[UploadedFile]) -> NDArray[np.uint8]:
    """Pictures of crystals as the classifier takes them, (N, 64, 64).

    Raises
    ------
    Problem
        422 where one is no picture or has another size; names it.
    """
    limits = Limits(_CROP_BYTES, _CROP_BYTES)
    crops = []
    for part in parts:
        pixels = (await decode(part, None, limits)).pixels
        if pixels.shape != (CROP_SIZE, CROP_SIZE):
            height, width = pixels.shape
            raise Problem(
                422,
                f"{part.name}: it has {width}×{height} pixels; a crop has {CROP_SIZE}×{CROP_SIZE}",
            )
        crops.append(pixels)
    return np.stack(crops)
