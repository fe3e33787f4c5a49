"""Crystals, tiles and fake models for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from mcn.catalog.schema import DEPTH_BIN_M, Tile, crystal_table, tile_table
from mcn.crystals import Classified, classified_schema, segmented_crystals
from mcn.mask import Mask, masks_from_labels
from mcn.taxonomy import CALCITE, FACET_OF_SHAPE, SHAPES

Row = dict[str, Any]
Images = Sequence[NDArray[np.uint8]]


def do_nothing(batch: Any) -> None:
    """Default hook of the fake models, called before each batch."""


class PatchSegmenter:
    """Finds connected bright patches, the last of them first.

    Parameters
    ----------
    before : callable
        Called with the pictures of each batch first; may fail, hang or take time.
    windows : int
        Number of out-of-memory errors, plus one: each smaller window needs one less.
    """

    name = "patches@000000000000"

    def __init__(self, before: Callable[[Images], None] = do_nothing, windows: int = 1) -> None:
        # Loaded here, as a model is, so that no tile waits for it.
        from skimage.filters import threshold_otsu  # noqa: F401
        from skimage.measure import label  # noqa: F401

        self.before, self.windows = before, windows

    def segment(self, images: Images) -> list[list[Mask]]:
        from skimage.filters import threshold_otsu
        from skimage.measure import label

        self.before(images)
        if self.windows > 1:
            raise MemoryError
        labels = [label(image > threshold_otsu(image)) for image in images]
        return [
            [
                replace(mask, predicted_iou=0.1, stability=0.9)
                for mask in masks_from_labels(labels_of_image)[::-1]
            ]
            for labels_of_image in labels
        ]

    def in_smaller_windows(self) -> PatchSegmenter | None:
        if self.windows == 1:
            return None
        return PatchSegmenter(self.before, self.windows - 1)

    def predict(
        self,
        image: NDArray[np.uint8],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        encoded: Any = None,
    ) -> list[Mask]:
        """Return the patch under the first point of each prompt."""
        from mcn.segment.inference.prompts import check_prompts

        (masks,) = self.segment([image])
        prompts = check_prompts(image.shape, points, labels, boxes)
        return [
            next(mask for mask in masks if _holds(mask, int(x), int(y)))
            for x, y in prompts.points[:, 0]
        ]


def _holds(mask: Mask, x: int, y: int) -> bool:
    height, width = mask.pixels.shape
    inside = 0 <= y - mask.y < height and 0 <= x - mask.x < width
    return inside and bool(mask.pixels[y - mask.y, x - mask.x])


class FixedSegmenter:
    """Returns given masks: those of the first picture, then of the second, …"""

    name = "fixed@000000000000"

    def __init__(self, masks: Iterable[Sequence[Mask]]) -> None:
        self.masks = iter(masks)

    def segment(self, images: Images) -> list[list[Mask]]:
        return [list(next(self.masks)) for _ in images]


class BrightnessClassifier:
    """Returns the brightness of a crop's four quadrants as the probabilities of the four shapes.

    Parameters
    ----------
    before : callable
        Called with the crops of each batch first.
    """

    name = "brightness@000000000000"
    taxonomy = CALCITE

    def __init__(self, before: Callable[[NDArray[np.uint8]], None] = do_nothing) -> None:
        self.before, self.calls = before, 0

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        assert len(crops), "a model never gets an empty batch"
        self.before(crops)
        self.calls += 1
        p = crops.reshape(len(crops), 4, -1).mean(axis=2, dtype=np.float32) + 1
        p = np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)
        return Classified(p, p.max(axis=1))


def crystal_row(shape: str = "rhombic", **facts: Any) -> Row:
    """One classified crystal of 5×6 pixels in a micrograph of 48×64, with some columns changed."""
    (mask,) = segmented_crystals([Mask(3, 4, np.ones((6, 5), dtype=bool))], {}, 48, 64)[
        "mask_rle"
    ].to_pylist()
    row = {
        "shape": shape,
        "facet": FACET_OF_SHAPE.get(shape, "anhedral"),
        "confidence": 0.7,
        **dict(zip((f"p_{name}" for name in SHAPES), (0.7, 0.1, 0.1, 0.1), strict=True)),
        "bbox_x": 3,
        "bbox_y": 4,
        "bbox_w": 5,
        "bbox_h": 6,
        "centroid_x": 5.0,
        "centroid_y": 6.5,
        "touches_edge": False,
        "area_px": 30,
        "equivalent_diameter_px": 6.18,
        "area_um2": 0.3,
        "equivalent_diameter_um": 0.618,
        "major_axis_um": 0.7,
        "minor_axis_um": 0.6,
        "feret_max_um": 0.8,
        "feret_min_um": 0.5,
        "perimeter_um": 2.0,
        "aspect_ratio": 1.2,
        "circularity": 0.9,
        "solidity": 1.0,
        "orientation_deg": 90.0,
        "corners": 4,
        "contact_fraction": 0.5,
        "roundness": 0.4,
        "completeness": 1.0,
        "mask_rle": mask,
        "predicted_iou": 0.9,
        "stability": 0.95,
    }
    return row | facts


def classified_table(rows: Sequence[Row], shapes: Sequence[str] = SHAPES) -> pa.Table:
    """Rows as a table of classified crystals."""
    return pa.Table.from_pylist(list(rows), schema=classified_schema(shapes))


def catalog_rows(
    crystals_by_tile: Sequence[tuple[Tile, Sequence[Row]]],
    depth_bin_m: float = DEPTH_BIN_M,
    shapes: Sequence[str] = SHAPES,
) -> pa.Table:
    """The catalogue's rows of the crystals in tiles."""
    tiles = tile_table([tile for tile, _ in crystals_by_tile])
    tables = [classified_table(rows, shapes) for _, rows in crystals_by_tile]
    return crystal_table(tiles, tables, depth_bin_m, shapes)
