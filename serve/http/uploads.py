"""Request bodies: limits of size and time, and the pictures in them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from serve.http.errors import Problem, too_busy

SIDECAR: Final = "sidecar"
"""Form field of the text files that microscopes write beside pictures."""

_PICTURE: Final = "image"
_FORM: Final = "multipart/form-data"
_RAW: Final = ("application/octet-stream", "")
_CROP_BYTES: Final = 2**20


@dataclass(frozen=True)
class UploadedFile:
    """A file of a request: its bytes, the name from the sender, and the texts of its sidecars."""

    data: bytes
    name: str
    sidecars: tuple[str, ...] = ()


@dataclass
class BodyRoom:
    """Bounds the bodies that are being received, so that slow senders hold up nobody else.

    Parameters
    ----------
    most : int
        Bodies at once; further ones are refused.
    max_bytes, max_bytes_of_a_token : int
        Bytes received of all of them, and of those of one token.
    """

    most: int
    max_bytes: int
    max_bytes_of_a_token: int
    bodies: int = 0
    bytes_of: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def enter(self, token: str) -> Iterator[Callable[[int], None]]:
        """Count a body while the block runs; call the result with the size of each part of it.

        Raises
        ------
        Problem
            503 if the room is full, also from calls of the result.
        """
        if self.bodies >= self.most:
            raise too_busy(f"{self.bodies} pictures are being received; try again", 1)
        self.bodies += 1
        received = 0

        def add(size: int) -> None:
            nonlocal received
            if self.bytes_of.total() + size > self.max_bytes:
                raise too_busy("the pictures being received fill the memory; try again", 1)
            if self.bytes_of[token] + size > self.max_bytes_of_a_token:
                raise too_busy(
                    "the pictures being received with this token fill its memory; send fewer at "
                    "once",
                    1,
                )
            self.bytes_of[token] += size
            received += size

        try:
            yield add
        finally:
            self.bodies -= 1
            self.bytes_of[token] -= received
            if not self.bytes_of[token]:
                del self.bytes_of[token]


async def read_body(
    request: Request, max_bytes: int, seconds: float, add: Callable[[int], None]
) -> bytes:
    """Read a request's body.

    Parameters
    ----------
    request : Request
    max_bytes : int
    seconds : float
        Longest time for the whole body.
    add : callable
        Takes the size of each part; see `BodyRoom.enter`.

    Raises
    ------
    Problem
        413 if the body is too large, 408 if it is too slow, 400 if the connection ends before it,
        503 if there is no room for it.
    """
    declared_size = request.headers.get("content-length", "")
    too_large = Problem(413, f"the body may have at most {max_bytes} bytes; send a smaller one")
    if declared_size.isdigit() and int(declared_size) > max_bytes:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise too_large
                add(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(
            408, f"the body did not arrive within {seconds:g} s; send it faster"
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the connection closed before the end of the body") from None
    return b"".join(chunks)


async def read_files(
    request: Request,
    field: str,
    max_files: int,
    max_bytes: int,
    seconds: float,
    add: Callable[[int], None],
) -> tuple[list[UploadedFile], dict[str, str]]:
    """Read a request's files and other form fields.

    Parameters
    ----------
    request : Request
        The body is the bytes of one picture, or `multipart/form-data`.
    field : str
        Name of the form field with the files. A form of pictures may have sidecars too, in
        the field `sidecar` or among the pictures: see `mcn.sources.sidecar`.
    max_files : int
    max_bytes, seconds, add
        As for `read_body`.

    Raises
    ------
    Problem
        415 for another kind of body, 400 for a form that cannot be read, 422 for no file, for
        too many, and for a sidecar that belongs to no picture or to two.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM and kind not in _RAW and not kind.startswith("image/"):
        raise Problem(415, f"cannot read {kind!r}; send a picture's bytes (image/…) or {_FORM}")
    body = await read_body(request, max_bytes, seconds, add)
    if kind != _FORM:
        return [UploadedFile(body, "image")], {}
    form = await _read_form(request, body, max_files, max_bytes)
    try:
        files = _files(form, field)
        texts = _files(form, SIDECAR) if field == _PICTURE else []
        listing = Sidecars(map(_path_of, [*files, *texts] if field == _PICTURE else ()))
        texts += [file for file in files if listing.holds(_path_of(file))]
        files = [file for file in files if not listing.holds(_path_of(file))]
        if not 1 <= len(files) <= max_files:
            allowed = "one file" if max_files == 1 else f"1 to {max_files} files"
            raise Problem(
                422, f"{field}: the form has {len(files)} files of that name; send {allowed}"
            )
        fields = form.getlist(SIDECAR) if field == _PICTURE else []
        typed = [value for value in fields if isinstance(value, str) and value.strip()]
        sidecars = await _sidecars_of(files, texts, typed, listing)
        uploads = [
            UploadedFile(await file.read(), (file.filename or field)[:200], texts_of_file)
            for file, texts_of_file in zip(files, sidecars, strict=True)
        ]
        return uploads, {name: value for name, value in form.items() if isinstance(value, str)}
    finally:
        await form.close()


