"""Values written to rows are read back unchanged."""

from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mcn.analyzer import Segmented, segment_micrographs
from mcn.micrograph import Micrograph
from pipelines.stages import rows

from ...fakes import PatchSegmenter

pictures = st.builds(
    Micrograph,
    pixels=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12)),
    pixel_size_um=st.none() | st.floats(0.001, 10),
    pixel_size_source=st.sampled_from(["vendor", "unknown"]),
    name=st.just("s3://core/a.tif"),
    data_bar_y=st.none() | st.integers(1, 2),
)


def _facts(tile: Segmented) -> dict[str, Any]:
    names = {field.name for field in fields(tile)} - {"crops", "crystals"}
    return {name: getattr(tile, name) for name in names}


def origin(n: int) -> dict[str, pa.Array]:
    return {name: pa.array(["s3://core/a.tif"] * n) for name in rows.ORIGIN}


@given(st.lists(st.none() | pictures, max_size=4))
@settings(max_examples=40, deadline=None)
def test_micrographs(micrographs: list[Micrograph | None]) -> None:
    table = pa.table({**origin(len(micrographs)), **rows.pack_micrographs(micrographs)})
    for before, after in zip(micrographs, rows.unpack_micrographs(table), strict=True):
        if before is None or after is None:
            assert before is after
            continue
        assert np.array_equal(before.pixels, after.pixels)
        assert after.pixels.flags.writeable
        assert (before.pixel_size_um, before.pixel_size_source, before.data_bar_y) == (
            after.pixel_size_um,
            after.pixel_size_source,
            after.data_bar_y,
        )


@given(st.lists(st.none() | pictures, max_size=4))
@settings(max_examples=40, deadline=None)
def test_segmented_tiles(micrographs: list[Micrograph | None]) -> None:
    segmented = iter(
        segment_micrographs(PatchSegmenter(), [m for m in micrographs if m is not None])
    )
    tiles: list[Segmented | None] = [m and next(segmented) for m in micrographs]
    pictured = rows.pack_micrographs(micrographs)
    table = pa.table({**origin(len(tiles)), **pictured, **rows.pack_segmented(tiles)})
    # As between two stages, where a block may be a slice of a larger one.
    doubled = pa.concat_tables([table, table]).slice(len(tiles))
    for before, after in zip(tiles, rows.unpack_segmented(doubled), strict=True):
        if before is None or after is None:
            assert before is after
            continue
        assert np.array_equal(before.crops, after.crops)
        assert before.crystals.equals(after.crystals)
        assert _facts(before) == _facts(after)
