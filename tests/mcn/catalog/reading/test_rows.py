"""Only the wanted rows are read, in pieces that together are all of them, in order."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from mcn.catalog.active_files import files
from mcn.catalog.data_files import write_part
from mcn.catalog.reading import rows as module
from mcn.catalog.reading.fragments import Fragments, OpenFile
from mcn.catalog.reading.rows import Where, depth_pieces, read_rows
from mcn.catalog.schema import CRYSTALS
from mcn.catalog.store import Catalog

COLUMNS = ["crystal_id", "well", "depth_m", "shape", "confidence"]


def open_files(catalog: Catalog, well: str) -> list[OpenFile]:
    fragments = Fragments(pafs.LocalFileSystem(), catalog.uri)
    return fragments.of("crystals", files(catalog.snapshot().crystals, [well]))


def in_order(rows: pa.Table) -> list[str]:
    order = [("depth_m", "ascending"), ("crystal_id", "ascending")]
    return rows.sort_by(order)["crystal_id"].to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("target", [1, 6, 30, 10**9])
@pytest.mark.parametrize("depth", [(None, None), (1305.0, 1450.0), (None, 1200.0)])
def test_pieces_together_are_all_rows_in_order(
    core: Catalog,
    depth: tuple[float | None, float | None],
    target: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    opened, where = open_files(core, "A"), Where(depth)
    every = read_rows(opened, CRYSTALS, COLUMNS)
    wanted = in_order(where.of(every))
    pieces = [
        read_rows(opened, CRYSTALS, COLUMNS, Where((low, depth[1]), before=before))
        for low, before in depth_pieces(opened, where, itertools.repeat(target))
    ]
    assert [name for piece in pieces for name in in_order(piece)] == wanted
    if target == 1 and depth == (None, None):
        assert len(pieces) == 4, "one for each file"
    if target == 10**9:
        assert len(pieces) <= 1


def test_overlapping_files_are_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    depths = np.array([[0.0, 10.0], [1.0, 9.0], [10.5, 12.0]])
    group = [
        OpenFile(None, {}, False, low, high, np.array([100]))
        for low, high in zip(depths[:, :1], depths[:, 1:], strict=True)
    ]
    assert [*depth_pieces(group, Where(), itertools.repeat(100))] == [(None, 10.5), (10.5, None)]
    unknown = OpenFile(None, {}, False, np.array([-np.inf]), np.array([np.inf]), np.array([100]))
    assert len([*depth_pieces([*group, unknown], Where(), itertools.repeat(100))]) == 1


def test_shapes_confidence_and_the_crystals_after_one(core: Catalog) -> None:
    opened = open_files(core, "A")
    every = read_rows(opened, CRYSTALS, COLUMNS)
    spheres = read_rows(opened, CRYSTALS, COLUMNS, Where(shapes=("spherical",)))
    assert {*spheres["shape"].to_pylist()} == {"spherical"}
    assert spheres.num_rows == 50
    assert read_rows(opened, CRYSTALS, ["well"], Where(min_confidence=0.71)).num_rows == 0
    assert read_rows(opened, CRYSTALS, ["well"], Where(min_confidence=0.69)).num_rows == 200
    names = in_order(every)
    row = every.filter(pa.compute.field("crystal_id") == names[101]).to_pylist()[0]
    after = Where(after=(row["depth_m"], row["crystal_id"]))
    assert in_order(read_rows(opened, CRYSTALS, COLUMNS, after)) == names[102:]


def test_columns_that_a_file_does_not_have_are_null_or_of_its_partition(
    core: Catalog, tmp_path: Path
) -> None:
    opened = open_files(core, "A")
    assert {*read_rows(opened, CRYSTALS, ["well"])["well"].to_pylist()} == {"A"}
    rows = read_rows(opened, CRYSTALS, CRYSTALS.names).drop_columns(
        ["well", "depth_bin", "corners"]
    )
    part = write_part(str(tmp_path), "crystals", rows, {"well": "A", "depth_bin": "0"}, "x")
    listed = pa.table(
        {
            "path": [part.path],
            "size_bytes": [part.size],
            "partition.well": ["A"],
            "partition.depth_bin": [0.0],
        }
    )
    opened = Fragments(pafs.LocalFileSystem(), str(tmp_path)).of("crystals", listed)
    read = read_rows(opened, CRYSTALS, ["corners", "depth_bin"])
    assert read["corners"].null_count == read.num_rows == 200
    assert read["depth_bin"][0].as_py() == 0.0
    part = write_part(
        str(tmp_path),
        "crystals",
        rows.drop_columns(["shape"]),
        {"well": "A", "depth_bin": "0"},
        "y",
    )
    listed = listed.set_column(0, "path", [[part.path]]).set_column(1, "size_bytes", [[part.size]])
    opened = Fragments(pafs.LocalFileSystem(), str(tmp_path)).of("crystals", listed)
    with pytest.raises(ValueError, match="null"):
        read_rows(opened, CRYSTALS, ["shape"])
