"""What persons said of the crystals that each segmenter found, tile by tile.

A tile counts as *judged*, every crystal of it looked at, if somebody changed an outline in it
(redrew, deleted, added, merged or split), or if somebody named each of its crystals. Crystals of
a judged tile that nobody changed are taken to be right, and no further crystal to be missing. In
all other tiles only the crystals that a person corrected are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import files
from mcn.catalog.corrected.rows import MODEL_KEY, Corrections, read_corrections
from mcn.catalog.query import known_wells, open_views
from mcn.catalog.schema import depth_bin

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot

_SAME: Final = " AND ".join(f"k.{key} = c.{name}" for key, name in MODEL_KEY.items())
_TILE: Final = "well, tile_id, segmenter"

_FOUND: Final = f"""
    WITH latest AS (
        SELECT * FROM all_tiles SEMI JOIN corrected_tiles USING ({_TILE})
        WHERE status = 'ok'
        QUALIFY row_number() OVER (PARTITION BY {_TILE} ORDER BY scanned_at DESC, classifier) = 1
    )
    SELECT c.well, c.tile_id, c.segmenter,
        coalesce(k.correction = 'delete', false) AS is_deleted,
        k.mask_rle IS NOT NULL AND NOT is_deleted AS is_redrawn,
        k.shape IS NOT NULL AND NOT is_deleted AS is_named,
        c.mask_rle AS found_rle,
        k.mask_rle AS drawn_rle
    FROM crystal_rows c SEMI JOIN latest USING (tile_id, segmenter, classifier, scanned_at)
    LEFT JOIN changed_crystals k
        ON k.tile_id = c.tile_id AND k.segmenter = c.segmenter AND {_SAME}
"""
_ADDED: Final = """
    SELECT k.well, k.tile_id, k.segmenter, k.mask_rle AS drawn_rle
    FROM added_crystals k SEMI JOIN all_tiles t
        ON t.well = k.well AND t.tile_id = k.tile_id AND t.segmenter = k.segmenter
            AND t.status = 'ok'
"""
_NAMED: Final = f"""
    SELECT c.tile_id, c.classifier, k.shape AS said, c.confidence, {{probabilities}}
    FROM all_crystals c JOIN changed_crystals k
        ON k.tile_id = c.tile_id AND k.segmenter = c.segmenter AND {_SAME}
    WHERE k.shape IS NOT NULL AND k.correction <> 'delete'
    ORDER BY c.classifier, c.tile_id, c.crystal_id
"""


@dataclass(frozen=True, eq=False)
class CorrectedTiles:
    """The tiles with corrections, and what persons said of their crystals.

    Parameters
    ----------
    corrections : Corrections
    found : pa.Table
        One row per crystal that a segmenter found in such a tile in its latest scan: `well`,
        `tile_id`, `segmenter`, `is_deleted`, `is_redrawn`, `is_named` (by a person), `found_rle`,
        its outline, and `drawn_rle`, that of a person.
    added : pa.Table
        One row per crystal that a person added: `well`, `tile_id`, `segmenter`, `drawn_rle`.
    named : pa.Table
        One row per crystal that a person named and classifier of it: `tile_id`, `classifier`,
        `said`, the person's shape, and the classifier's `confidence` and `p_<shape>`.
    """

    corrections: Corrections
    found: pa.Table
    added: pa.Table
    named: pa.Table

    def judged(self) -> pa.Table:
        """The judged tiles: rows of `well`, `tile_id` and `segmenter`."""
        rows = self.found.select(["well", "tile_id", "segmenter"])
        changed = pc.or_(self.found["is_deleted"], self.found["is_redrawn"])
        rows = rows.append_column("changed", changed)
        rows = rows.append_column("known", pc.or_(changed, self.found["is_named"]))
        added = self.added.select(["well", "tile_id", "segmenter"])
        always = pa.repeat(pa.scalar(True), added.num_rows)
        added = added.append_column("changed", always).append_column("known", always)
        by_tile = pa.concat_tables([rows, added]).group_by(["well", "tile_id", "segmenter"])
        tiles = by_tile.aggregate([("changed", "any"), ("known", "all")])
        tiles = tiles.filter(pc.or_(tiles["changed_any"], tiles["known_all"]))
        return tiles.select(["well", "tile_id", "segmenter"])


def read_corrected_tiles(
    catalog: Catalog, wells: Sequence[str] = (), snapshot: Snapshot | None = None
) -> CorrectedTiles:
    """What persons said of the crystals of all tiles with corrections.

    Only the files that hold such tiles are read.

    Parameters
    ----------
    catalog : Catalog
    wells : sequence of str
        All wells if empty.
    snapshot : Snapshot, optional

    Raises
    ------
    CatalogQueryError
        For wells that do not exist.
    """
    snapshot = snapshot or catalog.snapshot()
    known_wells(catalog, snapshot.tiles, wells)
    corrections = read_corrections(catalog, wells)
    columns = ["well", "depth_m", "tile_id", "segmenter"]
    tiles = pa.concat_tables([corrections.changed, corrections.added], promote_options="default")
    tiles = tiles.select(columns).group_by(columns).aggregate([])
    corrected_wells = pc.unique(tiles["well"]).to_pylist()
    if not corrected_wells:
        return CorrectedTiles(corrections, *_nothing(catalog.shapes))
    crystal_files = _files_of(tiles, files(snapshot.crystals, corrected_wells), catalog.depth_bin_m)
    tile_files = files(snapshot.tiles, corrected_wells)
    probabilities = ", ".join(f'c."p_{shape}"' for shape in catalog.shapes)
    with open_views(catalog, tile_files, crystal_files) as connection:
        connection.register("corrected_tiles", tiles)
        connection.register("changed_crystals", corrections.changed)
        connection.register("added_crystals", corrections.added)
        found, added, named = (
            connection.sql(text).to_arrow_table()
            for text in (_FOUND, _ADDED, _NAMED.format(probabilities=probabilities))
        )
    return CorrectedTiles(corrections, found, added, named)


def _files_of(tiles: pa.Table, crystal_files: pa.Table, depth_bin_m: float) -> pa.Table:
    """The files of the wells and depth bins of tiles."""
    bins = depth_bin(tiles["depth_m"].to_numpy(), depth_bin_m).tolist()
    wanted = {*zip(tiles["well"].to_pylist(), bins, strict=True)}
    columns = (crystal_files[f"partition.{name}"].to_pylist() for name in ("well", "depth_bin"))
    chosen = [place in wanted for place in zip(*columns, strict=True)]
    return crystal_files.filter(pa.array(chosen, pa.bool_()))


def _nothing(shapes: Sequence[str]) -> tuple[pa.Table, pa.Table, pa.Table]:
    text, flag, number = pa.string(), pa.bool_(), pa.float32()
    tile = [("well", text), ("tile_id", text), ("segmenter", text)]
    flags = [(name, flag) for name in ("is_deleted", "is_redrawn", "is_named")]
    rles = [("found_rle", text), ("drawn_rle", text)]
    named = [("tile_id", text), ("classifier", text), ("said", text), ("confidence", number)]
    return (
        pa.schema([*tile, *flags, *rles]).empty_table(),
        pa.schema([*tile, ("drawn_rle", text)]).empty_table(),
        pa.schema([*named, *((f"p_{shape}", number) for shape in shapes)]).empty_table(),
    )
