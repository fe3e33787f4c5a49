"""Micrographs in, crystals out: the one path that batch, online and command line share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcn.crystals import Classified, Crystal
from mcn.mask import RLE, Mask, encode_rle
from mcn.micrograph import Micrograph
from mcn.morphology import Measures, measure
from mcn.taxonomy import Taxonomy


class Segmenter(Protocol):
    """Finds crystals: a loaded model named `model@first-12-of-sha256-of-weights`."""

    @property
    def name(self) -> str:
        """Name of model and weights, as the catalogue's rows carry it."""
        ...

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Masks of each grey image (H, W); images may differ in size."""
        ...


class PromptedSegmenter(Segmenter, Protocol):
    """A segmenter that also answers a person's clicks and boxes."""

    def predict(
        self,
        image: NDArray[np.uint8],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
    ) -> list[Mask]:
        """The crystal that each of N prompts means in an (H, W) image.

        Parameters
        ----------
        image : (H, W) uint8 array
        points : (N, 2) or (N, P, 2) array, optional
            One or P clicked points x, y a crystal, pixels.
        labels : (N,) or (N, P) array, optional
            1 on the crystal, 0 off it, -1 no point; all on it if not given.
        boxes : (N, 4) array, optional
            Left, top, right, bottom; NaN where a crystal has no box.
        """
        ...


