"""Analysis of micrographs, used by the scan, the endpoint and the command line."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from mcn.crystals import (
    Classified,
    classified_crystals,
    classified_schema,
    crystal_area_fraction,
    segmented_crystals,
)
from mcn.mask import Mask
from mcn.micrograph import Micrograph
from mcn.morphology import count_pore_pixels, measure, paint_crystals
from mcn.taxonomy import Taxonomy


class Segmenter(Protocol):
    """Finds crystals: a loaded model named `model@first-12-of-sha256-of-weights`."""

    @property
    def name(self) -> str:
        """Name of model and weights, as in the rows of the catalogue."""
        ...

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Masks of each grey image (H, W); images may differ in size."""
        ...


class PromptedSegmenter(Segmenter, Protocol):
    """A segmenter that also takes a person's clicks and boxes as prompts."""

    def predict(
        self,
        image: NDArray[np.uint8],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        encoded: Any = None,
    ) -> list[Mask]:
        """The crystal at each of N prompts in an (H, W) image.

        Parameters
        ----------
        image : (H, W) uint8 array
        points : (N, 2) or (N, P, 2) array, optional
            One or P clicked points x, y per crystal, pixels.
        labels : (N,) or (N, P) array, optional
            1 on the crystal, 0 off it, -1 no point; by default all are on it.
        boxes : (N, 4) array, optional
            Left, top, right, bottom; NaN if a crystal has no box.
        encoded : EncodedPicture, optional
            Keeps what was encoded of the image for the next call.
        """
        ...


class Classifier(Protocol):
    """Names the shapes of crystals: a loaded model, named like a segmenter."""

    @property
    def name(self) -> str:
        """Name of model and weights, as in the rows of the catalogue."""
        ...

    @property
    def taxonomy(self) -> Taxonomy:
        """The shapes that it distinguishes."""
        ...

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        """Shapes of crops (N, 64, 64)."""
        ...


@dataclass(frozen=True, eq=False)
class Segmented:
    """A micrograph between segmentation and classification, without its pixels.

    Parameters
    ----------
    crops : (N, 64, 64) uint8 array
        A crop of each crystal for the classifier.
    crystals : pa.Table of schema `mcn.crystals.SEGMENTED_CRYSTALS`, N rows
    height, width : int
        Size of the micrograph in pixels, including the data bar.
    analysed_px, covered_px : int
        Pixels above the data bar, and those of them that lie on any crystal.
    pore_px : int or None
        Analysed pixels that show pores; None without crystals.
    pixel_size_um, pixel_size_source, data_bar_y
        As in `Micrograph`.
    """

    crops: NDArray[np.uint8]
    crystals: pa.Table
    height: int
    width: int
    analysed_px: int
    covered_px: int
    pore_px: int | None
    pixel_size_um: float | None
    pixel_size_source: str
    data_bar_y: int | None

    @property
    def area_fraction(self) -> float:
        """Share of the analysed pixels that lie on any crystal, 0 to 1."""
        return crystal_area_fraction(self.covered_px, self.analysed_px)

    @property
    def visible_pore_fraction(self) -> float | None:
        """Share of the analysed pixels that show pores, 0 to 1; None without crystals."""
        return None if self.pore_px is None else self.pore_px / max(1, self.analysed_px)


def segment_micrographs(segmenter: Segmenter, micrographs: Sequence[Micrograph]) -> list[Segmented]:
    """Find and measure the crystals of micrographs.

    Only the part above the data bar is analysed. Crystals are ordered by the top, then the
    left side of their boxes, so that the same masks always give the same rows.

    Parameters
    ----------
    segmenter : Segmenter
    micrographs : sequence of Micrograph
        Segmented as one batch; sizes may differ.
    """
    masks_by_image = segmenter.segment([micrograph.analysed for micrograph in micrographs])
    return [
        _measure(micrograph, masks)
        for micrograph, masks in zip(micrographs, masks_by_image, strict=True)
    ]


