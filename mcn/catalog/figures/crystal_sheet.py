"""A sheet of crystals by shape: what the classes of a catalogue look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcn.catalog.correcting.label_sheet import tile_crops, with_masks
from mcn.catalog.export import tiles_of
from mcn.catalog.query import iter_batches
from mcn.catalog.storage import CatalogError, CatalogQueryError
from mcn.errors import McnError
from mcn.fonts import drawable
from mcn.plots import INK, shape_colours, write_title

if TYPE_CHECKING:
    from mcn.catalog.selection import Selection
    from mcn.catalog.store import Catalog

EACH: Final = 10
"""Crystals of each shape."""

_COLUMNS: Final = ("crystal_id", "tile_id", "well", "depth_m", "shape", "confidence",
                   "equivalent_diameter_um")  # fmt: skip

Crops = dict[str, NDArray[np.uint8]]
"""Crystal → its crop."""


def sample_crystals(
    catalog: Catalog, selection: Selection, each: int = EACH, seed: int = 0
) -> pa.Table:
    """Draw crystals of each shape at random, the same for the same catalogue and seed.

    Parameters
    ----------
    catalog : Catalog
    selection : Selection
    each : int
        Maximum number of each shape.
    seed : int

    Returns
    -------
    pa.Table
        Rows of `crystals` by shape and confidence, the surest first; some columns only.

    Raises
    ------
    CatalogQueryError
        If there are no crystals.
    """
    random = np.random.default_rng(seed)
    chosen: pa.Table | None = None
    snapshot = catalog.snapshot()
    kept = replace(selection, columns=_COLUMNS)
    for rows in iter_batches(catalog, kept, snapshot=snapshot):
        rows = rows.append_column("rank", pa.array(random.random(rows.num_rows)))
        both = rows if chosen is None else pa.concat_tables([chosen, rows])
        ordered = both.sort_by([("shape", "ascending"), ("rank", "ascending")])
        # The place of each row among those of its shape; only the first ones are kept.
        counts = pc.value_counts(ordered["shape"]).field("counts").to_numpy()
        first = np.repeat(np.cumsum(counts) - counts, counts)
        chosen = ordered.filter(pa.array(np.arange(ordered.num_rows) - first < each))
    if chosen is None or not chosen.num_rows:
        raise CatalogQueryError(f"{catalog.uri}: there are no such crystals; choose others")
    rows = with_masks(catalog, selection, chosen.drop_columns(["rank"]), snapshot)
    return rows.sort_by(
        [("shape", "ascending"), ("confidence", "descending"), ("crystal_id", "ascending")]
    )


def read_crops(catalog: Catalog, selection: Selection, rows: pa.Table) -> tuple[Crops, list[str]]:
    """Crops of crystals from their tiles' pictures, and why some could not be read.

    Raises
    ------
    CatalogError
        If no picture could be read.
    """
    tiles = tiles_of(catalog, selection, catalog.snapshot(), ("tile_id", "uri", "etag"))
    tile_of = {tile["tile_id"]: tile for tile in tiles.to_pylist()}
    crops: Crops = {}
    skipped = []
    for tile_id in pc.unique(rows["tile_id"]).to_pylist():
        try:
            crops |= tile_crops(rows.filter(pc.field("tile_id") == tile_id), **tile_of[tile_id])
        except McnError as error:
            skipped.append(str(error))
    if not crops:
        raise CatalogError(
            f"no tile of {catalog.uri} could be read again; first error: {skipped[0]}"
        )
    return crops, skipped


def crystal_sheet(rows: pa.Table, crops: Crops, shapes: Sequence[str], title: str = "") -> Figure:
    """Draw crystals by shape, one row for each, with diameter and confidence.

    Parameters
    ----------
    rows : pa.Table
        As `sample_crystals` gives them.
    crops : dict of str to (64, 64) uint8 array
        Crops by `crystal_id`; crystals without one are left out.
    shapes : sequence of str
        Order of the rows.
    title : str
    """
    by_shape: dict[str, list[dict[str, Any]]] = {shape: [] for shape in shapes}
    for row in rows.drop_columns(["mask_rle"]).to_pylist():
        if row["crystal_id"] in crops:
            by_shape[row["shape"]].append(row)
    columns = max(map(len, by_shape.values()))
    figure = Figure(
        figsize=(1.1 * columns + 1.5, 1.35 * len(by_shape) + 0.6), dpi=120, layout="constrained"
    )
    write_title(figure, title, fontsize=13)
    grid = figure.subplots(len(by_shape), columns, squeeze=False)
    colours = shape_colours(list(by_shape))
    for line, (shape, crystals), colour in zip(grid, by_shape.items(), colours, strict=True):
        line[0].text(
            -0.15, 0.5, drawable(shape), transform=line[0].transAxes, ha="right", va="center",
            color=INK, fontsize=11, parse_math=False,
        )  # fmt: skip
        for place, axes in enumerate(line):
            axes.set_xticks([])
            axes.set_yticks([])
            if place >= len(crystals):
                axes.set_axis_off()
                continue
            row = crystals[place]
            axes.imshow(crops[row["crystal_id"]], cmap="gray", vmin=0, vmax=255)
            size = row["equivalent_diameter_um"]
            label = "" if size is None else f"{size:.2g} µm · "
            label += f"{row['confidence']:.2f}"
            axes.set_xlabel(label, fontsize=7, color=INK, labelpad=2)
            for spine in axes.spines.values():
                spine.set_color(colour)
                spine.set_linewidth(2)
    return figure
