"""Versions of a catalogue: its history, and the catalogue as it was.

A version of the catalogue is a version of its table of tiles: tiles become visible with it. Each
commit of tiles notes the version of the table of crystals at that time. Commits of older programs
do not; for them it is the last one that was committed before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.fs as pafs

from mcn.catalog.data_files import label_of
from mcn.catalog.integrity.delta_log import read_entry
from mcn.catalog.reading.fragments import readers
from mcn.catalog.reading.log_entries import committed_at
from mcn.catalog.storage import CatalogQueryError, data_files, explained

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

AsOf = str | int | date | datetime
"""A version, or a time: a date is the end of that day, and times are UTC if they do not say."""

CRYSTALS_VERSION: Final = "mcn.crystals"
"""Where a commit of tiles notes the version of the crystals."""

HISTORY: Final[pa.Schema] = pa.schema(
    [
        pa.field("version", pa.int64()),
        pa.field("time", pa.timestamp("ms", tz="UTC")),
        pa.field("action", pa.string()),
        pa.field("scans", pa.string()),
        pa.field("tiles", pa.int64()),
        pa.field("crystals", pa.int64()),
        pa.field("files_added", pa.int64()),
        pa.field("files_removed", pa.int64()),
        pa.field("bytes_added", pa.int64()),
    ]
)
"""Columns of `history`: what a version did, the scans that wrote it, the rows of tiles and crystals
in the files it added, and the files."""

_ACTIONS: Final = {"compact": "compaction", "recover": "cleanup"}
_NUMBER: Final = re.compile(r"\d{1,18}")


@dataclass(frozen=True)
class LoggedCommit:
    """One entry of a table's log.

    Parameters
    ----------
    version : int
    time : float
        When it was committed, in seconds since 1970, by the writer's clock.
    crystals_version : int or None
        The version of the crystals that it notes.
    labels : frozenset of str
        Labels of the files that it added: scans, or what rewrote them.
    rows : int
        Rows that it added; those that it only wrote again are left out.
    added, removed, size : int
        Files, and bytes of those it added.
    """

    version: int
    time: float
    crystals_version: int | None
    labels: frozenset[str]
    rows: int
    added: int
    removed: int
    size: int


def history(catalog: Catalog) -> pa.Table:
    """What happened to a catalogue, one row per version, the oldest first.

    Returns
    -------
    pa.Table of schema `HISTORY`
        As far back as the log reaches.
    """
    tiles, crystals = _commits(catalog, "tiles"), _commits(catalog, "crystals")
    matching = crystals_versions(tiles, crystals)
    rows, before = [], -1
    for commit in tiles:
        until = max(before, matching[commit.version])
        parts = [commit, *(each for each in crystals if before < each.version <= until)]
        before = until
        labels = {label for part in parts for label in part.labels}
        actions = sorted({_ACTIONS.get(label, "scan") for label in labels})
        if not labels:
            actions = ["cleanup"] if any(part.removed for part in parts) else ["new columns"]
            actions = ["created"] if commit.version == 0 else actions
        rows.append(
            {
                "version": commit.version,
                "time": datetime.fromtimestamp(commit.time, UTC),
                "action": " and ".join(actions),
                "scans": ", ".join(sorted(labels - {*_ACTIONS})) or None,
                "tiles": commit.rows,
                "crystals": sum(part.rows for part in parts[1:]),
                "files_added": sum(part.added for part in parts),
                "files_removed": sum(part.removed for part in parts),
                "bytes_added": sum(part.size for part in parts),
            }
        )
    return pa.Table.from_pylist(rows, HISTORY)


@dataclass(frozen=True)
class PastVersion:
    """The catalogue as it was.

    Parameters
    ----------
    tiles, crystals : int
        Versions of the two tables.
    until : datetime or None
        The time up to which corrections and what is known about wells count: the one that was
        asked for, or that of the version after it; None for the latest version.
    """

    tiles: int
    crystals: int
    until: datetime | None


def find_version(catalog: Catalog, as_of: AsOf) -> PastVersion:
    """The versions of the tables that belong to a version or time of the catalogue.

    Raises
    ------
    CatalogQueryError
        For a version or time that the log does not have, and for text that is neither.
    """
    tiles, crystals = _commits(catalog, "tiles"), _commits(catalog, "crystals")
    wanted = parse_as_of(as_of)
    if isinstance(wanted, int):
        chosen = [commit for commit in tiles if commit.version == wanted]
    else:
        # Clocks of writers differ a little; the order is that of the versions.
        chosen = [commit for commit in tiles if commit.time <= wanted.timestamp()]
    if not chosen:
        first = datetime.fromtimestamp(tiles[0].time, UTC).isoformat(timespec="seconds")
        raise CatalogQueryError(
            f"{catalog.uri}: has no version as of {as_of}; give a version from "
            f"{tiles[0].version} to {tiles[-1].version}, or a time since {first} (`mcn catalog "
            "history` lists them)"
        )
    version = chosen[-1].version
    until = None if isinstance(wanted, int) else wanted
    if until is None and version < tiles[-1].version:
        following = next(commit for commit in tiles if commit.version > version)
        # Of its millisecond, the commit itself is not part.
        until = datetime.fromtimestamp(following.time - 0.001, UTC)
    return PastVersion(version, crystals_versions(tiles, crystals)[version], until)


def version_at(catalog: Catalog, name: str, until: datetime) -> int | None:
    """The version of another table at a time; None if it did not exist yet."""
    commits = _commits(catalog, name)
    earlier = [commit.version for commit in commits if commit.time <= until.timestamp()]
    return max(earlier, default=None)


def crystals_versions(
    tiles: Sequence[LoggedCommit], crystals: Sequence[LoggedCommit]
) -> dict[int, int]:
    """The version of the crystals that belongs to each version of the tiles."""
    matching, newest = {}, crystals[0].version
    for commit in tiles:
        noted = commit.crystals_version
        if noted is None:
            earlier = [each.version for each in crystals if each.time <= commit.time]
            noted = max(earlier, default=newest)
        # Another process may have noted a later one before.
        newest = max(newest, noted)
        matching[commit.version] = newest
    return matching


def parse_as_of(as_of: AsOf) -> int | datetime:
    """A version, or a time with its zone.

    Raises
    ------
    CatalogQueryError
        For text that is neither.

    Examples
    --------
    >>> parse_as_of("12"), parse_as_of("2026-11-26T12:00").isoformat()
    (12, '2026-11-26T12:00:00+00:00')
    >>> parse_as_of("2026-11-26").isoformat()
    '2026-11-26T23:59:59.999999+00:00'
    """
    wanted: int | date | datetime
    if isinstance(as_of, str):
        text = as_of.strip()
        try:
            if _NUMBER.fullmatch(text):
                wanted = int(text)
            elif len(text) == len("2026-11-26"):
                wanted = date.fromisoformat(text)
            else:
                wanted = datetime.fromisoformat(text)
        except ValueError:
            raise CatalogQueryError(
                f"as of {as_of!r}: is no version and no time; give a number, 2026-11-26 or "
                "2026-11-26T12:00"
            ) from None
    else:
        wanted = as_of
    if isinstance(wanted, int):
        return wanted
    if not isinstance(wanted, datetime):
        wanted = datetime.combine(wanted, time.max)
    return wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)


def _commits(catalog: Catalog, name: str) -> list[LoggedCommit]:
    with explained(catalog.uri):
        file_system, root = data_files(catalog.uri)
        folder = pafs.FileSelector(f"{root}/{name}/_delta_log", allow_not_found=True)
        versions = sorted(
            int(info.base_name[:20])
            for info in file_system.get_file_info(folder)
            if re.fullmatch(r"\d{20}\.json", info.base_name)
        )
        read = partial(read_entry, file_system, catalog.uri, name)
        entries = readers().map(read, versions)
        commits = zip(versions, entries, strict=True)
        return [_commit(version, lines) for version, lines in commits if lines is not None]


def _commit(version: int, lines: Sequence[dict[str, Any]]) -> LoggedCommit:
    added = [line["add"] for line in lines if "add" in line]
    info: dict[str, Any] = next((line["commitInfo"] for line in lines if "commitInfo" in line), {})
    noted = info.get(CRYSTALS_VERSION)
    return LoggedCommit(
        version,
        committed_at(lines) or 0.0,
        None if noted is None else int(noted),
        frozenset(filter(None, (label_of(file["path"]) for file in added))),
        sum(
            json.loads(file.get("stats") or "{}").get("numRecords", 0)
            for file in added
            if label_of(file["path"]) not in _ACTIONS
        ),
        len(added),
        sum("remove" in line for line in lines),
        sum(file["size"] for file in added),
    )