async def _sidecars_of(
    images: Sequence[UploadFile],
    texts: Sequence[UploadFile],
    typed: Sequence[str],
    listing: Sidecars,
) -> list[tuple[str, ...]]:
    """The sidecars of each picture, preferred first; a single picture gets all of them.

    Texts without a file name (`typed`) are only unambiguous for a single picture.
    """
    paths = [_path_of(image) for image in images]
    read = {_path_of(text): decode_text(await text.read()) for text in texts}
    names = [listing.of(path) for path in paths]
    if len(images) == 1:
        return [(*(read[path] for path in dict.fromkeys([*names[0], *read])), *typed)]
    if typed:
        raise Problem(422, f"{SIDECAR}: has no file name; send it as a file, a.txt for a.tif")
    for text in read:
        owners = [path for path, texts_of in zip(paths, names, strict=True) if text in texts_of]
        if len(owners) != len(set(owners)) or not (owners or listing.holds(text)):
            pictures = "two pictures of one name" if owners else "no picture"
            raise Problem(
                422,
                f"{SIDECAR}: {text!r} belongs to {pictures}; name it like its picture, "
                "a.txt for a.tif",
            )
    return [tuple(read[path] for path in texts_of) for texts_of in names]


def _files(form: FormData, field: str) -> list[UploadFile]:
    return [value for value in form.getlist(field) if isinstance(value, UploadFile)]


def _path_of(file: UploadFile) -> str:
    return (file.filename or "").replace("\\", "/")


async def _read_form(request: Request, body: bytes, max_files: int, max_bytes: int) -> FormData:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = MultiPartParser(
            request.headers,
            stream(),
            max_files=2 * max_files + 1,
            max_fields=16,
            max_part_size=max_bytes,
        )
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or "it has no boundary or is truncated"
        raise Problem(400, f"the form cannot be read: {reason}; send it again") from None
    if not all(map(_is_unicode, _texts(form))):
        await form.close()
        raise Problem(400, "the form cannot be read: it has text that is not Unicode; send UTF-8")
    return form


def _texts(form: FormData) -> Iterator[str]:
    """Every string of a form: names of fields and files, and the other values."""
    for name, value in form.multi_items():
        yield name
        yield value if isinstance(value, str) else value.filename or ""


def _is_unicode(text: str) -> bool:
    """Whether a text has whole characters only.

    The sender chooses the charset of a form, and some charsets, as UTF-7, can spell half a
    character (a lone surrogate), which neither JSON nor the catalogue can hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def decode(file: UploadedFile, pixel_size_um: float | None, limits: Limits) -> Micrograph:
    """Decode an uploaded picture.

    Raises
    ------
    Problem
        413 if it exceeds the limits, 422 if it is not a picture.
    """
    try:
        return await asyncio.to_thread(
            decode_micrograph,
            file.data,
            file.name,
            pixel_size_um=pixel_size_um,
            sidecar=file.sidecars,
            limits=limits,
        )
    except MicrographSizeError as error:
        raise Problem(413, str(error)) from None
    except MicrographError as error:
        raise Problem(422, str(error)) from None


async def decode_crops(files: Sequence[UploadedFile]) -> NDArray[np.uint8]:
    """Decode uploaded crops of crystals.

    Returns
    -------
    (N, 64, 64) uint8 array

    Raises
    ------
    Problem
        422 if a file is not a picture or has another size; names the file.
    """
    limits = Limits(_CROP_BYTES, _CROP_BYTES)
    crops = []
    for file in files:
        pixels = (await decode(file, None, limits)).pixels
        if pixels.shape != (CROP_SIZE, CROP_SIZE):
            height, width = pixels.shape
            raise Problem(
                422,
                f"{file.name}: it has {width}×{height} pixels; a crop has {CROP_SIZE}×{CROP_SIZE}",
            )
        crops.append(pixels)
    return np.stack(crops)
