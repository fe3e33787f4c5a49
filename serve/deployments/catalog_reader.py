"""Questions to the catalogue, answered by a deployment of their own: no model waits for them."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar

import pyarrow as pa

from mcn.catalog.active_files import Depths, files
from mcn.catalog.depth_log.las import write_las
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.formats import row_objects, write_table
from mcn.catalog.query import Selection, find_models, iter_batches, open_views
from mcn.catalog.storage import CatalogError, CatalogStorageError, explained, storage_trouble
from mcn.catalog.store import Catalog, NoCatalogError, Snapshot
from mcn.catalog.wells import plain_well
from mcn.errors import McnError, StorageError
from mcn.io.objects import fetch
from mcn.micrograph import Limits, decode_micrograph
from serve.deployments.messages import Refusal

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON, CSV, PNG, LAS = "application/json", "text/csv", "image/png", "text/plain"

_WELLS: Final = """
    SELECT
        well,
        count(*) AS tiles,
        count(*) FILTER (status = 'failed') AS tiles_failed,
        coalesce(sum(n_crystals), 0)::BIGINT AS crystals,
        min(depth_m) AS depth_min_m,
        max(depth_m) AS depth_max_m
    FROM tiles GROUP BY well ORDER BY well
"""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Content:
    """Bytes of an answer, and where its next page starts: depth and crystal of its last row."""

    body: bytes
    media_type: str
    last: tuple[float, str] | None = None


def _refusing(ask: Callable[P, R]) -> Callable[P, Awaitable[R | Refusal]]:
    """Ask in a thread, and turn what a user can put right into a `Refusal`.

    So no traceback passes between processes, and questions do not wait for each other.
    """

    @wraps(ask)
    async def asked(*args: P.args, **named: P.kwargs) -> R | Refusal:
        try:
            return await asyncio.to_thread(ask, *args, **named)
        except _MissingError as error:
            return Refusal(404, str(error))
        except StorageError as error:
            # Waiting does not mend damaged bytes.
            return Refusal(500 if error.trouble == "damaged" else 503, str(error), error.trouble)
        except CatalogError as error:
            return Refusal(422, str(error))
        except McnError as error:
            return Refusal(404, str(error))

    return asked


class _MissingError(McnError):
    """Something that is not in the catalogue."""


class CatalogReader:
    """Answers from one snapshot of the catalogue, which is renewed every few seconds.

    Parameters
    ----------
    uri : str or None
        The catalogue; None where none is served.
    refresh_s : float
        Age at which a snapshot is renewed.
    limits : Limits
        What a tile's picture may be at most.
    """

    def __init__(self, uri: str | None, refresh_s: float, limits: Limits) -> None:
        self._uri, self._refresh_s, self._limits = uri, refresh_s, limits
        self._opened: Catalog | None = None
        self._snapshot: tuple[float, Snapshot] | None = None
        self._wells: tuple[int, pa.Table] | None = None

    @_refusing
    def wells(self) -> pa.Table:
        """A row a well: its tiles, crystals and depths."""
        return self._all_wells()

    @_refusing
    def crystals(
        self,
        well: str,
        depth: Depths | None,
        shapes: Sequence[str],
        models: tuple[str | None, str | None],
        limit: int,
        after: tuple[float, str] | None,
        media_type: str,
    ) -> Content:
        """A page of a well's crystals in order of depth."""
        self._check_well(well)
        catalog, snapshot = self._now()
        selection = Selection([well], depth, shapes, *models, after=after)
        table = pa.concat_tables(iter_batches(catalog, selection, limit, snapshot))
        last = None
        if table.num_rows == limit:
            end = table.slice(limit - 1)
            last = end["depth_m"][0].as_py(), end["crystal_id"][0].as_py()
        return Content(_as_bytes(table, media_type), media_type, last)

    @_refusing
    def log(
        self,
        well: str,
        step_m: float | None,
        models: tuple[str | None, str | None],
        media_type: str,
    ) -> Content:
        """A well's depth log."""
        self._check_well(well)
        table = depth_log(self._now()[0], well, step_m, *models)
        if media_type in (JSON, CSV):
            return Content(_as_bytes(table, media_type), media_type)
        write = write_las
        if media_type == PNG:
            from mcn.catalog.depth_log.plot import write_png as write
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log")
            write(table, well, path)
            return Content(path.read_bytes(), media_type)

    @_refusing
    def tile(
        self, tile_id: str, well: str | None, models: tuple[str | None, str | None]
    ) -> list[dict[str, Any]]:
        """The rows of a tile, one for each pair of models, the latest first."""
        return row_objects(self._tile(tile_id, well, models))

    @_refusing
    def image(self, tile_id: str, well: str | None) -> Content:
        """A tile's picture as PNG."""
        import imagecodecs

        row = self._tile(tile_id, well).slice(0, 1).to_pylist()[0]
        micrograph = decode_micrograph(
            _fetched(row["uri"], self._limits),
            row["uri"],
            pixel_size_um=row["pixel_size_um"],
            limits=self._limits,
        )
        return Content(bytes(imagecodecs.png_encode(micrograph.pixels)), PNG)

    @_refusing
    def age_s(self) -> float | None:
        """Seconds since the last commit; None without one."""
        try:
            catalog, snapshot = self._now()
            with explained(catalog.uri):
                (last,) = snapshot.tiles.history(1)
        except _MissingError:
            return None
        committed: float = last["timestamp"] / 1000
        return max(0.0, datetime.now(UTC).timestamp() - committed)

    def _now(self) -> tuple[Catalog, Snapshot]:
        if self._uri is None:
            raise _MissingError("no catalogue is served here; start with `mcn serve --catalog URI`")
        if self._opened is None:
            try:
                self._opened = Catalog.open(self._uri)
            except StorageError:
                raise
            except CatalogError as error:
                raise _MissingError(str(error)) from error
        if self._snapshot is None or monotonic() - self._snapshot[0] > self._refresh_s:
            try:
                self._snapshot = monotonic(), self._opened.snapshot()
            except NoCatalogError as error:
                # It was there: its storage was taken away, or is not mounted.
                raise CatalogStorageError(
                    f"{self._uri}: the catalogue is gone; restore it or its storage", "missing"
                ) from error
        return self._opened, self._snapshot[1]

    def _all_wells(self) -> pa.Table:
        catalog, snapshot = self._now()
        version = snapshot.tiles.version()
        if self._wells is None or self._wells[0] != version:
            with open_views(catalog, files(snapshot.tiles)) as connection:
                self._wells = version, connection.sql(_WELLS).to_arrow_table()
        return self._wells[1]

    def _check_well(self, well: str) -> None:
        if plain_well(well) not in self._all_wells()["well"].to_pylist():
            raise _MissingError(f"no well {well!r}; /v1/wells lists those there are")

    def _tile(
        self,
        tile_id: str,
        well: str | None,
        models: tuple[str | None, str | None] = (None, None),
    ) -> pa.Table:
        if well is not None:
            self._check_well(well)
        catalog, snapshot = self._now()
        wells = [well] if well else []
        chosen = find_models(catalog, snapshot.tiles, wells, *models)
        with open_views(catalog, files(snapshot.tiles, wells)) as connection:
            rows = connection.sql(
                f"SELECT * FROM all_tiles WHERE tile_id = $id AND {chosen.condition()} "
                "ORDER BY scanned_at DESC, segmenter, classifier",
                params={"id": tile_id},
            ).to_arrow_table()
        if not rows.num_rows:
            raise _MissingError(f"no tile {tile_id!r}; ids stand in the column tile_id of crystals")
        return rows


def _fetched(uri: str, limits: Limits) -> bytes:
    """A tile's object."""
    try:
        return fetch(uri, most=limits.max_bytes)
    except FileNotFoundError as error:
        raise _MissingError(f"{uri}: the tile's picture is no longer there") from error
    except McnError:
        raise
    # Storage libraries have errors of their own.
    except Exception as error:
        raise storage_trouble(uri, error) from error


def _as_bytes(table: pa.Table, media_type: str) -> bytes:
    if media_type == ARROW:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())
    file = io.BytesIO()
    write_table(table, "csv" if media_type == CSV else "json", file)
    return file.getvalue()
