"""Names of wells: how the catalogue stores and compares them."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final
from urllib.parse import quote

import pyarrow as pa

LONGEST_FOLDER: Final = 240
"""Maximum bytes of a well in a folder's name; file systems allow 255, including `well=`."""

_KEPT: Final = 200
"""Bytes of a name that is too long after it is cut."""


def plain_well(name: str) -> str:
    """Normalise a well's name: Unicode NFC, short enough for a folder.

    A name that is too long is cut and gets a hash of the full name. Tiles of such a well fail
    (`well_fault`); their rows can be queried by either name.

    Examples
    --------
    >>> plain_well("Ko\\u0308ln 1") == plain_well("K\\u00f6ln 1")
    True
    """
    name = unicodedata.normalize("NFC", name)
    if _folder_bytes(name) <= LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    prefix = name
    while _folder_bytes(prefix) > _KEPT:
        prefix = prefix[: min(len(prefix) - 1, len(prefix) * _KEPT // _folder_bytes(prefix) + 1)]
    return f"{unicodedata.normalize('NFC', prefix.rstrip())}~{digest}"


def well_fault(name: str) -> str | None:
    """Why a well of this name cannot be stored, and what to do; None if it can."""
    n_bytes = _folder_bytes(unicodedata.normalize("NFC", name))
    if n_bytes <= LONGEST_FOLDER:
        return None
    return (
        f"the well name {name[:40]}… is too long for a folder ({n_bytes} bytes as it is written "
        f"there, {LONGEST_FOLDER} at most); give it a shorter one in a manifest"
    )


def spell_wells(rows: pa.Table) -> pa.Table:
    """The rows with normalised names in the column `well`."""
    wells = rows["well"].combine_chunks().dictionary_encode()
    spelled = pa.array(map(plain_well, wells.dictionary.to_pylist()), pa.string())
    if spelled.equals(wells.dictionary):
        return rows
    column = rows.schema.get_field_index("well")
    return rows.set_column(column, rows.schema.field(column), spelled.take(wells.indices))


def _folder_bytes(name: str) -> int:
    return len(quote(name, safe="", errors="replace"))