class Classifier(Protocol):
    """Names the shapes of crystals: a loaded model, named as a segmenter is."""

    @property
    def name(self) -> str:
        """Name of model and weights, as the catalogue's rows carry it."""
        ...

    @property
    def taxonomy(self) -> Taxonomy:
        """The shapes it knows."""
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
        A picture of each crystal for the classifier.
    measures : tuple of N Measures
    rles : tuple of N RLE
        Masks within the whole micrograph.
    predicted_iou, stability : (N,) float32 arrays
        The segmenter's own scores, 0 to 1.
    height, width : int
        Size of the whole micrograph in pixels, data bar included.
    analysed_px, covered_px : int
        Pixels above the data bar, and those of them that lie on any crystal.
    pixel_size_um, pixel_size_source, data_bar_y
        As in `Micrograph`.
    """

    crops: NDArray[np.uint8]
    measures: tuple[Measures, ...]
    rles: tuple[RLE, ...]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    height: int
    width: int
    analysed_px: int
    covered_px: int
    pixel_size_um: float | None
    pixel_size_source: str
    data_bar_y: int | None


def segment_micrographs(segmenter: Segmenter, micrographs: Sequence[Micrograph]) -> list[Segmented]:
    """Find and measure the crystals of micrographs.

    Only the part above the data bar is looked at. Crystals come in order of the top, then the
    left side of their boxes, so that the same masks always give the same rows.

    Parameters
    ----------
    segmenter : Segmenter
    micrographs : sequence of Micrograph
        Segmented as one batch; sizes may differ.
    """
    found = segmenter.segment([micrograph.analysed for micrograph in micrographs])
    return [
        _measured(micrograph, masks) for micrograph, masks in zip(micrographs, found, strict=True)
    ]


def classify_segmented(
    classifier: Classifier, segmented: Sequence[Segmented]
) -> list[list[Crystal]]:
    """Name the shapes of the crystals of segmented micrographs, all crops as one batch.

    Returns
    -------
    list of list of Crystal
        One list a micrograph, in its order of crystals.
    """
    if not any(tile.measures for tile in segmented):
        return [[] for _ in segmented]
    crops = np.concatenate([tile.crops for tile in segmented])
    named = classifier.classify(crops)
    p, taxonomy = named.probabilities, classifier.taxonomy
    if p.shape != (len(crops), len(taxonomy.shapes)) or not np.isfinite(p).all():
        raise ValueError(f"{classifier.name} gave no probability for each of {len(crops)} crops")
    ends = np.cumsum([len(tile.measures) for tile in segmented])
    parts = [slice(end - len(t.measures), end) for t, end in zip(segmented, ends, strict=True)]
    return [
        _named(tile, p[rows], named.confidence[rows], taxonomy)
        for tile, rows in zip(segmented, parts, strict=True)
    ]


class Analyzer:
    """A segmenter and a classifier at work together.

    Examples
    --------
    >>> analyzer = Analyzer(load_segmenter("compact"), load_classifier("nsr"))  # doctest: +SKIP
    >>> crystals, = analyzer.analyze([read_micrograph("tile.tif")])  # doctest: +SKIP
    """

    def __init__(self, segmenter: Segmenter, classifier: Classifier) -> None:
        self.segmenter = segmenter
        self.classifier = classifier

    def analyze(self, micrographs: Sequence[Micrograph]) -> list[list[Crystal]]:
        """Find, measure and name the crystals of micrographs, one list each."""
        return self.classify(self.segment(micrographs))

    def segment(self, micrographs: Sequence[Micrograph]) -> list[Segmented]:
        """The first half of `analyze`; see `segment_micrographs`."""
        return segment_micrographs(self.segmenter, micrographs)

    def classify(self, segmented: Sequence[Segmented]) -> list[list[Crystal]]:
        """The second half of `analyze`; see `classify_segmented`."""
        return classify_segmented(self.classifier, segmented)


def _measured(micrograph: Micrograph, masks: Sequence[Mask]) -> Segmented:
    from mcn.crops import cut_crops

    masks = sorted((mask for mask in masks if mask.pixels.any()), key=_reading_order)
    image = micrograph.analysed
    height, width = micrograph.pixels.shape
    analysed_height, analysed_width = image.shape
    return Segmented(
        crops=cut_crops(image, masks),
        # A crystal cut by the data bar is as incomplete as one cut by the picture's edge.
        measures=tuple(measure(masks, analysed_height, analysed_width, micrograph.pixel_size_um)),
        rles=tuple(encode_rle(masks, height, width)),
        predicted_iou=np.array([mask.predicted_iou for mask in masks], np.float32),
        stability=np.array([mask.stability for mask in masks], np.float32),
        height=height,
        width=width,
        analysed_px=image.size,
        covered_px=_covered(masks, analysed_height, analysed_width),
        pixel_size_um=micrograph.pixel_size_um,
        pixel_size_source=micrograph.pixel_size_source,
        data_bar_y=micrograph.data_bar_y,
    )


def _covered(masks: Sequence[Mask], height: int, width: int) -> int:
    covered = np.zeros((height, width), dtype=bool)
    for mask in masks:
        h, w = mask.pixels.shape
        covered[mask.y : mask.y + h, mask.x : mask.x + w] |= mask.pixels
    return int(covered.sum())


def _reading_order(mask: Mask) -> tuple[int, int, int, int, int]:
    # The box alone may tie; its size and area settle almost every tie that is left.
    return (mask.y, mask.x, *mask.pixels.shape, int(mask.pixels.sum()))


_MEASURES = tuple(field.name for field in fields(Measures))


def _named(
    tile: Segmented, p: NDArray[np.float32], confidence: NDArray[np.float32], taxonomy: Taxonomy
) -> list[Crystal]:
    crystals = []
    for i, best in enumerate(p.argmax(axis=1).tolist()):
        measures = tile.measures[i]
        shape = taxonomy.shapes[best]
        crystals.append(
            Crystal(
                shape=shape,
                facet=taxonomy.facet_of[shape],
                confidence=float(confidence[i]),
                probabilities=dict(zip(taxonomy.shapes, p[i].tolist(), strict=True)),
                mask_rle=tile.rles[i],
                predicted_iou=float(tile.predicted_iou[i]),
                stability=float(tile.stability[i]),
                **{name: getattr(measures, name) for name in _MEASURES},
            )
        )
    return crystals
