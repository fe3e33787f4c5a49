"""Tests of `mcn.catalog.depth_log.tracks`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mcn.catalog.depth_log.tracks import LogColumns


def test_columns_are_steps_and_absent_ones_are_unknown():
    log = pa.table(
        {
            "depth_top": [1200.0, 1210.0],
            "depth_base": [1210.0, 1220.0],
            "fraction_rhombic": [0.5, None],
        }
    )
    columns = LogColumns(log, above=1205.0)
    assert columns.depth.tolist() == [-5.0, 5.0, 5.0, 15.0]
    assert columns.shapes == ["rhombic"]
    assert columns.steps("fraction_rhombic")[:2].tolist() == [0.5, 0.5]
    assert np.isnan(columns.steps("fraction_rhombic")[2:]).all()
    assert np.isnan(columns.interval("crystal_area_fraction")).all()
    assert not len(columns.tile_depths)
