"""The table `corrections`: its columns, and the values that its rows give the crystals.

A correction is a row of its own, and the rows of the models stay as they are. What counts for a
crystal is the last value of each column among the rows that are not undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from mcn.catalog.active_files import dataset, files
from mcn.catalog.integrity.damage import damage_named
from mcn.catalog.schema import depth_bin
from mcn.crystals import classified_schema, required

_TIME: Final = pa.timestamp("us", tz="UTC")
_KEPT_FILES: Final = 1024

MODEL_KEY: Final = {
    "model_bbox_x": "bbox_x",
    "model_bbox_y": "bbox_y",
    "model_bbox_w": "bbox_w",
    "model_bbox_h": "bbox_h",
    "model_area_px": "area_px",
}
"""Columns of `corrections` that say which crystal of the segmenter is meant, and the columns of
`crystals` that they equal."""

CORRECTED: Final = pa.schema(
    [
        pa.field("correction", pa.string()),
        pa.field("correction_id", pa.string()),
        pa.field("corrected_by", pa.string()),
        pa.field("corrected_at", _TIME),
    ]
)
"""Further columns of crystals with corrected values; null for crystals as the models found them."""

_ORIGIN: Final = ("tile_id", "well", "depth_m", "segmenter")

_read: dict[str, pa.Table] = {}
"""Rows of the data files read last by their addresses; files never change."""


def corrections_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of `corrections`, one row per crystal that a person changed; partitioned by `well`.

    A row has the new values of a crystal in the columns of `crystals`; null is unchanged. Rows of
    one `change_id` were made together. `action` is "shape", "redraw", "delete", "add" or "undo",
    which revokes the change `undoes`. `operation` is what the person did: a merge deletes crystals
    and adds one, a split deletes one and adds several. `was_…` are the values that the person saw.
    The columns of `MODEL_KEY` are the box and area of the crystal as the segmenter found it, which
    stay the same when another classifier scans the tile; null for crystals that a person added.
    """
    return pa.schema(
        [
            required("correction_id", pa.string()),
            required("change_id", pa.string()),
            required("operation", pa.string()),
            required("action", pa.string()),
            pa.field("undoes", pa.string()),
            pa.field("crystal_id", pa.string()),
            required("tile_id", pa.string()),
            required("well", pa.string()),
            required("depth_m", pa.float64()),
            required("corrected_by", pa.string()),
            required("corrected_at", _TIME),
            pa.field("note", pa.string()),
            required("segmenter", pa.string()),
            required("classifier", pa.string()),
            required("scanned_at", _TIME),
            pa.field("was_shape", pa.string()),
            pa.field("was_confidence", pa.float32()),
            pa.field("was_mask_rle", pa.string()),
            *(pa.field(name, pa.int64()) for name in MODEL_KEY),
            *(pa.field(field.name, field.type) for field in classified_schema(shapes)),
        ]
    )


@dataclass(frozen=True, eq=False)
class Corrections:
    """What the corrections of a catalogue, or of some wells, say now.

    Parameters
    ----------
    rows : pa.Table of schema `corrections_schema`
        Every correction in the order in which they count, undone ones included.
    in_effect : (N,) bool array
        Whether each row is not undone.
    changed : pa.Table
        One row per crystal of a segmenter: the columns of `_ORIGIN`, `MODEL_KEY`, `CORRECTED` and
        the new values. `correction` is "delete" for crystals that do not count.
    added : pa.Table
        One row per crystal that a person added and did not delete: as `changed`, with
        `crystal_id` instead of `MODEL_KEY`.
    """

    rows: pa.Table
    in_effect: pa.Array
    changed: pa.Table
    added: pa.Table

    def between(
        self, after: tuple[str, float] | None, last: tuple[str, float] | None, depth_bin_m: float
    ) -> Corrections:
        """Those with added crystals only after one well and depth bin, up to another."""
        bins = depth_bin(self.added["depth_m"].to_numpy(), depth_bin_m).tolist()
        places = zip(self.added["well"].to_pylist(), bins, strict=True)
        inside = [
            (after is None or place > after) and (last is None or place <= last) for place in places
        ]
        return replace(self, added=self.added.filter(pa.array(inside, pa.bool_())))


def read_corrections(
    uri: str, table: DeltaTable | None, shapes: Sequence[str], wells: Sequence[str] = ()
) -> Corrections:
    """The corrections of a table's version, by well; none if there is no table.

    Data files never change, so each is read once by a process.
    """
    schema = corrections_schema(shapes)
    parts = [schema.empty_table()]
    if table is not None:
        table_files = files(table, wells)
        with damage_named(uri, {"corrections": table_files}):
            parts += [
                _rows_of(uri, schema, table_files.slice(index, 1))
                for index in range(table_files.num_rows)
            ]
    return fold(pa.concat_tables(parts), shapes)


