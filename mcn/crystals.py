"""The table of crystals: one row per crystal, with the catalogue's column names and types.

Crystals are columns from measurement to catalogue and HTTP. Each step adds columns:
`segmented_crystals` adds the measures, `classified_crystals` the classifier's results, and
`mcn.catalog.schema` adds their origin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.mask import Mask, decode_rles, encode_rle
from mcn.taxonomy import Taxonomy

CROP_SIZE: Final = 64
"""Side of the crops that classifiers take, in pixels."""


@dataclass(frozen=True, eq=False)
class Classified:
    """A classifier's results for N crystals.

    Parameters
    ----------
    probabilities : (N, shapes) float32 array
        Probability of each shape of the classifier's taxonomy, assuming that the crystal has
        one of them; rows sum to 1.
    confidence : (N,) float32 array
        Probability that the likeliest shape is right, 0 to 1. It is also low for objects unlike
        the training data, even if one shape is clearly preferred.
    """

    probabilities: NDArray[np.float32]
    confidence: NDArray[np.float32]


def required(name: str, kind: pa.DataType) -> pa.Field:
    """A column that is never null."""
    return pa.field(name, kind, nullable=False)


SEGMENTED_CRYSTALS: Final = pa.schema(
    [
        required("bbox_x", pa.int32()),
        required("bbox_y", pa.int32()),
        required("bbox_w", pa.int32()),
        required("bbox_h", pa.int32()),
        required("centroid_x", pa.float32()),
        required("centroid_y", pa.float32()),
        required("touches_edge", pa.bool_()),
        required("area_px", pa.int64()),
        required("equivalent_diameter_px", pa.float32()),
        pa.field("area_um2", pa.float32()),
        pa.field("equivalent_diameter_um", pa.float32()),
        pa.field("major_axis_um", pa.float32()),
        pa.field("minor_axis_um", pa.float32()),
        pa.field("feret_max_um", pa.float32()),
        pa.field("feret_min_um", pa.float32()),
        pa.field("perimeter_um", pa.float32()),
        pa.field("aspect_ratio", pa.float32()),
        pa.field("circularity", pa.float32()),
        pa.field("solidity", pa.float32()),
        pa.field("orientation_deg", pa.float32()),
        pa.field("corners", pa.int32()),
        pa.field("contact_fraction", pa.float32()),
        pa.field("roundness", pa.float32()),
        pa.field("completeness", pa.float32()),
        required("mask_rle", pa.string()),
        pa.field("predicted_iou", pa.float32()),
        pa.field("stability", pa.float32()),
    ]
)
"""Columns of segmented crystals: the measures of `mcn.morphology.measure`, the mask within the
whole micrograph as JSON of a COCO run-length code, and the segmenter's own scores."""


PROMPTED_CRYSTALS: Final = pa.schema(
    [
        SEGMENTED_CRYSTALS.field(name)
        for name in (
            "mask_rle",
            "bbox_x",
            "bbox_y",
            "bbox_w",
            "bbox_h",
            "area_px",
            "predicted_iou",
            "stability",
        )
    ]
)
"""Columns of crystals that a person's prompts segment."""


