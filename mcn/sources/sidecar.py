"""Sidecars: the text files that belong to a picture, wherever it is stored.

A microscope writes a text file beside each picture, and other software renames both. The sidecars
of `a.tif` are in its folder and named `a`, `a.tif` or `a-tif`, each with `.txt` or `.hdr`. Case
and Unicode form of names are ignored: `B.TIF` has `b.txt`. They are preferred in the order given
here, and names with the same case before others; the first text with a pixel size is used.

`.json` and `.xml` files of the same names also belong to a picture and are not tiles, but they
are not read.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Final

from mcn.io.objects import fetch, filesystem_of, one_line, retry_storage
from mcn.io.text import decode_text

logger = logging.getLogger(__name__)

TEXT_ENDINGS: Final = (".txt", ".hdr")
"""Endings of sidecars that may hold a pixel size, in order of preference."""

ENDINGS: Final = (*TEXT_ENDINGS, ".json", ".xml")
"""Endings of all files that belong to a picture of the same name."""

_LONGEST_ENDING: Final = max(map(len, ENDINGS))
_MAX_BYTES: Final = 2**20
_PREFIX_LISTED: Final = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"))
_NOT_LISTED: Final = frozenset(("http", "https"))


class Sidecars:
    """The sidecars among the files of a listing.

    Parameters
    ----------
    paths : iterable of str
        Paths with slashes: full paths, or names within one folder.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._texts: dict[str, dict[str, list[str]]] = {}
        self._owned: set[str] = set()
        images = []
        for path in paths:
            if not path[-_LONGEST_ENDING:].lower().endswith(ENDINGS):
                images.append(path)
                continue
            folder, base, ending = _split_path(path)
            if ending in ENDINGS:
                beside = self._texts.setdefault(folder, {})
                beside.setdefault(_plain(base), []).append(path)
            else:
                images.append(path)
        for image in images if self._texts else ():
            self._owned.update(path for _, _, path in self._beside(image))

    def holds(self, path: str) -> bool:
        """Whether a file of the listing is the sidecar of a picture."""
        return path in self._owned

    def of(self, image: str) -> list[str]:
        """A picture's sidecars that may hold its pixel size, in order of preference."""
        ranked = []
        for rank, spelled, path in self._beside(image):
            _, base, ending = _split_path(path)
            if ending in TEXT_ENDINGS and path != image:
                ranked.append((rank, TEXT_ENDINGS.index(ending), base != spelled, path))
        return [path for *_, path in sorted(ranked)]

    def _beside(self, image: str) -> Iterator[tuple[int, str, str]]:
        """Files named like a picture, each with the rank and spelling of the base name."""
        beside = self._texts.get(image[: image.rfind("/") + 1]) if self._texts else None
        if beside is None:
            return
        for rank, base in enumerate(_bases(image)):
            for path in beside.get(_plain(base), ()):
                yield rank, base, path


def sidecars_of(image: str, names: Iterable[str]) -> list[str]:
    """A picture's sidecars among the files beside it, in order of preference.

    Parameters
    ----------
    image : str
        Name or path.
    names : iterable of str
        Names or paths of other files, in the same form.

    Examples
    --------
    >>> sidecars_of("B.TIF", ["b-tif.hdr", "B.txt", "B2.txt", "B.png"])
    ['B.txt', 'b-tif.hdr']
    """
    return Sidecars(names).of(image)


def find_sidecars(uri: str) -> list[str]:
    """URIs of the sidecars beside a stored picture, in order of preference.

    The folder is listed. In object stores, where folders may have millions of keys, only keys
    that begin with the picture's name are listed: as written, in lower case and in upper case.
    If listing is impossible (HTTP, or no permission), these spellings are tried.

    Parameters
    ----------
    uri : str
        Local path or any fsspec URI of a picture.

    Raises
    ------
    OSError
        If the storage does not respond, after several attempts.
    """
    fs, path = filesystem_of(uri)
    try:
        names = _probed(fs, path) if _is_one_of(fs, _NOT_LISTED) else _listed(fs, path)
    except (PermissionError, NotImplementedError):
        names = _probed(fs, path)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    return [fs.unstrip_protocol(name) for name in sidecars_of(path, names) if fs.isfile(name)]


def sidecar_texts(uri: str) -> Iterator[str]:
    """Texts of the sidecars beside a stored picture, read lazily.

    If a sidecar cannot be read, a warning is logged, as the picture can be read without it.
    """
    # Storage libraries have no common base class of errors.
    try:
        sidecars = find_sidecars(uri)
    except Exception as error:
        logger.warning("%s: cannot search for sidecars (%s)", uri, one_line(error))
        return
    for sidecar in sidecars:
        try:
            text = read_sidecar(sidecar)
        except Exception as error:
            logger.warning("%s: cannot be read (%s)", sidecar, one_line(error))
        else:
            yield text