def fold(rows: pa.Table, shapes: Sequence[str]) -> Corrections:
    """The values that rows of `corrections_schema` give the crystals."""
    rows = rows.sort_by([("corrected_at", "ascending"), ("correction_id", "ascending")])
    revoked = pa.array(_undone_changes(rows), pa.string())
    in_effect = pc.invert(pc.is_in(rows["change_id"], revoked)).combine_chunks()
    live = rows.filter(pc.and_(in_effect, pc.not_equal(rows["action"], "undo")))
    live = live.rename_columns({"action": "correction"})
    is_added = pc.is_null(live["model_area_px"])
    values = [*CORRECTED.names, *classified_schema(shapes).names]
    changed = _last(live.filter(pc.invert(is_added)), [*_ORIGIN, *MODEL_KEY], values)
    added = _last(live.filter(is_added), [*_ORIGIN, "crystal_id"], values)
    # An added crystal stays one whatever was changed later; without its outline, that is undone.
    counts = pc.and_(pc.not_equal(added["correction"], "delete"), pc.is_valid(added["mask_rle"]))
    added = added.filter(counts)
    column = added.schema.get_field_index("correction")
    added = added.set_column(column, "correction", pa.repeat("add", added.num_rows))
    return Corrections(rows, in_effect, changed, added)


def corrected_crystals(names: Sequence[str], depth_bin_m: float) -> str:
    """SQL that gives crystals with corrected values.

    It reads `model_crystals`, the crystals as the models found them, `tiles`, and the tables of
    `Corrections` as `changed_crystals` and `added_crystals`.

    Parameters
    ----------
    names : sequence of str
        Columns of `crystals`; those of `CORRECTED` follow.
    depth_bin_m : float
        Width of the depth bins, metres.
    """
    of_tile = {"well", "depth_m", "classifier", "scanned_at"}
    of_model = {*of_tile, "tile_id", "segmenter", "crystal_id", "depth_bin"}
    changed = [
        f"c.{name}" if name in of_model else f"coalesce(k.{name}, c.{name}) AS {name}"
        for name in names
    ]
    bins = f"floor(t.depth_m / {depth_bin_m!r}) * {depth_bin_m!r} + 0.0 AS depth_bin"
    added = [
        bins if name == "depth_bin" else f"{'t' if name in of_tile else 'k'}.{name}"
        for name in names
    ]
    marks = [f"k.{name}" for name in CORRECTED.names]
    same = " AND ".join(f"k.{key} = c.{name}" for key, name in MODEL_KEY.items())
    return f"""
        SELECT {", ".join(changed + marks)}
        FROM model_crystals c LEFT JOIN changed_crystals k
            ON k.tile_id = c.tile_id AND k.segmenter = c.segmenter AND {same}
        WHERE k.correction IS DISTINCT FROM 'delete'
        UNION ALL
        SELECT {", ".join(added + marks)}
        FROM added_crystals k JOIN tiles t
            ON t.tile_id = k.tile_id AND t.segmenter = k.segmenter AND t.well = k.well
        WHERE t.status = 'ok'
    """


def _rows_of(uri: str, schema: pa.Schema, file: pa.Table) -> pa.Table:
    path = f"{uri}/corrections/{file['path'][0].as_py()}"
    if path not in _read:
        _read[path] = dataset(f"{uri}/corrections", schema, file).to_table()
        while len(_read) > _KEPT_FILES:
            _read.pop(next(iter(_read)), None)
    return _read[path]


def _undone_changes(rows: pa.Table) -> list[str]:
    """The changes that are revoked; a revoked undo revokes nothing."""
    undos = rows.filter(pc.equal(rows["action"], "undo")).select(["change_id", "undoes"])
    revoked: set[str] = set()
    for undo in reversed(undos.to_pylist()):
        if undo["change_id"] not in revoked:
            revoked.add(undo["undoes"])
    return sorted(revoked)


def _last(rows: pa.Table, keys: Sequence[str], values: Sequence[str]) -> pa.Table:
    """The last known value of each column by key."""
    # The order of rows counts, which several threads would not keep.
    groups = rows.group_by(keys, use_threads=False)
    last = groups.aggregate([(name, "last") for name in values])
    return last.rename_columns({f"{name}_last": name for name in values})
