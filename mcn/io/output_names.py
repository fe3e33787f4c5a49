"""Names of output files, from the names of pictures."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 200
"""Maximum bytes of a name without its ending; file systems allow 255, some less."""

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\/:*?\"<>|\ud800-\udfff\u2028\u2029]+")
"""Control characters, characters that some file systems or shells refuse, undecodable bytes."""


def output_names(images: Sequence[str]) -> list[str]:
    """A file name for each picture, without its ending; all are different.

    It is the picture's name without characters that file systems refuse, and shortened if too
    long. Names that are equal, or differ only in case, are numbered by the pictures' order.

    Parameters
    ----------
    images : sequence of str
        Paths or URIs.

    Examples
    --------
    >>> output_names(["a/1.tif", "b/1.tif", "c/2.png"])
    ['1-1', '1-2', '2']
    """
    stems = [_stem(image) for image in images]
    alike = [_plain(stem) for stem in stems]
    taken = {plain for plain in alike if alike.count(plain) == 1}
    names = []
    for number, (stem, plain) in enumerate(zip(stems, alike, strict=True), start=1):
        name = stem
        while alike.count(plain) > 1 and (name == stem or _plain(name) in taken):
            name = f"{name}-{number}"
        taken.add(_plain(name))
        names.append(name)
    return names


def one_line_name(name: str) -> str:
    """A file's name on one line, for messages."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: repr(match[0])[1:-1], text)


def _stem(image: str) -> str:
    name = image.rstrip("/").rpartition("/")[2]
    stem = os.path.splitext(name)[0] if name.strip(".") else ""
    stem = _UNFIT.sub("_", stem).strip()
    # A leading dot hides a file, a leading dash is an option.
    stem = re.sub(r"^[.-]+", "_", stem) or "image"
    if len(stem.encode()) <= _LONGEST:
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    prefix = stem.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{prefix}~{digest}"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
