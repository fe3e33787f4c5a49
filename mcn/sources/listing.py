"""Tiles found in a folder by a path pattern."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa

from mcn.io.objects import filesystem_of, one_line
from mcn.sources.left_out import LeftOut
from mcn.sources.path_pattern import DEFAULT_PATTERN, SourceError, compile_pattern
from mcn.sources.sidecar import Sidecars

logger = logging.getLogger(__name__)


LISTED: Final = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("well", pa.string(), nullable=False),
        pa.field("depth_m", pa.float64(), nullable=False),
        pa.field("pixel_size_um", pa.float64()),
        pa.field("sidecar", pa.string()),
    ]
)
"""One row per tile. `etag` and `bytes` are null if the listing lacks them, `pixel_size_um` is from
the manifest, and `sidecar` is the URI of the vendor's text file beside the image."""

IMAGES: Final = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

BATCH: Final = 8192
"""Maximum number of rows of a batch."""


def find_tiles(tiles: str, pattern: str = DEFAULT_PATTERN) -> Iterator[pa.RecordBatch]:
    """Tiles below a folder, found by a path pattern, as a stream.

    Every object that matches is a tile, whatever its type, so that damaged files are noticed.
    Sidecar files, hidden names and keys with empty parts (`//`) are left out; the last two are
    counted in one log message. Patterns and paths may be in any Unicode form (NFC, NFD).

    Parameters
    ----------
    tiles : str
        Folder of tiles: a local path or any fsspec URI.
    pattern : str
        Position of well and depth in an object's path below `tiles`: literal text and
        `{field}`s, including `{well}` and `{depth_m}`. A field never spans a slash. A well
        may be URL-encoded (`well=A%2F1`).

    Yields
    ------
    RecordBatch
        Of schema `LISTED`, sorted by first-level folder, then well and depth.

    Raises
    ------
    SourceError
        If the folder or pattern cannot be used, or there is no tile.
    """
    listing = _TileListing(tiles, pattern)
    pending: list[dict[str, Any]] = []
    for objects in _folders(listing.fs, listing.root, tiles):
        pending += listing.tile_rows(objects)
        full = len(pending) - len(pending) % BATCH
        for start in range(0, full, BATCH):
            yield pa.RecordBatch.from_pylist(pending[start : start + BATCH], schema=LISTED)
        del pending[:full]
    if pending:
        yield pa.RecordBatch.from_pylist(pending, schema=LISTED)
    listing.finish()


class _TileListing:
    """Turns the objects of folders into rows of tiles, and counts what it leaves out."""

    def __init__(self, tiles: str, pattern: str) -> None:
        self._tiles, self._pattern = tiles, pattern
        self._matcher = compile_pattern(pattern)
        self.fs, self.root = filesystem_of(tiles)
        self._left_out = LeftOut()
        self._object_count = self._tile_count = self._unmatched_image_count = 0
        self._example = self._unmatched_example = ""

    def tile_rows(self, objects: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of `LISTED` for the tiles of one folder, by well, depth and URI."""
        sidecars = Sidecars(objects)
        rows = []
        for path, info in objects.items():
            match = self._match(path, sidecars)
            if match is None:
                continue
            sidecar = next(iter(sidecars.of(path)), None)
            rows.append(
                {
                    "uri": self.fs.unstrip_protocol(path),
                    "etag": etag_of(info),
                    "bytes": info.get("size"),
                    "well": unquote(match["well"]),
                    "depth_m": float(match["depth_m"]),
                    "sidecar": sidecar and self.fs.unstrip_protocol(sidecar),
                }
            )
        self._tile_count += len(rows)
        return sorted(rows, key=lambda row: (row["well"], row["depth_m"], row["uri"]))

    def finish(self) -> None:
        """Report what was left out, and raise `SourceError` if there was no tile."""
        self._left_out.report(self._tiles, logger)
        if not self._object_count:
            raise SourceError(f"{self._tiles}: is empty; put tiles there or name another folder")
        if not self._tile_count:
            raise SourceError(
                f"{self._tiles}: none of {self._object_count} objects matches "
                f"{self._pattern!r}, for example {self._example!r}; "
                "name the folder the pattern starts in, or give another pattern"
            )
        if self._unmatched_image_count:
            logger.warning(
                "%s: %d of %d objects are images that do not match %r and were left out, "
                "such as %r",
                self._tiles,
                self._unmatched_image_count,
                self._object_count,
                self._pattern,
                self._unmatched_example,
            )

    def _match(self, path: str, sidecars: Sidecars) -> re.Match[str] | None:
        """Well and depth in an object's path; None if the object is not a tile."""
        below = path[len(self.root.rstrip("/")) + 1 :]
        self._object_count += 1
        if self._left_out.holds(below):
            return None
        self._example = self._example or below
        if sidecars.holds(path):
            return None
        match = self._matcher.fullmatch(unicodedata.normalize("NFC", below))
        # The masks that a rendered core keeps under truth/ are not misplaced tiles.
        if not match and path.lower().endswith(IMAGES) and not below.startswith("truth/"):
            self._unmatched_image_count += 1
            self._unmatched_example = below
        return match


def _folders(fs: Any, root: str, tiles: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Objects in a folder with their listing entries, one first-level folder at a time."""
    try:
        if not fs.exists(root):
            raise SourceError(f"{tiles}: does not exist; check the address")
        if fs.isfile(root):
            raise SourceError(f"{tiles}: is a file; name the folder of tiles, or give a manifest")
        first = sorted(fs.ls(root, detail=True), key=lambda info: str(info["name"]))
        folders = []
        objects: dict[str, dict[str, Any]] = {}
        for info in first:
            name = info["name"].rstrip("/")
            is_folder = info["type"] == "directory"
            if is_folder and name == root.rstrip("/"):
                # S3 lists keys with a double slash as this folder itself.
                objects |= fs.find(root, detail=True, prefix="/")
            elif is_folder and not name.rpartition("/")[2].startswith("."):
                folders.append(info["name"])
            elif name != root.rstrip("/"):
                objects[name] = info
        yield {path: info for path, info in objects.items() if not path.endswith("/")}
        for folder in folders:
            folder_objects = fs.find(folder, detail=True)
            yield {path: info for path, info in folder_objects.items() if not path.endswith("/")}
    except SourceError:
        raise
    except Exception as error:
        # Storage libraries have no common base class of errors.
        raise SourceError(
            f"{tiles}: cannot be listed ({one_line(error)}); check the address and credentials"
        ) from error


def etag_of(info: dict[str, Any]) -> str | None:
    """A tag that changes with the object: the store's ETag, else size and modification time."""
    tag = info.get("ETag") or info.get("etag")
    if tag:
        return str(tag).strip('"')
    changed = info.get("mtime") or info.get("created")
    if changed is None:
        return None
    stamp = changed if isinstance(changed, int | float) else changed.timestamp()
    return f"{info.get('size', 0):x}-{int(stamp * 1e6):x}"
