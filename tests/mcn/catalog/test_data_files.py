"""Data files are complete before they are named: bytes, digest, partition and ranges."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mcn.catalog.data_files import (
    digest_in_name,
    digest_of,
    in_folder,
    label_of,
    write_data_files,
    write_part,
)
from mcn.catalog.query import query
from mcn.catalog.schema import CRYSTALS, TILES
from mcn.catalog.store import Catalog

DEPTHS = (1250.0, 1200.0, 1310.5)
SCANNED = TILES.field("scanned_at").type


def crystal_rows(well: str = "A", **columns: list[Any]) -> pa.Table:
    """Three crystals at three depths, two of them in one bin of 100 m; other columns are null."""
    number = len(DEPTHS)
    plain: dict[str, list[Any]] = {
        "crystal_id": [f"c{index}" for index in range(number)],
        "well": [well] * number,
        "depth_m": [*DEPTHS],
        "depth_bin": [100.0 * (depth // 100) for depth in DEPTHS],
        "equivalent_diameter_um": [1.5, None, 3.0],
        "scanned_at": [datetime(2026, 1, 2, tzinfo=UTC)] * number,
    }
    plain |= columns
    fields = [field.with_nullable(True) for field in CRYSTALS]
    nulls = [plain.get(field.name, [None] * number) for field in fields]
    return pa.table(nulls, schema=pa.schema(fields))


def test_each_partition_is_one_file_sorted_by_depth(tmp_path: Path) -> None:
    parts = write_data_files(str(tmp_path), {"crystals": crystal_rows("A/1 %")}, "scan-7")
    assert sorted(part.partition["depth_bin"] for part in parts) == ["1200", "1300"]
    for part in parts:
        file = tmp_path / "crystals" / part.path
        assert part.path.startswith("well=A%2F1%20%25/depth_bin=1")
        assert part.partition["well"] == "A/1 %"
        assert part.size == file.stat().st_size
        rows = pq.ParquetFile(file).read()
        assert part.rows == rows.num_rows
        assert rows["depth_m"].to_pylist() == sorted(rows["depth_m"].to_pylist())
        assert not {"well", "depth_bin"} & {*rows.schema.names}
    assert sum(part.rows for part in parts) == len(DEPTHS)


def test_a_file_name_has_the_writer_and_the_digest(tmp_path: Path) -> None:
    for part in write_data_files(str(tmp_path), {"crystals": crystal_rows()}, "scan-7"):
        data = (tmp_path / "crystals" / part.path).read_bytes()
        assert label_of(part.path) == "scan-7"
        assert digest_in_name(part.path) == digest_of(data)
        assert digest_of(data[:-1]) != digest_of(data)


def test_the_same_rows_written_twice_are_two_files(tmp_path: Path) -> None:
    for _ in range(2):
        write_data_files(str(tmp_path), {"crystals": crystal_rows()}, "one")
    assert len(list(tmp_path.rglob("*.parquet"))) == 4


@pytest.mark.parametrize(
    "path",
    [
        "well=A/part-00000-0f1e-c000.zstd.crc",
        "well=A/part-.parquet",
        "well=A/0-7f6b8e1c-0.parquet",
        "well=part-A/data.parquet",
        "_delta_log/00000000000000000001.json",
    ],
)
def test_files_of_other_programs_have_no_label_and_no_digest(path: str) -> None:
    assert label_of(path) is None
    assert digest_in_name(path) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(1200.0, "1200"), (12.5, "12.5"), (-100.0, "-100"), (0.0, "0"), ("0012.0", "0012.0")],
)
def test_partition_values_are_written_as_by_deltalake(value: str | float, text: str) -> None:
    assert in_folder(value) == text


def test_ranges_cover_every_value(tmp_path: Path) -> None:
    first = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    times = [first, first + timedelta(microseconds=98), first + timedelta(days=1)]
    rows = crystal_rows(depth_bin=[1200.0] * 3, scanned_at=times)
    (part,) = write_data_files(str(tmp_path), {"crystals": rows}, "one")
    statistics = json.loads(part.statistics)
    lowest, highest = statistics["minValues"], statistics["maxValues"]
    assert statistics["numRecords"] == 3
    assert (lowest["depth_m"], highest["depth_m"]) == (1200.0, 1310.5)
    assert (lowest["equivalent_diameter_um"], highest["equivalent_diameter_um"]) == (1.5, 3.0)
    assert statistics["nullCount"]["equivalent_diameter_um"] == 1
    # The log stores milliseconds.
    assert datetime.fromisoformat(lowest["scanned_at"]) <= times[0]
    assert datetime.fromisoformat(highest["scanned_at"]) >= times[-1]
    assert lowest["scanned_at"].endswith("Z")


def test_a_column_of_nulls_has_no_range(tmp_path: Path) -> None:
    rows = crystal_rows(depth_bin=[1200.0] * 3, equivalent_diameter_um=[None] * 3)
    (part,) = write_data_files(str(tmp_path), {"crystals": rows}, "one")
    statistics = json.loads(part.statistics)
    assert statistics["nullCount"]["equivalent_diameter_um"] == 3
    assert "equivalent_diameter_um" not in statistics["minValues"] | statistics["maxValues"]


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    tables = {"crystals": CRYSTALS.empty_table(), "tiles": TILES.empty_table()}
    assert write_data_files(str(tmp_path), tables, "one") == []
    assert list(tmp_path.iterdir()) == []


def test_all_actions_of_a_file_have_its_name(tmp_path: Path) -> None:
    part, _ = write_data_files(str(tmp_path), {"crystals": crystal_rows()}, "one")
    added, removed = part.added(data_change=False), part.removed()
    assert (added.path, added.size) == (removed.path, removed.size) == (part.path, part.size)
    assert added.stats == part.statistics


def test_checksums_cost_about_one_percent(
    catalog: Catalog,
    make_tile,  # type: ignore[no-untyped-def]
    make_crystal,  # type: ignore[no-untyped-def]
    commit,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crystals = [make_crystal(confidence=0.5 + 0.01 * n) for n in range(20)]
    commit(catalog, *((make_tile(str(n), "A", 1200.0 + n), crystals) for n in range(8)))
    rows = pa.concat_tables([query(catalog)] * 20).drop_columns(["well", "depth_bin"])
    numbers = np.random.default_rng(0).normal(size=(rows.num_columns, rows.num_rows))
    for index, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            rows = rows.set_column(index, field, pa.array(numbers[index]).cast(field.type))
    partition = {"well": "A", "depth_bin": "1200"}
    with_sums = write_part(catalog.uri, "crystals", rows, partition, "size").size
    write = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda *a, write_page_checksum, **k: write(*a, **k))
    without = write_part(catalog.uri, "crystals", rows, partition, "size").size
    assert without < with_sums < 1.01 * without
