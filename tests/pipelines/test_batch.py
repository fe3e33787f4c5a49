"""Written tiles are counted by well and shape, and passed between processes."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mcn.catalog.data_files import DataFile
from mcn.catalog.schema import Tile, tile_table
from pipelines.batch import Count, WrittenBatch

from ..fakes import catalog_rows, crystal_row

counts = st.builds(Count, *[st.integers(0, 1000)] * 3)
batches = st.builds(
    WrittenBatch,
    parts=st.lists(
        st.builds(
            DataFile,
            table=st.sampled_from(["crystals", "tiles"]),
            path=st.text(),
            size=st.integers(0, 2**40),
            rows=st.integers(0, 10**6),
            partition=st.dictionaries(st.text(), st.text(), max_size=2),
            statistics=st.text(),
        ),
        max_size=2,
    ).map(tuple),
    wells=st.dictionaries(st.text(), counts, max_size=3),
    shapes=st.dictionaries(st.text(), st.integers(0, 1000), max_size=3),
    first_error=st.none() | st.text(),
)


def tile(name: str, well: str, crystals: int, error: str | None = None) -> Tile:
    return Tile(
        tile_id=name,
        uri=f"s3://core/{name}",
        well=well,
        depth_m=1.0,
        n_crystals=crystals,
        status="failed" if error else "ok",
        error=error,
        segmenter="s",
        classifier="c",
        scan_id="scan",
    )


def test_rows_are_counted_by_well_status_and_shape() -> None:
    tiles = [
        tile("a", "A", 2),
        tile("b", "A", 0, "read: it is empty"),
        tile("c", "B", 1),
        tile("d", "B", 0, "read: it is gone"),
    ]
    shapes = {"a": ("rhombic", "spherical"), "c": ("rhombic",)}
    rows = catalog_rows([(t, [crystal_row(s) for s in shapes.get(t.tile_id, ())]) for t in tiles])
    batch = WrittenBatch.of([], tile_table(tiles), rows)
    assert batch.wells == {"A": Count(1, 1, 2), "B": Count(1, 1, 1)}
    assert batch.shapes == {"rhombic": 2, "spherical": 1}
    assert batch.first_error == "read: it is empty"
    assert batch.count == Count(2, 2, 3)
    assert batch.count.tiles == 4


@given(st.lists(batches, max_size=3))
def test_batches_pass_between_processes_unchanged(several: list[WrittenBatch]) -> None:
    if several:
        table = pa.concat_tables([batch.as_table() for batch in several])
        assert WrittenBatch.all_in(table) == several


@given(st.lists(counts, max_size=5))
def test_counts_add_up(several: list[Count]) -> None:
    total = sum(several, Count())
    assert total.tiles == sum(count.ok + count.failed for count in several)
    assert total.crystals == sum(count.crystals for count in several)