def read_sidecar(uri: str) -> str:
    """Text of a stored sidecar, at most its first MiB.

    Raises
    ------
    FileNotFoundError
        If the sidecar does not exist.
    OSError
        If the storage fails.
    """
    fs, path = filesystem_of(uri)
    size: int = retry_storage(fs.size, path) or 0
    return decode_text(fetch(uri, min(size, _MAX_BYTES)))


def sidecar_sql(objects: str) -> str:
    """The rule of `Sidecars` in DuckDB's SQL, for listings larger than memory.

    Parameters
    ----------
    objects : str
        Table with a column `path`.

    Returns
    -------
    str
        Statements that create the tables `sidecars` (`path`: every file that belongs to a
        picture) and `preferred` (`image, sidecar`: paths, one row per picture with a sidecar).
    """
    endings, text_endings = (
        "|".join(re.escape(end[1:]) for end in ends) for ends in (ENDINGS, TEXT_ENDINGS)
    )
    plain = "replace(lower(nfc_normalize({})), 'ς', 'σ')"
    rank = " ".join(f"WHEN '{ending}' THEN {rank}" for rank, ending in enumerate(TEXT_ENDINGS))
    return f"""
    CREATE TEMP VIEW named AS
    SELECT path, regexp_extract(path, '^(?:.*/)?') AS folder,
        regexp_extract(path, '[^/]*$') AS name,
        regexp_matches(lower(path), '[^/]\\.({endings})$') AS is_text
    FROM {objects};

    CREATE TEMP TABLE texts AS
    SELECT path, folder, regexp_replace(name, '\\.[^.]*$', '') AS base,
        {plain.format("base")} AS key, lower(regexp_extract(name, '\\.[^.]*$')) AS ending
    FROM named WHERE is_text;

    CREATE TEMP TABLE owners AS
    SELECT *, {plain.format("base")} AS key FROM (
        SELECT path, folder, unnest([0, 1, 2]) AS rank, unnest([
            regexp_replace(name, '(.)\\.[^.]*$', '\\1'),
            name,
            regexp_replace(name, '(.)\\.([^.]*)$', '\\1-\\2')
        ]) AS base FROM named WHERE NOT is_text
    ) AS based
    WHERE (folder, key) IN (SELECT (folder, key) FROM texts);

    CREATE TEMP TABLE sidecars AS SELECT path FROM texts SEMI JOIN owners USING (folder, key);

    CREATE TEMP TABLE preferred AS
    SELECT owners.path AS image, arg_min(
        texts.path, (rank, CASE ending {rank} END, texts.base <> owners.base, texts.path)
    ) AS sidecar
    FROM owners JOIN texts USING (folder, key)
    WHERE regexp_matches(ending, '^\\.({text_endings})$')
    GROUP BY image
    """


def _split_path(path: str) -> tuple[str, str, str]:
    """Folder with its slash, name without its ending, and ending in lower case."""
    start = path.rfind("/") + 1
    dot = path.rfind(".")
    end = dot if dot > start else len(path)
    return path[:start], path[start:end], path[end:].lower()


def _bases(image: str) -> tuple[str, ...]:
    """Names of a picture's sidecars without their endings: `a`, `a.tif`, `a-tif`."""
    folder, stem, ending = _split_path(image)
    name = image[len(folder) :]
    return (stem, name, f"{stem}-{name[len(stem) + 1 :]}") if ending else (name,)


def _plain(name: str) -> str:
    if name.isascii():
        return name.lower()
    # Letter by letter, as databases do it; of whole words Python gives other sigmas.
    letters = unicodedata.normalize("NFC", name)
    return "".join(letter.lower()[0] for letter in letters).replace("ς", "σ")


def _is_one_of(fs: Any, protocols: frozenset[str]) -> bool:
    names = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
    return not protocols.isdisjoint(names)


def _spellings(text: str) -> list[str]:
    """A text as written, in lower case and in upper case, without repeats."""
    return list(dict.fromkeys((text, text.lower(), text.upper())))


def _listed(fs: Any, path: str) -> list[str]:
    """Files in a picture's folder; in object stores, only those that begin with its name."""
    folder, stem, ending = _split_path(path)
    if not _is_one_of(fs, _PREFIX_LISTED):
        names: list[str] = fs.ls(folder, detail=False)
        return names
    dashed = [f"-{extension}" for extension in _spellings(ending[1:])] if ending else []
    names_found: list[str] = []
    for spelled in _spellings(stem):
        for prefix in (f"{spelled}.", *(spelled + end for end in dashed)):
            names_found += retry_storage(fs.find, folder.rstrip("/"), prefix=prefix, maxdepth=1)
    return list(dict.fromkeys(names_found))


def _probed(fs: Any, path: str) -> list[str]:
    """Existing files among the possible names of a picture's sidecars."""
    folder = _split_path(path)[0]
    names = (
        folder + base + spelled
        for base in _bases(path)
        for ending in TEXT_ENDINGS
        for spelled in _spellings(ending)
    )
    return [name for name in names if fs.exists(name)]
