"""Catalogues of any size for benchmarks, from the data files of a few wells.

A data file does not contain its well, so the files of one well can be hard links to those of
another. A catalogue of 10^8 crystals then takes the disk of a few million, but its log, its folders
and its files are as many as in a catalogue that was scanned.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mcn.catalog.data_files import DataFile
from mcn.catalog.schema import CRYSTALS, TILES, depth_bin, tile_id
from mcn.catalog.store import Catalog
from mcn.crystals import crystal_ids, segmented_crystals
from mcn.mask import Mask
from mcn.morphology import measure
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

CRYSTALS_PER_TILE = 240
TOP_M = 1000.0
SEGMENTER, CLASSIFIER = "compact@0123456789ab", "nsr@0123456789ab"
_SIZE_PX = 768, 1024
_POOL = 4000


def well_name(number: int) -> str:
    """The name of a well."""
    return f"W-{number:05d}"


def fill(
    catalog: Catalog, wells: int, crystals: int, distinct: int = 10, length_m: float = 1000.0
) -> int:
    """Commit wells of equal size; the files of all but the first wells are hard links.

    Parameters
    ----------
    catalog : Catalog
        A new catalogue in a local folder.
    wells, crystals : int
        Number of wells, and of crystals in all of them together.
    distinct : int
        Number of wells that have data files of their own.
    length_m : float
        Length of each well, over which its tiles are spread evenly at random.

    Returns
    -------
    int
        Number of crystals that were committed.
    """
    rng = np.random.default_rng(0)
    pool = _crystal_pool(rng)
    tiles_per_well = max(1, round(crystals / wells / CRYSTALS_PER_TILE))
    models: list[list[DataFile]] = []
    for number in range(min(distinct, wells)):
        rows = _well_rows(well_name(number), tiles_per_well, length_m, pool, rng, catalog)
        parts, _ = catalog.write(*rows, "benchmark")
        models.append(parts)
    parts = [part for own in models for part in own]
    for number in range(distinct, wells):
        parts += [_linked(catalog, part, well_name(number)) for part in models[number % distinct]]
    catalog.commit_parts(parts)
    for name in ("crystals", "tiles"):
        catalog.delta_table(name).create_checkpoint()
    return wells * tiles_per_well * CRYSTALS_PER_TILE


def tile_and_crystals(
    catalog: Catalog, well: str, number: int, depth_m: float
) -> tuple[pa.Table, pa.Table]:
    """One more tile of a well with its crystals, ready to be committed."""
    rng = np.random.default_rng(number)
    pool = _crystal_pool(rng, CRYSTALS_PER_TILE)
    return _rows(well, [f"more/{number}"], np.array([depth_m]), pool, rng, catalog)


def _well_rows(
    well: str,
    tiles: int,
    length_m: float,
    pool: pa.Table,
    rng: np.random.Generator,
    catalog: Catalog,
) -> tuple[pa.Table, pa.Table]:
    depths = np.round(TOP_M + length_m * rng.random(tiles), 2)
    return _rows(well, [f"{well}/{i}" for i in range(tiles)], depths, pool, rng, catalog)


def _rows(
    well: str,
    names: Sequence[str],
    depths: np.ndarray,
    pool: pa.Table,
    rng: np.random.Generator,
    catalog: Catalog,
) -> tuple[pa.Table, pa.Table]:
    """Rows of `crystals` and `tiles`."""
    count = len(names)
    ids = [tile_id(name) for name in names]
    now = pa.scalar(0, TILES.field("scanned_at").type)
    tile_columns = {
        "tile_id": ids,
        "uri": list(names),
        "well": pa.repeat(well, count),
        "depth_m": depths,
        "width": np.full(count, _SIZE_PX[1]),
        "height": np.full(count, _SIZE_PX[0]),
        "pixel_size_um": np.full(count, 0.05),
        "pixel_size_source": pa.repeat("manifest", count),
        "n_crystals": np.full(count, CRYSTALS_PER_TILE),
        "crystal_area_fraction": rng.random(count),
        "status": pa.repeat("ok", count),
        "segmenter": pa.repeat(SEGMENTER, count),
        "classifier": pa.repeat(CLASSIFIER, count),
        "scan_id": pa.repeat("benchmark", count),
        "scanned_at": pa.repeat(now, count),
        "seconds": rng.random(count),
    }
    tiles = _table(tile_columns, TILES, count)
    n = count * CRYSTALS_PER_TILE
    drawn = pool.take(rng.integers(pool.num_rows, size=n))
    columns = {name: drawn[name] for name in drawn.column_names}
    p = rng.dirichlet(np.full(len(SHAPES), 0.5), n).astype(np.float32)
    shapes = pa.array(SHAPES).take(pa.array(p.argmax(axis=1)))
    columns |= {f"p_{shape}": p[:, i] for i, shape in enumerate(SHAPES)}
    columns |= {
        "shape": shapes,
        "facet": pa.array([FACET_OF_SHAPE[shape] for shape in SHAPES]).take(
            pa.array(p.argmax(axis=1))
        ),
        "confidence": p.max(axis=1),
        "crystal_id": [
            crystal for tile in ids for crystal in crystal_ids(tile, SEGMENTER, CLASSIFIER, 240)
        ],
        "tile_id": np.repeat(ids, CRYSTALS_PER_TILE),
        "well": pa.repeat(well, n),
        "depth_m": np.repeat(depths, CRYSTALS_PER_TILE),
        "depth_bin": np.repeat(depth_bin(depths, catalog.depth_bin_m), CRYSTALS_PER_TILE),
        "segmenter": pa.repeat(SEGMENTER, n),
        "classifier": pa.repeat(CLASSIFIER, n),
        "scanned_at": pa.repeat(now, n),
    }
    return _table(columns, CRYSTALS, n), tiles


def _table(columns: dict[str, object], schema: pa.Schema, count: int) -> pa.Table:
    return pa.table(
        {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}
    ).cast(schema)


def _crystal_pool(rng: np.random.Generator, count: int = _POOL) -> pa.Table:
    """Measured crystals with masks: ellipses of many sizes."""
    masks = []
    for a, b, angle in zip(
        rng.lognormal(2.3, 0.4, count),
        rng.uniform(0.5, 1.0, count),
        rng.uniform(0, np.pi, count),
        strict=True,
    ):
        side = int(np.ceil(a)) + 1
        y, x = np.mgrid[-side : side + 1, -side : side + 1]
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        pixels = (u / a) ** 2 + (v / (a * b)) ** 2 <= 1
        pixels = pixels[pixels.any(axis=1)][:, pixels.any(axis=0)]
        row, column = (int(rng.integers(size - 2 * side - 1)) for size in _SIZE_PX)
        masks.append(Mask(column, row, pixels, rng.random(), rng.random()))
    return segmented_crystals(masks, measure(masks, *_SIZE_PX, 0.05), *_SIZE_PX)


def _linked(catalog: Catalog, part: DataFile, well: str) -> DataFile:
    """The same data file in the folder of another well."""
    own = f"well={part.partition['well']}/"
    path = f"well={well}/" + part.path.removeprefix(own)
    root = Path(catalog.uri, part.table)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    os.link(root / part.path, root / path)
    return replace(part, path=path, partition={**part.partition, "well": well})
