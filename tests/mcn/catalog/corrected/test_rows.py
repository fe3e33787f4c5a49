"""The values that corrections give a crystal, from their rows alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from mcn.catalog.corrected.rows import corrections_schema, fold

SHAPES = ("rhombic", "spherical")
START = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, action: str = "shape", **facts: Any) -> dict[str, Any]:
    return {
        "correction_id": f"{number:02}",
        "change_id": f"change{number}",
        "operation": action,
        "action": action,
        "crystal_id": "tile-00000",
        "tile_id": "tile",
        "well": "A",
        "depth_m": 120.0,
        "corrected_by": "lab",
        "corrected_at": START + timedelta(seconds=number),
        "segmenter": "compact",
        "classifier": "nsr",
        "scanned_at": START,
        **dict.fromkeys(("model_bbox_x", "model_bbox_y", "model_bbox_w", "model_bbox_h"), 5),
        "model_area_px": 25,
        **facts,
    }


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=corrections_schema(SHAPES))


def test_each_column_has_its_last_known_value() -> None:
    rows = table(row(2, "redraw", area_px=30), row(1, shape="rhombic"), row(3, shape="spherical"))
    (crystal,) = fold(rows, SHAPES).changed.to_pylist()
    assert (crystal["shape"], crystal["area_px"], crystal["correction"]) == (
        "spherical",
        30,
        "shape",
    )


def test_undone_undos_undo_nothing() -> None:
    rows = [
        row(1, shape="rhombic"),
        row(2, "undo", undoes="change1"),
        row(3, "undo", undoes="change2"),
    ]
    assert fold(table(*rows[:2]), SHAPES).changed.num_rows == 0
    folded = fold(table(*rows), SHAPES)
    assert folded.changed["shape"].to_pylist() == ["rhombic"]
    assert folded.in_effect.to_pylist() == [True, False, True]


def test_added_crystals_are_chosen_by_well_and_bin() -> None:
    no_key = dict.fromkeys(("model_bbox_x", "model_area_px"))
    rows = table(
        *(
            row(n, "add", crystal_id=f"new{n}", depth_m=100.0 * n, mask_rle="{}", **no_key)
            for n in range(4)
        )
    )
    corrections = fold(rows, SHAPES)
    assert corrections.added.num_rows == 4
    inside = corrections.between(("A", 0.0), ("A", 200.0), 100.0)
    assert inside.added["crystal_id"].to_pylist() == ["new1", "new2"]
    assert corrections.between(None, None, 100.0).added.num_rows == 4


def test_a_named_crystal_whose_addition_is_undone_is_gone() -> None:
    no_key = dict.fromkeys(("model_bbox_x", "model_area_px"))
    rows = table(
        row(1, "add", mask_rle="{}", shape="rhombic", **no_key),
        row(2, shape="spherical", **no_key),
        row(3, "undo", undoes="change1"),
    )
    assert fold(rows, SHAPES).added.num_rows == 0
