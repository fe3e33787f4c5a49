"""Corrections: each is a row, the later counts, the models' rows stay, and undo takes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from mcn.catalog.corrected.rows import count_files, merge_files, open_corrections, read_corrections
from mcn.catalog.correcting.changes import Change, Changed, CorrectionError, correct, undo
from mcn.catalog.export import export
from mcn.catalog.query import Selection, query, select_crystals, sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact, vacuum, verify
from mcn.cli.main import app
from mcn.crystals import crystal_masks
from mcn.mask import Mask

from ....waiting import DEADLINE_S
from ..conftest import Commit, MakeCrystal, MakeTile, at

Make = Callable[..., Changed]


@pytest.fixture
def filled(
    catalog: Catalog, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> Catalog:
    """Two wells; the tiles of A have four crystals each, the tile at 1500 m has none."""
    pairs = [
        (
            make_tile(f"a{n}", "A", 1200.0 + 60 * n),
            [at(make_crystal, 10 * k, 3, confidence=0.2 + 0.1 * k) for k in range(4)],
        )
        for n in range(3)
    ]
    pairs.append((make_tile("empty", "A", 1500.0), []))
    pairs.append((make_tile("b", "B", 20.0), [at(make_crystal, 3, 3)]))
    commit(catalog, *pairs)
    return catalog


@pytest.fixture
def make(filled: Catalog) -> Make:
    """Corrects crystals of the first tile, named by their numbers."""
    rows = query(filled, ["A"], (1200.0, 1200.0)).to_pylist()

    def change(operation: Any, *numbers: int, by: str = "lab", **facts: Any) -> Changed:
        ids = [rows[number]["crystal_id"] for number in numbers]
        facts.setdefault("seen", dict.fromkeys(ids))
        return correct(filled, Change(operation, rows[0]["tile_id"], "A", ids, **facts), by)

    return change


def shapes(catalog: Catalog, *, corrected: bool = True) -> list[str]:
    rows = query(catalog, ["A"], (1200.0, 1200.0), corrected=corrected)
    return rows["shape"].to_pylist()


def test_a_name_counts_in_corrected_questions_only(filled: Catalog, make: Make) -> None:
    before = query(filled)
    changed = make("shape", 1, 2, shape="spherical", note="<script>alert(1)</script>")
    assert query(filled).equals(before)
    assert shapes(filled) == ["rhombic", "spherical", "spherical", "rhombic"]
    row = query(filled, shapes=["spherical"], corrected=True).to_pylist()[0]
    assert (row["confidence"], row["facet"]) == (1.0, "anhedral")
    assert (row["correction"], row["corrected_by"]) == ("shape", "lab")
    assert row["mask_rle"] == before["mask_rle"][1].as_py()
    written = changed.rows.to_pylist()[0]
    assert (written["was_shape"], written["segmenter"]) == ("rhombic", "compact@0123456789ab")
    assert written["was_confidence"] == pytest.approx(0.3)
    assert written["note"] == "<script>alert(1)</script>"
    assert changed.crystals["shape"].to_pylist() == ["spherical"] * 2
    assert not changed.superseded.num_rows


def test_the_same_name_confirms(filled: Catalog, make: Make) -> None:
    make("shape", 0, shape="rhombic")
    row = query(filled, ["A"], (1200.0, 1200.0), corrected=True).to_pylist()[0]
    assert (row["shape"], row["confidence"], row["correction"]) == ("rhombic", 1.0, "shape")


def test_two_people_at_once_both_rows_stay_and_the_later_counts(
    filled: Catalog, make: Make
) -> None:
    first = make("shape", 0, shape="spherical", by="ann")
    second = make("shape", 0, shape="amorphous", by="ben")
    assert shapes(filled)[0] == "amorphous"
    (replaced,) = second.superseded.to_pylist()
    assert (replaced["corrected_by"], replaced["shape"]) == ("ann", "spherical")
    assert read_corrections(filled).rows.num_rows == 2
    seen = {row["crystal_id"]: row["correction_id"] for row in second.rows.to_pylist()}
    third = make("shape", 0, shape="polyhedral", by="ann", seen=seen)
    assert not third.superseded.num_rows
    assert not first.superseded.num_rows


def test_many_at_once_lose_nothing(filled: Catalog, make: Make) -> None:
    results: list[Changed] = []
    threads = [
        threading.Thread(
            target=lambda by=f"p{n}": results.append(make("shape", 0, shape="spherical", by=by))
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    rows = read_corrections(filled).rows
    assert {*rows["corrected_by"].to_pylist()} == {f"p{n}" for n in range(6)}
    assert sum(result.superseded.num_rows > 0 for result in results) >= 1


def test_delete_and_undo_and_redo(filled: Catalog, make: Make) -> None:
    changed = make("delete", 0, 3)
    assert len(shapes(filled)) == 2
    assert changed.removed == changed.rows["crystal_id"].to_pylist()
    assert len(shapes(filled, corrected=False)) == 4
    undone = undo(filled, changed.change_id, "lab")
    assert len(shapes(filled)) == 4
    assert undone.crystals.num_rows == 2
    with pytest.raises(CorrectionError, match="undone already"):
        undo(filled, changed.change_id, "lab")
    undo(filled, undone.change_id, "lab")
    assert len(shapes(filled)) == 2
    with pytest.raises(CorrectionError, match="no change 'x'"):
        undo(filled, "x", "lab")
    assert read_corrections(filled).rows["action"].to_pylist() == ["delete"] * 2 + ["undo"] * 4


def test_an_undone_name_gives_the_one_before(filled: Catalog, make: Make) -> None:
    make("shape", 0, shape="spherical")
    later = make("shape", 0, shape="amorphous")
    undo(filled, later.change_id, "lab")
    assert shapes(filled)[0] == "spherical"


def test_redraw_measures_again_and_keeps_the_name(filled: Catalog, make: Make) -> None:
    make("shape", 0, shape="spherical")
    make("redraw", 0, masks=[Mask(20, 20, np.ones((10, 10), dtype=bool))])
    rows = query(filled, ["A"], (1200.0, 1200.0), corrected=True).to_pylist()
    row = min(rows, key=lambda row: row["crystal_id"])
    assert (row["area_px"], row["bbox_x"], row["shape"]) == (100, 20, "spherical")
    assert row["area_um2"] == pytest.approx(1.0)
    assert row["correction"] == "redraw"
    make("shape", 0, shape="amorphous")
    assert shapes(filled)[0] == "amorphous"


def test_merge_split_and_add(filled: Catalog, make: Make) -> None:
    merged = make("merge", 0, 1)
    (row,) = merged.crystals.to_pylist()
    (mask,) = crystal_masks(merged.crystals)
    assert (row["bbox_x"], row["bbox_w"], mask.pixels.sum()) == (0, 15, 60)
    assert len(merged.removed) == 2
    halves = [Mask(20, 3, np.ones((6, 2), dtype=bool)), Mask(22, 3, np.ones((6, 3), dtype=bool))]
    split = make("split", 2, masks=halves, shape="polyhedral")
    assert sorted(split.crystals["area_px"].to_pylist()) == [12, 18]
    assert {*split.crystals["shape"].to_pylist()} == {"polyhedral"}
    added = make("add", masks=[Mask(40, 30, np.ones((4, 4), dtype=bool))], shape="spherical")
    (row,) = added.crystals.to_pylist()
    assert (row["correction"], row["depth_bin"], row["well"]) == ("add", 1200.0, "A")
    assert len(shapes(filled)) == 5
    # An added crystal can be named and deleted like another.
    tile_id = row["tile_id"]
    correct(filled, Change("shape", tile_id, "A", [row["crystal_id"]], "amorphous"), "lab")
    assert "amorphous" in shapes(filled)
    correct(filled, Change("delete", tile_id, "A", [row["crystal_id"]]), "lab")
    assert len(shapes(filled)) == 4
    undo(filled, merged.change_id, "lab")
    assert len(shapes(filled)) == 5


def test_added_crystals_are_found_once_in_any_batch_and_where_no_other_is(
    filled: Catalog, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = sql(filled, "SELECT tile_id, depth_m FROM tiles WHERE well = 'A'").to_pylist()
    for tile in tiles:
        mask = Mask(40, 30, np.ones((4, 4), dtype=bool))
        correct(filled, Change("add", tile["tile_id"], "A", shape="spherical", masks=[mask]), "x")
    for rows in (250_000, 1):
        monkeypatch.setattr("mcn.catalog.corrected.views._BATCH_ROWS", rows)
        found = query(filled, corrected=True)
        assert found.num_rows == query(filled).num_rows + 4
        depths = [(row["well"], row["depth_m"]) for row in found.to_pylist()]
        assert depths == sorted(depths)
    assert query(filled, ["A"], (1500.0, None), corrected=True)["shape"].to_pylist() == [
        "spherical"
    ]
    first = query(filled, shapes=["spherical"], limit=2, corrected=True)
    assert first["depth_m"].to_pylist() == [1200.0, 1260.0]


def test_corrections_stay_when_another_classifier_scans_the_tile(
    filled: Catalog, make: Make, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> None:
    make("shape", 0, shape="spherical")
    make("add", masks=[Mask(40, 30, np.ones((4, 4), dtype=bool))], shape="spherical")
    tile = replace(make_tile("a0", "A", 1200.0), classifier="nsr@ffffffffffff")
    commit(filled, (tile, [at(make_crystal, 10 * k, 3, "polyhedral") for k in range(4)]))
    rows = query(filled, ["A"], (1200.0, 1200.0), corrected=True)
    assert {*rows["classifier"].to_pylist()} == {"nsr@ffffffffffff"}
    assert rows["shape"].to_pylist().count("spherical") == 2
    changed = make_seen_by_new_id(filled, rows)
    assert changed.superseded["corrected_by"].to_pylist() == ["lab"]


def make_seen_by_new_id(catalog: Catalog, rows: pa.Table) -> Changed:
    row = rows.to_pylist()[0]
    ids = [row["crystal_id"]]
    return correct(
        catalog, Change("shape", row["tile_id"], "A", ids, "amorphous", seen={ids[0]: None}), "eve"
    )


def test_sql_and_filters_use_corrected_values(filled: Catalog, make: Make) -> None:
    make("shape", 1, shape="spherical")
    text = "SELECT shape, count(*) AS n FROM crystals GROUP BY shape ORDER BY shape"
    assert sql(filled, text, corrected=True).to_pylist() == [
        {"shape": "rhombic", "n": 12},
        {"shape": "spherical", "n": 1},
    ]
    assert sql(filled, "SELECT operation FROM corrections", corrected=True).num_rows == 1
    sure = Selection(["A"], ranges={"confidence": (0.9, None)}, corrected=True)
    assert select_crystals(filled, sure)["shape"].to_pylist() == ["spherical"]
    others = Selection(["A"], corrected=True, is_corrected=False)
    assert select_crystals(filled, others).num_rows == 11


@pytest.mark.parametrize(
    ("operation", "numbers", "facts", "reason"),
    [
        ("rename", [0], {}, "no operation 'rename'"),
        ("shape", [], {"shape": "rhombic"}, "0 crystals are named; name 1 to"),
        ("shape", [0], {}, "no shape is given"),
        ("shape", [0], {"shape": "cubic"}, "no shape 'cubic'"),
        ("shape", [0], {"shape": "rhombic", "note": "x" * 501}, "500 characters"),
        ("redraw", [0], {}, "0 outlines are given; give 1"),
        ("redraw", [0], {"masks": [Mask(60, 40, np.ones((9, 9), bool))]}, "outside the tile"),
        ("redraw", [0], {"masks": [Mask(0, 0, np.zeros((0, 0), bool))]}, "no pixels"),
        ("merge", [0], {}, "name 2 to"),
        ("merge", [0, 3], {}, "the crystals are no neighbours"),
        ("split", [0], {"masks": [Mask(0, 0, np.ones((2, 2), bool))]}, "give 2 to"),
        ("add", [], {"masks": [Mask(0, 0, np.ones((2, 2), bool))]}, "no shape is given"),
    ],
)
def test_impossible_changes_change_nothing(
    filled: Catalog, make: Make, operation: str, numbers: list[int], facts: Any, reason: str
) -> None:
    with pytest.raises(CorrectionError, match=reason):
        make(operation, *numbers, **facts)
    assert open_corrections(filled.uri) is None


def test_unknown_crystals_and_tiles_are_named(filled: Catalog) -> None:
    tile = sql(filled, "SELECT tile_id FROM tiles LIMIT 1")["tile_id"][0].as_py()
    with pytest.raises(CorrectionError, match="no crystal 'x'"):
        correct(filled, Change("delete", tile, "A", ["x"]), "lab")
    with pytest.raises(CorrectionError, match="has no tile 'y'"):
        correct(filled, Change("delete", "y", "A", ["x"]), "lab")


def test_the_third_table_is_kept_like_the_others(filled: Catalog, make: Make) -> None:
    for number in range(4):
        make("shape", number, shape="spherical")
    assert count_files(filled.uri, "A") == 4
    assert verify(filled).problems == []
    merge_files(filled.uri, filled.shapes, "A")
    compact(filled)
    vacuum(filled, 0)
    assert count_files(filled.uri, "A") == 1
    assert shapes(filled) == ["spherical"] * 4
    assert verify(filled).as_dict()["ok"]
    (file,) = Path(filled.uri, "corrections").glob("well=A/*.parquet")
    with file.open("r+b") as damaged:
        damaged.seek(100)
        damaged.write(b"damage")
    assert not verify(filled).ok


def test_masks_are_stored_as_codes(filled: Catalog, make: Make) -> None:
    changed = make("redraw", 0, masks=[Mask(20, 20, np.ones((10, 10), dtype=bool))])
    rle = json.loads(changed.rows["mask_rle"][0].as_py())
    assert rle["size"] == [48, 64]


def test_export_and_the_command_line_use_corrected_values(
    filled: Catalog, make: Make, tmp_path: Path
) -> None:
    make("delete", 0)
    make("shape", 1, shape="spherical")
    for corrected, count in ((False, 13), (True, 12)):
        assert export(filled, tmp_path / "out.json", "geojson", corrected=corrected) == count
    words = ["query", filled.uri, "--corrected", "--shape", "spherical", "--format", "json"]
    (row,) = json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)
    assert (row["corrected_by"], row["correction"]) == ("lab", "shape")