def segment_in_steps(
    segmenter: Segmenter, micrograph: Micrograph
) -> Generator[float, None, Segmented]:
    """Find and measure the crystals of one large micrograph, window by window.

    Between two steps the thread is free for other calls, and the work can be ended.

    Yields
    ------
    float
        Share of the windows that are done, 0 to 1. A segmenter that does not work in windows
        has a single step.

    Returns
    -------
    Segmented
        As `segment_micrographs` gives.
    """
    in_steps = getattr(segmenter, "segment_in_steps", None)
    if in_steps is None:
        (masks,) = segmenter.segment([micrograph.analysed])
    else:
        masks = yield from in_steps(micrograph.analysed)
    yield 1.0
    return _measure(micrograph, masks)


def classify_segmented(classifier: Classifier, segmented: Sequence[Segmented]) -> list[pa.Table]:
    """Name the shapes of the crystals of segmented micrographs, all crops as one batch.

    Returns
    -------
    list of pa.Table of schema `mcn.crystals.classified_schema`
        One table per micrograph, with the rows in the order of `Segmented.crystals`.

    Raises
    ------
    ValueError
        If the classifier does not give finite probabilities for each crop.
    """
    taxonomy = classifier.taxonomy
    counts = [tile.crystals.num_rows for tile in segmented]
    if not any(counts):
        return [classified_schema(taxonomy.shapes).empty_table() for _ in segmented]
    classified = classifier.classify(np.concatenate([tile.crops for tile in segmented]))
    p = classified.probabilities
    if p.shape != (sum(counts), len(taxonomy.shapes)) or not np.isfinite(p).all():
        raise ValueError(
            f"{classifier.name} did not give finite probabilities for {sum(counts)} crops"
        )
    crystals = classified_crystals(
        pa.concat_tables([tile.crystals for tile in segmented]), classified, taxonomy
    )
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    return [crystals.slice(start, count) for start, count in zip(starts, counts, strict=True)]


class Analyzer:
    """A segmenter and a classifier, used one after the other.

    Examples
    --------
    >>> analyzer = Analyzer(load_segmenter("compact"), load_classifier("nsr"))  # doctest: +SKIP
    >>> crystals, = analyzer.analyze([read_micrograph("tile.tif")])  # doctest: +SKIP
    >>> crystals["equivalent_diameter_um"].to_numpy()  # doctest: +SKIP
    """

    def __init__(self, segmenter: Segmenter, classifier: Classifier) -> None:
        self.segmenter = segmenter
        self.classifier = classifier

    def analyze(self, micrographs: Sequence[Micrograph]) -> list[pa.Table]:
        """Find, measure and name the crystals of micrographs; one table per micrograph.

        See `classify_segmented` for its columns.
        """
        return self.classify(self.segment(micrographs))

    def segment(self, micrographs: Sequence[Micrograph]) -> list[Segmented]:
        """The first half of `analyze`; see `segment_micrographs`."""
        return segment_micrographs(self.segmenter, micrographs)

    def classify(self, segmented: Sequence[Segmented]) -> list[pa.Table]:
        """The second half of `analyze`; see `classify_segmented`."""
        return classify_segmented(self.classifier, segmented)


def _measure(micrograph: Micrograph, masks: Sequence[Mask]) -> Segmented:
    from mcn.crops import cut_crops

    masks = sorted((mask for mask in masks if mask.pixels.any()), key=_reading_order)
    image = micrograph.analysed
    height, width = micrograph.pixels.shape
    analysed_height, analysed_width = image.shape
    # A crystal cut by the data bar is as incomplete as one cut by the edge of the image.
    measures = measure(masks, analysed_height, analysed_width, micrograph.pixel_size_um)
    is_crystal = paint_crystals(masks, analysed_height, analysed_width) > 0
    return Segmented(
        crops=cut_crops(image, masks),
        crystals=segmented_crystals(masks, measures, height, width),
        height=height,
        width=width,
        analysed_px=image.size,
        covered_px=int(np.count_nonzero(is_crystal)),
        pore_px=count_pore_pixels(image, is_crystal),
        pixel_size_um=micrograph.pixel_size_um,
        pixel_size_source=micrograph.pixel_size_source,
        data_bar_y=micrograph.data_bar_y,
    )


def _reading_order(mask: Mask) -> tuple[int, int, int, int, int]:
    # Boxes may start at the same pixel; size and area decide almost all of these ties.
    return (mask.y, mask.x, *mask.pixels.shape, int(mask.pixels.sum()))
