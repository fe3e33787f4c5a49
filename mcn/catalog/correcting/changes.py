"""What a person changes in a tile: new shapes, outlines, crystals; and undoing it.

Each change becomes rows of the table `corrections`, committed in one transaction. Two people may
change one crystal at once: both rows stay, the later one counts, and the result of a change names
those of others that it replaces.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import files
from mcn.catalog.corrected.rows import (
    MODEL_KEY,
    Corrections,
    commit_corrections,
    corrections_schema,
    read_corrections,
)
from mcn.catalog.correcting.merging import are_neighbours, union
from mcn.catalog.query import find_models, open_views, select_crystals
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogQueryError
from mcn.crystals import segmented_crystals
from mcn.errors import unknown_name
from mcn.mask import Mask, decode_rles
from mcn.morphology import measure
from mcn.taxonomy import CALCITE

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

Operation = Literal["shape", "delete", "redraw", "merge", "split", "add"]

MOST_CRYSTALS: Final = 500
LONGEST_NOTE: Final = 500
_CERTAIN: Final = 1.0
"""Confidence of a shape that a person named."""


class CorrectionError(CatalogQueryError):
    """A change that is not possible; the message says why."""


class NoChangeError(CorrectionError):
    """There is no such change to undo."""


@dataclass(frozen=True, eq=False)
class Change:
    """What a person wants to change in a tile.

    Parameters
    ----------
    operation : {"shape", "delete", "redraw", "merge", "split", "add"}
        "shape" names crystals; the same shape again confirms it. "redraw" gives a crystal another
        outline, "merge" makes one crystal of several, "split" several of one.
    tile_id, well : str
    crystal_ids : sequence of str
        Crystals of the tile: none for "add", one for "redraw" and "split".
    shape : str, optional
        Needed for "shape", and for "add" without `named`. A merged or split crystal keeps the shape
        of the largest it was made of.
    masks : sequence of Mask
        In the pixels of the whole tile: one for "redraw" and "add", two or more for "split", none
        or one for "merge", which joins the crystals by itself.
    note : str, optional
    seen : mapping of str to str or None
        The last correction of each crystal that the person had seen.
    named : mapping of str to sequence of float
        A classifier's results for the masks, as columns `shape`, `facet`, `confidence` and
        `p_<shape>`, for new crystals whose shape nobody gave.
    """

    operation: Operation
    tile_id: str
    well: str
    crystal_ids: Sequence[str] = ()
    shape: str | None = None
    masks: Sequence[Mask] = ()
    note: str | None = None
    seen: Mapping[str, str | None] = field(default_factory=dict)
    named: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Changed:
    """Result of a change.

    Parameters
    ----------
    change_id : str
    rows : pa.Table of schema `corrections_schema`
        The rows that were committed.
    superseded : pa.Table of schema `corrections_schema`
        Corrections of the same crystals that the person had not seen. They are kept, but do not
        count any more.
    crystals : pa.Table
        The changed crystals as they are now, with the columns of `CORRECTED`.
    """

    change_id: str
    rows: pa.Table
    superseded: pa.Table
    crystals: pa.Table

    @property
    def removed(self) -> list[str]:
        """Crystals that do not count any more."""
        now = {*self.crystals["crystal_id"].to_pylist()}
        ids = self.rows["crystal_id"].drop_null().to_pylist()
        return [crystal_id for crystal_id in dict.fromkeys(ids) if crystal_id not in now]


def correct(
    catalog: Catalog,
    change: Change,
    by: str,
    segmenter: str | None = None,
    classifier: str | None = None,
) -> Changed:
    """Commit a change.

    Parameters
    ----------
    catalog : Catalog
    change : Change
    by : str
        Who makes it.
    segmenter, classifier : str, optional
        Models of the crystals, by default the tile's latest.

    Raises
    ------
    CorrectionError
        For crystals that do not exist, and a change that is not possible.
    CatalogError
        If the storage fails. Nothing has changed then.
    """
    catalog.check_present()
    _check(change, catalog.shapes)
    tile = _tile(catalog, change, segmenter, classifier)
    where = Selection(
        [change.well],
        (tile["depth_m"], tile["depth_m"]),
        segmenter=segmenter,
        classifier=classifier,
        tile_id=change.tile_id,
    )
    models = select_crystals(catalog, where)
    now = select_crystals(catalog, replace(where, corrected=True))
    if unknown := {*change.crystal_ids} - {*now["crystal_id"].to_pylist()}:
        raise CorrectionError(
            f"tile {change.tile_id} has no crystal {min(unknown)!r} any more; load the tile again"
        )
    chosen = now.filter(pc.is_in(now["crystal_id"], pa.array(change.crystal_ids, pa.string())))
    key_of = {
        row["crystal_id"]: {key: row[name] for key, name in MODEL_KEY.items()}
        for row in models.select(["crystal_id", *MODEL_KEY.values()]).to_pylist()
    }
    named = _named(change.shape, _facet_of(catalog, change))
    facts = _facts(change.operation, tile, by, change.note)
    rows = [
        {**facts, "correction_id": uuid.uuid4().hex, **key_of.get(row["crystal_id"], {}), **row}
        for row in _rows_of(change, chosen.to_pylist(), tile, named, catalog.shapes)
    ]
    return _commit(catalog, rows, where, change.seen)


def undo(catalog: Catalog, change_id: str, by: str, well: str | None = None) -> Changed:
    """Revoke a change, or the undoing of one, with a further row.

    Raises
    ------
    CorrectionError
        If there is no such change, or it is undone already.
    """
    catalog.check_present()
    corrections = read_corrections(catalog, [well] if well else [])
    of_change = pc.equal(corrections.rows["change_id"], change_id)
    made = corrections.rows.filter(of_change)
    if not made.num_rows:
        raise NoChangeError(f"no change {change_id!r}; list the corrections for the changes")
    if not corrections.in_effect.filter(of_change.combine_chunks())[0].as_py():
        raise CorrectionError(f"change {change_id} is undone already")
    first = made.slice(0, 1).to_pylist()[0]
    facts = _facts("undo", first, by, None) | {"action": "undo", "undoes": change_id}
    ids = dict.fromkeys(made["crystal_id"].to_pylist())
    keys = {row["crystal_id"]: {key: row[key] for key in MODEL_KEY} for row in made.to_pylist()}
    rows = [
        {**facts, "correction_id": uuid.uuid4().hex, "crystal_id": crystal_id, **keys[crystal_id]}
        for crystal_id in ids
    ]
    depth = first["depth_m"]
    where = Selection([first["well"]], (depth, depth), tile_id=first["tile_id"])
    return _commit(catalog, rows, where, None)


def _check(change: Change, shapes: Sequence[str]) -> None:
    """Raise a `CorrectionError` unless a change has what its operation needs."""
    if change.operation not in get_args(Operation):
        raise CorrectionError(unknown_name("operation", change.operation, get_args(Operation)))
    least, most, masks = _NEEDS[change.operation]
    count = len({*change.crystal_ids})
    if not least <= count <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise CorrectionError(f"{change.operation}: {count} crystals are named; name {wanted}")
    if len(change.masks) not in masks:
        raise CorrectionError(
            f"{change.operation}: {len(change.masks)} outlines are given; give "
            f"{'1' if len(masks) == 1 and 1 in masks else f'{masks[0]} to {masks[-1]}'}"
        )
    if any(not mask.pixels.any() for mask in change.masks):
        raise CorrectionError("an outline has no pixels; draw it around the crystal")
    if change.shape is not None and change.shape not in shapes:
        raise CorrectionError(unknown_name("shape", change.shape, shapes))
    if change.shape is None and change.operation == "shape":
        raise CorrectionError("shape: no shape is given; name one")
    if change.shape is None and change.operation == "add" and not change.named:
        raise CorrectionError("add: no shape is given; name one")
    if len(change.note or "") > LONGEST_NOTE:
        raise CorrectionError(f"the note is longer than {LONGEST_NOTE} characters; shorten it")


_NEEDS: Final[Mapping[str, tuple[int, int, range]]] = {
    "shape": (1, MOST_CRYSTALS, range(1)),
    "delete": (1, MOST_CRYSTALS, range(1)),
    "redraw": (1, 1, range(1, 2)),
    "merge": (2, MOST_CRYSTALS, range(2)),
    "split": (1, 1, range(2, 101)),
    "add": (0, 0, range(1, 2)),
}
"""Least and greatest number of crystals, and numbers of masks."""


def _rows_of(
    change: Change,
    chosen: Sequence[Mapping[str, Any]],
    tile: Mapping[str, Any],
    named: Mapping[str, Any],
    shapes: Sequence[str],
) -> list[dict[str, Any]]:
    """What each row of a change says about its crystal."""
    was = [
        {
            "crystal_id": row["crystal_id"],
            "was_shape": row["shape"],
            "was_confidence": row["confidence"],
            "was_mask_rle": row["mask_rle"],
        }
        for row in chosen
    ]
    match change.operation:
        case "shape":
            return [{**row, "action": "shape", **named} for row in was]
        case "redraw":
            (measures,) = _measures(change.masks, tile)
            return [{**row, "action": "redraw", **measures, **named} for row in was]
        case "delete":
            return [{**row, "action": "delete"} for row in was]
    masks = list(change.masks)
    if change.operation == "merge" and not masks:
        if not are_neighbours(chosen):
            raise CorrectionError(
                "merge: the crystals are no neighbours; choose parts of one crystal"
            )
        masks = [union(decode_rles([json.loads(row["mask_rle"]) for row in chosen]))]
    largest = max(chosen, key=lambda row: row["area_px"], default=None)
    added = []
    for number, measures in enumerate(_measures(masks, tile)):
        model = {name: values[number] for name, values in change.named.items()}
        if largest is not None and not model:
            model = {name: value for name, value in largest.items() if _is_of_classifier(name)}
        if not model:
            model = {f"p_{shape}": float(shape == change.shape) for shape in shapes}
        new_id = f"{change.tile_id}-added-{uuid.uuid4().hex[:12]}"
        added.append({"crystal_id": new_id, "action": "add", **model, **measures, **named})
    return [*({**row, "action": "delete"} for row in was), *added]


def _is_of_classifier(column: str) -> bool:
    return column in ("shape", "facet", "confidence") or column.startswith("p_")


def _named(shape: str | None, facet: str | None) -> dict[str, Any]:
    """The columns of a shape that a person named."""
    return {"shape": shape, "facet": facet, "confidence": _CERTAIN} if shape else {}


def _facet_of(catalog: Catalog, change: Change) -> str | None:
    """The facet definition of a change's shape; for other rocks than calcite, that of the well."""
    if change.shape is None or catalog.shapes == CALCITE.shapes:
        return CALCITE.facet_of.get(change.shape or "")
    same = select_crystals(catalog, Selection([change.well], shapes=[change.shape]), limit=1)
    return same["facet"].to_pylist()[0] if same.num_rows else "unknown"


