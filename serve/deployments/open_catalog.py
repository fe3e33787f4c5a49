"""The catalogue that a deployment reads: a snapshot, its wells and tiles, and its errors."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, Final, Self, TypeVar

import pyarrow as pa

from mcn.catalog.active_files import files
from mcn.catalog.correcting.changes import NoChangeError
from mcn.catalog.query import find_models, open_views
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog, NoCatalogError, Snapshot
from mcn.catalog.wells import plain_well
from mcn.errors import McnError, QueryError, StorageError
from serve.deployments.fresh_catalog import FreshCatalog
from serve.deployments.iiif import ViewError
from serve.deployments.messages import Refusal

C = TypeVar("C", bound="OpenCatalog")
R = TypeVar("R")

_PAST_KEPT: Final = 4
"""Catalogues as they were, which are kept open."""


def in_thread(
    method: Callable[Concatenate[C, ...], R],
) -> Callable[..., Awaitable[R | Refusal]]:
    """Run a method in a thread, and return a `Refusal` for errors that a user can correct.

    Queries run in parallel, and no traceback passes between processes. With `as_of`, the method
    sees the catalogue as it was at that version or time.
    """

    def call(reader: C, as_of: str | None, *args: Any, **kwargs: Any) -> R:
        return method(reader if as_of is None else reader.at(as_of), *args, **kwargs)

    @wraps(method)
    async def run(self: C, *args: Any, as_of: str | None = None, **kwargs: Any) -> R | Refusal:
        try:
            return await asyncio.to_thread(call, self, as_of, *args, **kwargs)
        except (NotFoundError, NoChangeError) as error:
            return Refusal(404, str(error))
        except ViewError as error:
            return Refusal(400, str(error))
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


class NotFoundError(McnError):
    """The catalogue does not contain what was requested."""


class OpenCatalog:
    """A catalogue, and a snapshot of it that is refreshed in the background.

    Parameters
    ----------
    uri : str or None
        The catalogue; None if there is none.
    refresh_s : float
        Largest age of the snapshot that questions are answered from, seconds.
    """

    def __init__(self, uri: str | None, refresh_s: float) -> None:
        self._uri, self._refresh_s = uri, refresh_s
        self._fresh: FreshCatalog | None = None
        self._opening = threading.Lock()
        self._past: OrderedDict[tuple[str, int], Catalog] = OrderedDict()
        self._opening_past = threading.Lock()

    def open(self) -> tuple[Catalog, Snapshot]:
        """The catalogue, and a snapshot of at most the age that is set."""
        if self._uri is None:
            raise NotFoundError(
                "no catalogue is served here; start it with `mcn serve --catalog URI`"
            )
        with self._opening:
            if self._fresh is None:
                try:
                    self._fresh = FreshCatalog(Catalog(self._uri), self._refresh_s)
                except NoCatalogError as error:
                    raise NotFoundError(str(error)) from error
        return self._fresh.catalog, self._fresh.snapshot()

    def at(self, as_of: str) -> Self:
        """The same for the catalogue as it was at a version or time.

        Raises
        ------
        CatalogQueryError
            For a version or time that the catalogue does not have, and text that is neither.
        """
        catalog, snapshot = self.open()
        # A time that is not over, and the latest version, end with the next commit.
        key = as_of, snapshot.tiles.version
        with self._opening_past:
            past = self._past.pop(key, None) or Catalog(catalog.uri, as_of)
            self._past[key] = past
            while len(self._past) > _PAST_KEPT:
                self._past.popitem(last=False)
        reader = copy.copy(self)
        reader._fresh = FreshCatalog(past, 0.0)
        return reader

    def check_well(self, well: str) -> None:
        """Raise `NotFoundError` for a well that is not in the catalogue."""
        if plain_well(well) not in self.open()[1].tiles.by_well:
            raise NotFoundError(f"no well {well!r}; /v1/wells lists the wells")

    def find_tile(
        self,
        tile_id: str,
        well: str | None,
        models: tuple[str | None, str | None] = (None, None),
    ) -> pa.Table:
        """The rows of a tile, one per pair of models, latest first.

        Raises
        ------
        NotFoundError
            If there is no such tile or well.
        """
        if well is not None:
            self.check_well(well)
        catalog, snapshot = self.open()
        wells = [well] if well else []
        chosen = find_models(catalog, snapshot.tiles, wells, *models)
        with open_views(catalog, files(snapshot.tiles, wells)) as connection:
            rows = connection.sql(
                f"SELECT * FROM all_tiles WHERE tile_id = $id AND {chosen.condition()} "
                "ORDER BY scanned_at DESC, segmenter, classifier",
                params={"id": tile_id},
            ).to_arrow_table()
        if not rows.num_rows:
            raise NotFoundError(f"no tile {tile_id!r}; see the column tile_id of crystals for ids")
        return rows