def classified_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of crystals classified into these shapes."""
    return pa.schema(
        [
            required("shape", pa.string()),
            required("facet", pa.string()),
            required("confidence", pa.float32()),
            *(required(f"p_{shape}", pa.float32()) for shape in shapes),
            *SEGMENTED_CRYSTALS,
        ]
    )


def shapes_of(schema: pa.Schema) -> tuple[str, ...]:
    """The shapes with probability columns in a table of crystals, in order."""
    return tuple(name.removeprefix("p_") for name in schema.names if name.startswith("p_"))


def segmented_crystals(
    masks: Sequence[Mask], measures: Mapping[str, NDArray[Any]], height: int, width: int
) -> pa.Table:
    """The table of segmented crystals.

    Parameters
    ----------
    masks : sequence of N Mask
    measures : mapping of str to (N,) array
        Result of `mcn.morphology.measure`; missing columns are null.
    height, width : int
        Size of the whole micrograph, in pixels.

    Returns
    -------
    pa.Table of schema `SEGMENTED_CRYSTALS`, N rows
    """
    columns: dict[str, Any] = {
        **measures,
        "mask_rle": _json_of_rles(encode_rle(masks, height, width), height, width),
        "predicted_iou": np.array([mask.predicted_iou for mask in masks], np.float32),
        "stability": np.array([mask.stability for mask in masks], np.float32),
    }
    return pa.table(
        [_column(columns.get(field.name), field.type, len(masks)) for field in SEGMENTED_CRYSTALS],
        schema=SEGMENTED_CRYSTALS,
    )


def classified_crystals(
    segmented: pa.Table, classified: Classified, taxonomy: Taxonomy
) -> pa.Table:
    """The table of segmented crystals with a classifier's results added.

    Parameters
    ----------
    segmented : pa.Table of schema `SEGMENTED_CRYSTALS`, N rows
    classified : Classified
        Results for the same N crystals.
    taxonomy : Taxonomy
        Taxonomy of the classifier.

    Returns
    -------
    pa.Table of schema `classified_schema(taxonomy.shapes)`, N rows
    """
    likeliest = pa.array(classified.probabilities.argmax(axis=1))
    facets = [taxonomy.facet_of[shape] for shape in taxonomy.shapes]
    columns = [
        pa.array(taxonomy.shapes, pa.string()).take(likeliest),
        pa.array(facets, pa.string()).take(likeliest),
        pa.array(classified.confidence, pa.float32()),
        *(pa.array(p, pa.float32()) for p in np.ascontiguousarray(classified.probabilities.T)),
        *segmented.columns,
    ]
    return pa.table(columns, schema=classified_schema(taxonomy.shapes))


def crystal_area_fraction(covered_px: int, analysed_px: int) -> float:
    """Share of the analysed pixels that lie on any crystal, 0 to 1; 0 without pixels."""
    return covered_px / max(1, analysed_px)


def prompted_crystals(masks: Sequence[Mask], height: int, width: int) -> pa.Table:
    """The table of crystals segmented by prompts, in the order of the prompts.

    Parameters
    ----------
    masks : sequence of N Mask
        A mask may be empty.
    height, width : int
        Size of the whole micrograph, in pixels.

    Returns
    -------
    pa.Table of schema `PROMPTED_CRYSTALS`, N rows
    """
    columns = {
        "mask_rle": _json_of_rles(encode_rle(masks, height, width), height, width),
        "bbox_x": [mask.x for mask in masks],
        "bbox_y": [mask.y for mask in masks],
        "bbox_w": [mask.pixels.shape[1] for mask in masks],
        "bbox_h": [mask.pixels.shape[0] for mask in masks],
        "area_px": [int(mask.pixels.sum()) for mask in masks],
        "predicted_iou": [float(mask.predicted_iou) for mask in masks],
        "stability": [float(mask.stability) for mask in masks],
    }
    return pa.table(columns, schema=PROMPTED_CRYSTALS)


def crystal_ids(tile_id: str, segmenter: str, classifier: str, count: int) -> list[str]:
    """Ids of a tile's crystals, stable for the same tile, models and order.

    Parameters
    ----------
    tile_id : str
    segmenter, classifier : str
        Names of the models, including the digits of their weights.
    count : int
        Number of crystals of the tile.
    """
    models = hashlib.sha256(f"{segmenter}|{classifier}".encode()).hexdigest()[:8]
    return [f"{tile_id}-{models}-{index:05d}" for index in range(count)]


def crystal_masks(crystals: pa.Table) -> list[Mask]:
    """The masks of a table's crystals, within their whole micrographs."""
    return decode_rles([json.loads(rle) for rle in crystals["mask_rle"].to_pylist()])


def _json_of_rles(rles: Sequence[Mapping[str, Any]], height: int, width: int) -> pa.Array:
    counts = pa.array([rle["counts"] for rle in rles], pa.string())
    # The backslash is the only character of a COCO code that JSON escapes.
    escaped = pc.replace_substring(counts, "\\", "\\\\")
    return pc.binary_join_element_wise(f'{{"size":[{height},{width}],"counts":"', escaped, '"}', "")


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    if isinstance(values, np.ndarray):
        # An undefined measure is null, so that means over a column leave it out.
        return pa.array(values.astype(kind.to_pandas_dtype(), copy=False), kind, from_pandas=True)
    return values
