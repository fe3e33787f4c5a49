"""The catalogue reader: a separate deployment, so that queries do not wait for models."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Awaitable, Callable, Sequence
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
from mcn.errors import McnError, QueryError, StorageError
from mcn.io.objects import fetch
from mcn.micrograph import Limits, decode_micrograph
from serve.deployments.messages import ARROW, CSV, JSON, PNG, Content, Refusal

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


def _in_thread(method: Callable[P, R]) -> Callable[P, Awaitable[R | Refusal]]:
    """Run a method in a thread, and return a `Refusal` for errors that a user can correct.

    Queries run in parallel, and no traceback passes between processes.
    """

    @wraps(method)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R | Refusal:
        try:
            return await asyncio.to_thread(method, *args, **kwargs)
        except _NotFoundError as error:
            return Refusal(404, str(error))
        except StorageError as error:
            # Damaged data stay damaged, so a retry would not help.
            return Refusal(500 if error.trouble == "damaged" else 503, str(error), error.trouble)
        except QueryError as error:
            return Refusal(422, str(error))
        except CatalogError as error:  # The storage failed; the query was valid.
            return Refusal(500, str(error))
        except McnError as error:
            return Refusal(404, str(error))

    return run


class _NotFoundError(McnError):
    """The catalogue does not contain what was requested."""


class CatalogReader:
    """Reads from a snapshot of the catalogue that is refreshed every few seconds.

    Parameters
    ----------
    uri : str or None
        The catalogue; None if there is none.
    refresh_s : float
        Age at which a snapshot is refreshed, seconds.
    limits : Limits
        Largest size of a tile's picture.
    """

    def __init__(self, uri: str | None, refresh_s: float, limits: Limits) -> None:
        self._uri, self._refresh_s, self._limits = uri, refresh_s, limits
        self._catalog: Catalog | None = None
        self._snapshot: tuple[float, Snapshot] | None = None
        self._wells: tuple[int, pa.Table] | None = None

    @_in_thread
    def wells(self) -> pa.Table:
        """One row per well: its tiles, crystals and depths."""
        return self._list_wells()

    @_in_thread
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
        """One page of a well's crystals in order of depth.

        Parameters
        ----------
        well : str
        depth : Depths or None
        shapes : sequence of str
            All shapes if empty.
        models : tuple of str or None
            Segmenter and classifier; None for the latest.
        limit : int
            Rows of a page.
        after : tuple of float and str, optional
            `Content.last` of the page before.
        media_type : str
            `JSON`, `CSV` or `ARROW`.
        """
        self._check_well(well)
        catalog, snapshot = self._open()
        selection = Selection([well], depth, shapes, *models, after=after)
        table = pa.concat_tables(iter_batches(catalog, selection, limit, snapshot))
        last = None
        if table.num_rows == limit:
            end = table.slice(limit - 1)
            last = end["depth_m"][0].as_py(), end["crystal_id"][0].as_py()
        return Content(_to_bytes(table, media_type), media_type, last)

    @_in_thread
    def log(
        self,
        well: str,
        step_m: float | None,
        models: tuple[str | None, str | None],
        media_type: str,
    ) -> Content:
        """A well's depth log, as `JSON`, `CSV`, `LAS` or `PNG`."""
        self._check_well(well)
        table = depth_log(self._open()[0], well, step_m, *models)
        if media_type in (JSON, CSV):
            return Content(_to_bytes(table, media_type), media_type)
        write = write_las
        if media_type == PNG:
            from mcn.catalog.depth_log.plot import write_png as write
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log")
            write(table, well, path)
            return Content(path.read_bytes(), media_type)

    @_in_thread
    def tile(
        self, tile_id: str, well: str | None, models: tuple[str | None, str | None]
    ) -> list[dict[str, Any]]:
        """The rows of a tile, one per pair of models, latest first."""
        return row_objects(self._find_tile(tile_id, well, models))

    @_in_thread
    def image(self, tile_id: str, well: str | None) -> Content:
        """A tile's picture as PNG."""
        import imagecodecs

        row = self._find_tile(tile_id, well).slice(0, 1).to_pylist()[0]
        micrograph = decode_micrograph(
            _fetch_tile(row["uri"], self._limits),
            row["uri"],
            pixel_size_um=row["pixel_size_um"],
            limits=self._limits,
        )
        return Content(bytes(imagecodecs.png_encode(micrograph.pixels)), PNG)

    @_in_thread
    def age_s(self) -> float | None:
        """Seconds since the last commit; None without a catalogue."""
        try:
            catalog, snapshot = self._open()
            with explained(catalog.uri):
                (last,) = snapshot.tiles.history(1)
        except _NotFoundError:
            return None
        committed: float = last["timestamp"] / 1000
        return max(0.0, datetime.now(UTC).timestamp() - committed)

    def _open(self) -> tuple[Catalog, Snapshot]:
        if self._uri is None:
            raise _NotFoundError(
                "no catalogue is served here; start it with `mcn serve --catalog URI`"
            )
        if self._catalog is None:
            try:
                self._catalog = Catalog.open(self._uri)
            except NoCatalogError as error:
                raise _NotFoundError(str(error)) from error
        if self._snapshot is None or monotonic() - self._snapshot[0] > self._refresh_s:
            try:
                self._snapshot = monotonic(), self._catalog.snapshot()
            except NoCatalogError as error:
                # It was open before: its storage is gone or no longer mounted.
                raise CatalogStorageError(
                    f"{self._uri}: the catalogue is gone; restore it or its storage", "missing"
                ) from error
        return self._catalog, self._snapshot[1]

    def _list_wells(self) -> pa.Table:
        catalog, snapshot = self._open()
        version = snapshot.tiles.version()
        if self._wells is None or self._wells[0] != version:
            with open_views(catalog, files(snapshot.tiles)) as connection:
                self._wells = version, connection.sql(_WELLS).to_arrow_table()
        return self._wells[1]

    def _check_well(self, well: str) -> None:
        if plain_well(well) not in self._list_wells()["well"].to_pylist():
            raise _NotFoundError(f"no well {well!r}; /v1/wells lists the wells")

    def _find_tile(
        self,
        tile_id: str,
        well: str | None,
        models: tuple[str | None, str | None] = (None, None),
    ) -> pa.Table:
        if well is not None:
            self._check_well(well)
        catalog, snapshot = self._open()
        wells = [well] if well else []
        chosen = find_models(catalog, snapshot.tiles, wells, *models)
        with open_views(catalog, files(snapshot.tiles, wells)) as connection:
            rows = connection.sql(
                f"SELECT * FROM all_tiles WHERE tile_id = $id AND {chosen.condition()} "
                "ORDER BY scanned_at DESC, segmenter, classifier",
                params={"id": tile_id},
            ).to_arrow_table()
        if not rows.num_rows:
            raise _NotFoundError(f"no tile {tile_id!r}; see the column tile_id of crystals for ids")
        return rows


def _fetch_tile(uri: str, limits: Limits) -> bytes:
    """The bytes of a tile's file."""
    try:
        return fetch(uri, most=limits.max_bytes)
    except FileNotFoundError as error:
        raise _NotFoundError(f"{uri}: the tile's picture is no longer there") from error
    except McnError:
        raise
    # Each storage library has its own exceptions.
    except Exception as error:
        raise storage_trouble(uri, error) from error


def _to_bytes(table: pa.Table, media_type: str) -> bytes:
    if media_type == ARROW:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())
    file = io.BytesIO()
    write_table(table, "csv" if media_type == CSV else "json", file)
    return file.getvalue()
