"""DuckDB with views of a catalogue's data files, and access to nothing else."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from mcn.catalog.active_files import dataset
from mcn.catalog.integrity.damage import damage_named
from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.reading.latest import ALL_TILES, CRYSTALS, LATEST_TILES
from mcn.catalog.schema import TILES
from mcn.catalog.storage import CatalogError, explained

if TYPE_CHECKING:
    import duckdb

    from mcn.catalog.store import Catalog

_ORPHANS: Final = """
    SELECT count(*) FROM crystal_rows
    ANTI JOIN tile_rows USING (tile_id, segmenter, classifier, scanned_at)
"""


@contextmanager
def reading(catalog: Catalog, read: Mapping[str, pa.Table]) -> Iterator[None]:
    """Name the damaged one of these files, by table, if reading them fails."""
    with explained(catalog.uri), damage_named(catalog.uri, read):
        yield


@functools.lru_cache(4)
def _database(memory_mb: int | None) -> duckdb.DuckDBPyConnection:
    """An empty in-memory database without access to files, network and Python variables."""
    import duckdb

    # SQL can read DuckDB's temporary directory, so there must be none.
    config: dict[str, Any] = {"python_enable_replacements": False, "temp_directory": ""}
    config |= {} if memory_mb is None else {"memory_limit": f"{memory_mb}MiB"}
    database = duckdb.connect(config=config)
    database.execute(
        "SET GLOBAL TimeZone = 'UTC'; SET enable_external_access = false;"
        "SET lock_configuration = true"
    )
    return database


@contextmanager
def open_views(
    catalog: Catalog,
    tile_files: pa.Table,
    crystal_files: pa.Table | None = None,
    models: ModelPair = LATEST,
    memory_mb: int | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with views of these files and access to nothing else.

    `tiles` and `crystals` hold the rows of the latest models of each tile, or of `models` if
    they are named. `all_tiles` and `all_crystals` hold the rows of all models. `tile_rows` and
    `crystal_rows` hold all rows as committed, including replaced ones. DuckDB uses `memory_mb` MiB
    at most, or what it chooses.
    """
    import duckdb

    with explained(catalog.uri), _database(memory_mb).cursor() as connection:
        tiles = dataset(f"{catalog.uri}/tiles", TILES, tile_files)
        connection.register("tile_rows", tiles)
        latest = LATEST_TILES.format(chosen=models.condition())
        connection.execute(f"CREATE TEMP VIEW tiles AS {latest}")
        connection.execute(f"CREATE TEMP VIEW all_tiles AS {ALL_TILES}")
        if crystal_files is not None:
            crystals = dataset(f"{catalog.uri}/crystals", catalog.crystals_schema, crystal_files)
            connection.register("crystal_rows", crystals)
            for view, tile_view in (("crystals", "tiles"), ("all_crystals", "all_tiles")):
                rows = CRYSTALS.format(tiles=tile_view)
                connection.execute(f"CREATE TEMP VIEW {view} AS {rows}")
        read = {"tiles": tile_files}
        read |= {} if crystal_files is None else {"crystals": crystal_files}
        try:
            with damage_named(catalog.uri, read):
                yield connection
        except duckdb.Error as error:
            raise CatalogError(f"{catalog.uri}: {' '.join(str(error).split())}") from error


def count_orphans(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of committed crystals without a tile row, in the views of `open_views`."""
    return int(connection.sql(_ORPHANS).fetchall()[0][0])