def _measures(masks: Sequence[Mask], tile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The columns of `SEGMENTED_CRYSTALS` of masks in a tile."""
    height, width = tile["height"], tile["width"]
    for mask in masks:
        h, w = mask.pixels.shape
        if mask.x < 0 or mask.y < 0 or mask.x + w > width or mask.y + h > height:
            raise CorrectionError(
                f"an outline reaches outside the tile of {width}×{height} pixels; draw it inside"
            )
    measures = measure(list(masks), height, width, tile["pixel_size_um"])
    table = segmented_crystals(masks, measures, height, width)
    return table.to_pylist()  # type: ignore[no-any-return]


def _facts(operation: str, tile: Mapping[str, Any], by: str, note: str | None) -> dict[str, Any]:
    """The columns that all rows of a change share."""
    of_tile = ("tile_id", "well", "depth_m", "segmenter", "classifier", "scanned_at")
    return {
        "change_id": uuid.uuid4().hex,
        "operation": operation,
        "corrected_by": by,
        "corrected_at": datetime.now(UTC),
        "note": note or None,
        **{name: tile[name] for name in of_tile},
    }


def _tile(
    catalog: Catalog, change: Change, segmenter: str | None, classifier: str | None
) -> dict[str, Any]:
    tiles = catalog.snapshot().tiles
    models = find_models(catalog, tiles, [change.well], segmenter, classifier)
    with open_views(catalog, files(tiles, [change.well]), models=models) as connection:
        found = connection.sql(
            "SELECT * FROM tiles WHERE tile_id = $id", params={"id": change.tile_id}
        ).to_arrow_table()
    if not found.num_rows:
        raise CorrectionError(f"well {change.well!r} has no tile {change.tile_id!r}")
    tile: dict[str, Any] = found.to_pylist()[0]
    if tile["status"] != "ok":
        raise CorrectionError(f"tile {change.tile_id} has failed, so it has no crystals")
    return tile


def _commit(
    catalog: Catalog,
    rows: Sequence[Mapping[str, Any]],
    where: Selection,
    seen: Mapping[str, str | None] | None,
) -> Changed:
    """Commit the rows of a change; `seen` is None if earlier corrections do not matter."""
    table = pa.Table.from_pylist(list(rows), schema=corrections_schema(catalog.shapes))
    commit_corrections(catalog.uri, table)
    crystals = select_crystals(catalog, replace(where, corrected=True))
    crystals = crystals.filter(pc.is_in(crystals["crystal_id"], table["crystal_id"]))
    superseded = table.schema.empty_table()
    if seen:
        # What others committed in the meantime is read too.
        superseded = _unseen(read_corrections(catalog, where.wells), rows, seen)
    return Changed(rows[0]["change_id"], table, superseded, crystals)


def _unseen(
    corrections: Corrections, rows: Sequence[Mapping[str, Any]], seen: Mapping[str, str | None]
) -> pa.Table:
    """The corrections that counted for the crystals of a change before, if others were seen."""
    earlier = corrections.rows.filter(corrections.in_effect)
    earlier = earlier.filter(
        pc.and_(
            pc.not_equal(earlier["change_id"], rows[0]["change_id"]),
            pc.not_equal(earlier["action"], "undo"),
        )
    )
    keys = ["crystal_id", "tile_id", *MODEL_KEY, "correction_id"]
    last = {_crystal(row): row["correction_id"] for row in earlier.select(keys).to_pylist()}
    unseen = [
        last[_crystal(row)]
        for row in rows
        if row["crystal_id"] in seen
        and last.get(_crystal(row)) not in (None, seen[row["crystal_id"]])
    ]
    return earlier.filter(pc.is_in(earlier["correction_id"], pa.array(unseen, pa.string())))


def _crystal(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What stays the same of a crystal when another classifier scans its tile."""
    key = tuple(row.get(name) for name in MODEL_KEY)
    return (row["crystal_id"],) if None in key else (row["tile_id"], *key)
