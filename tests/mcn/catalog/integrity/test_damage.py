"""Changed bytes of data files are detected, and the error names the file and the remedy."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties

from mcn.catalog import data_files as parts
from mcn.catalog.correcting.label_sheet import export_labels
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.export import export
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact, verify
from mcn.errors import QueryError, StorageError

REMEDY = "restore it from a backup"


def data_files(catalog: Catalog, table: str = "crystals") -> list[Path]:
    return sorted(Path(uri) for uri in DeltaTable(f"{catalog.uri}/{table}").file_uris())


@pytest.fixture(params=["scanned", "compacted"])
def single_file(request, filled, tmp_path, make_tile, make_crystal, commit) -> Catalog:  # type: ignore[no-untyped-def]
    """A catalogue with one file per table, written by a scan or by compaction."""
    if request.param == "compacted":
        compact(filled)
        return filled  # type: ignore[no-any-return]
    catalog = Catalog.create(tmp_path / "small")
    commit(catalog, (make_tile(), [make_crystal()] * 40))
    return catalog


@pytest.mark.parametrize(("table", "flips"), [("crystals", 60), ("tiles", 15)])
def test_verify_detects_every_flipped_byte(single_file: Catalog, table: str, flips: int) -> None:
    filled = single_file
    (file,) = data_files(filled, table)
    data = file.read_bytes()
    chance = random.Random(13)
    for _ in range(flips):
        spot = chance.randrange(len(data))
        flipped = bytearray(data)
        flipped[spot] ^= chance.randrange(1, 256)
        file.write_bytes(flipped)
        (problem,) = verify(filled).problems
        assert problem.startswith(f"{file.relative_to(filled.uri)}: damaged")
        assert REMEDY in problem
    file.write_bytes(data)
    assert verify(filled).ok


def test_readers_detect_flipped_bytes_of_a_page(filled) -> None:  # type: ignore[no-untyped-def]
    compact(filled)
    (file,) = data_files(filled)
    data, rows = file.read_bytes(), query(filled)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    chance = random.Random(7)
    refused = []
    for _ in range(60):
        flipped = bytearray(data)
        flipped[chance.randrange(4, footer)] ^= 1 << chance.randrange(8)
        file.write_bytes(flipped)
        try:
            # Readers ignore some bytes of a page's header.
            assert query(filled).equals(rows)
        except StorageError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert all(problem.startswith(f"{file}: damaged") for problem in refused)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("crystals", b"perimeter_um"),
        ("crystals", b"predicted_iou"),
        ("crystals", b"tile_id"),
        ("tiles", b"crystal_area_fraction"),
        ("tiles", b"n_crystals"),
        ("tiles", b"status"),
        ("crystals", None),
        ("tiles", None),
    ],
)
def test_readers_detect_a_changed_footer(
    single_file: Catalog, table: str, word: bytes | None
) -> None:
    """Parquet has no checksum for the footer: a changed column name would be read as nulls."""
    (file,) = data_files(single_file, table)
    data = file.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    chance = random.Random(11)
    if word is None:
        spots = [chance.randrange(start, len(data)) for _ in range(10)]
    else:
        spots = [match.start() + 2 for match in re.finditer(re.escape(word), data)][-3:]
        assert spots[0] >= start
    readers = [
        query,
        lambda catalog: sql(catalog, "SELECT * FROM crystals ORDER BY ALL"),
        lambda catalog: sql(catalog, "SELECT * FROM tiles ORDER BY ALL"),
    ]
    rows = [read(single_file) for read in readers]
    refused = []
    for spot in spots:
        flipped = bytearray(data)
        flipped[spot] ^= 1 << chance.randrange(5)
        file.write_bytes(flipped)
        for read, answer in zip(readers, rows, strict=True):
            try:
                # Readers ignore some bytes of a footer, and do not open the other table.
                assert read(single_file).equals(answer), spot
            except StorageError as error:
                refused.append(error)
    assert all(str(error).startswith(f"{file}: damaged") for error in refused)
    assert {error.trouble for error in refused} == {"damaged"}


def test_a_footer_of_another_arrow_version_is_not_damage(
    filled: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = query(filled)
    monkeypatch.setattr("mcn.catalog.integrity.damage.footer_digest_of", lambda _: "0" * 16)
    assert query(filled).equals(rows)


@pytest.fixture
def damaged(filled: Catalog) -> tuple[Catalog, Path]:
    """A catalogue with a changed byte in a page of a column that all readers use, and its file."""
    file = data_files(filled)[3]
    column = next(
        column
        for number in range(100)
        if (column := pq.read_metadata(file).row_group(0).column(number)).path_in_schema
        == "tile_id"
    )
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(file.read_bytes())
    data[start + column.total_compressed_size - 1] ^= 1
    file.write_bytes(data)
    return filled, file


@pytest.mark.parametrize(
    "ask",
    [
        query,
        lambda catalog: sql(catalog, "SELECT count(DISTINCT tile_id) FROM crystals"),
        lambda catalog: sql(catalog, "SELECT t.uri FROM tiles t JOIN crystals c USING (tile_id)"),
        lambda catalog: depth_log(catalog, "A"),
        lambda catalog: export(catalog, Path(catalog.uri).parent / "out.json"),
        lambda catalog: export(catalog, Path(catalog.uri).parent / "out.parquet", "parquet"),
        lambda catalog: export_labels(catalog, Path(catalog.uri).parent / "labels"),
        compact,
    ],
    ids=["query", "sql", "join", "log", "coco", "parquet", "labels", "compact"],
)
def test_every_reader_names_the_damaged_file_and_the_remedy(damaged, ask) -> None:  # type: ignore[no-untyped-def]
    catalog, file = damaged
    with pytest.raises(StorageError) as raised:
        ask(catalog)
    assert str(raised.value).startswith(f"{file}: damaged")
    assert REMEDY in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.trouble == "damaged"
    assert not isinstance(raised.value, QueryError)


def test_checksums_are_written_everywhere(filled, tmp_path) -> None:  # type: ignore[no-untyped-def]
    export(filled, tmp_path / "out.parquet", "parquet")
    compact(filled)
    for path in (tmp_path / "out.parquet", *data_files(filled), *data_files(filled, "tiles")):
        data = bytearray(path.read_bytes())
        metadata = pq.read_metadata(path)
        column = metadata.row_group(metadata.num_row_groups - 1).column(0)
        start = column.dictionary_page_offset or column.data_page_offset
        data[start + column.total_compressed_size - 1] ^= 1
        path.write_bytes(data)
        with pytest.raises(OSError, match="CRC checksum verification failed"):
            pq.ParquetFile(path, page_checksum_verification=True).read()


def test_files_of_older_versions_are_read(filled) -> None:  # type: ignore[no-untyped-def]
    rows = query(filled)
    # deltalake writes no checksums, and its file names have no digest.
    table = filled.delta_table("crystals")
    table.optimize.z_order(["depth_m"], writer_properties=WriterProperties(compression="ZSTD"))
    (file,) = data_files(filled)
    assert parts.digest_in_name(str(file)) is None
    assert query(filled).equals(rows)
    assert verify(filled).ok
    assert compact(filled)["files_after"] < 9
    assert query(filled).equals(rows)
