"""Metrics of a segmenter's masks against true instance masks, drawn by people or rendered."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mcn.analyzer import Segmenter
from mcn.mask import Mask, encode_rle, masks_from_labels
from mcn.segment.dataset import Pair
from mcn.segment.evaluation.faults import (
    PREDICTED_KINDS,
    TRUE_KINDS,
    Faults,
    count_by_size,
    find_faults,
)
from mcn.segment.evaluation.outlines import boundary_ious, shape_errors


@dataclass(frozen=True, eq=False)
class EvaluatedImage:
    """The masks of one image and the true ones.

    Parameters
    ----------
    pair : Pair
        Files of the image and its true masks.
    size : (int, int)
        Height and width, pixels.
    truth, predicted : list of Mask
        True and predicted crystals.
    true_index, predicted_index : (n,) int arrays
        Indices of each match of at least 0.5.
    ious : (n,) float array
        IoU of each match.
    faults : Faults
        The kind of each true and predicted crystal.
    seconds : float
        Time that the segmenter took.
    """

    pair: Pair
    size: tuple[int, int]
    truth: list[Mask]
    predicted: list[Mask]
    true_index: NDArray[np.intp]
    predicted_index: NDArray[np.intp]
    ious: NDArray[np.float64]
    faults: Faults
    seconds: float

    @property
    def matched(self) -> tuple[list[Mask], list[Mask]]:
        """The true and the predicted masks of the matches."""
        return (
            [self.truth[i] for i in self.true_index],
            [self.predicted[i] for i in self.predicted_index],
        )

    @property
    def f1(self) -> float:
        """Twice the matches over all true and predicted crystals; 1 if there are none."""
        crystals = len(self.truth) + len(self.predicted)
        return 2 * len(self.ious) / crystals if crystals else 1.0


def evaluate_segmenter(
    segmenter: Segmenter,
    pairs: Sequence[Pair],
    on_image: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Metrics of a segmenter on pairs; see `evaluate_images` and `compute_metrics`."""
    return {
        "segmenter": segmenter.name,
        **compute_metrics(evaluate_images(segmenter, pairs, on_image)),
    }


def evaluate_images(
    segmenter: Segmenter,
    pairs: Sequence[Pair],
    on_image: Callable[[], None] | None = None,
) -> list[EvaluatedImage]:
    """Segment images as a scan does, without their data bars, and match the true masks.

    Parameters
    ----------
    segmenter : Segmenter
        The model to evaluate.
    pairs : sequence of Pair
        Images and instance labels.
    on_image : callable, optional
        Called after each image.
    """
    evaluated = []
    for pair in pairs:
        micrograph, labels = pair.open()
        size = (labels.shape[0], labels.shape[1])
        start = time.perf_counter()
        (predicted,) = segmenter.segment([micrograph.analysed])
        seconds = time.perf_counter() - start
        truth = masks_from_labels(labels)
        joint = joint_areas(truth, predicted, size)
        faults = find_faults(truth, predicted, joint)
        matched = _matches(joint, 0.5)
        evaluated.append(EvaluatedImage(pair, size, truth, predicted, *matched, faults, seconds))
        if on_image is not None:
            on_image()
    return evaluated


def compute_metrics(evaluated: Sequence[EvaluatedImage]) -> dict[str, Any]:
    """Metrics over all images; None if the denominator is zero.

    Returns
    -------
    dict
        - `ap50`, `ap`: COCO average precision at IoU 0.5, and averaged over 0.50:0.05:0.95,
          without a limit on the masks per image [1]_;
        - `f1_50`, `f1_50_by_image`: over all crystals, and averaged over images;
        - `mean_iou`: of the matches with IoU ≥ 0.5;
        - `boundary_iou`: mean over the matches, see `boundary_ious`;
        - `matched_circularity_error`, `matched_solidity_error`, `matched_aspect_ratio_error`,
          `matched_diameter_error`: relative errors of the means over the matches;
        - `faults`: numbers of true and predicted crystals of each kind by size, see `Faults`;
        - `panoptic_quality`: sum of the matched IoU over matches plus half the unmatched [2]_;
        - `count_error`, `mean_diameter_error`, `median_diameter_error`, `area_fraction_error`:
          relative errors over all images, positive if too much is predicted;
        - `n_images`, `n_true`, `n_pred`, `seconds_per_image`.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Microsoft COCO", ECCV 2014.
    .. [2] A. Kirillov et al., "Panoptic Segmentation", CVPR 2019.
    """
    truth = [image.truth for image in evaluated]
    predicted = [image.predicted for image in evaluated]
    n_true, n_pred = sum(map(len, truth)), sum(map(len, predicted))
    hits = np.concatenate([image.ious for image in evaluated]) if evaluated else np.zeros(0)
    ap, ap50 = average_precision(truth, predicted, [image.size for image in evaluated])
    true_diameters, predicted_diameters = diameters(truth), diameters(predicted)
    matched = [image.matched for image in evaluated]
    boundaries = np.concatenate([boundary_ious(*pair) for pair in matched] or [np.zeros(0)])
    f1 = 2 * len(hits) / (n_true + n_pred) if n_true + n_pred else 1.0
    return {
        "ap50": ap50,
        "ap": ap,
        "f1_50": f1,
        "f1_50_by_image": float(np.mean([image.f1 for image in evaluated])) if evaluated else None,
        "mean_iou": float(hits.mean()) if len(hits) else None,
        "panoptic_quality": f1 * float(hits.mean()) if len(hits) else 0.0,
        "boundary_iou": float(boundaries.mean()) if len(boundaries) else None,
        "count_error": _relative_error(n_pred, n_true),
        "mean_diameter_error": _relative_error(
            _or_zero(np.mean, predicted_diameters), _or_zero(np.mean, true_diameters)
        ),
        "median_diameter_error": _relative_error(
            _or_zero(np.median, predicted_diameters), _or_zero(np.median, true_diameters)
        ),
        "area_fraction_error": _relative_error(
            float((predicted_diameters**2).sum()), float((true_diameters**2).sum())
        ),
        **{f"matched_{name}_error": error for name, error in shape_errors(matched).items()},
        "matched_diameter_error": _relative_error(
            _or_zero(np.mean, diameters([predicted for _, predicted in matched])),
            _or_zero(np.mean, diameters([true for true, _ in matched])),
        ),
        "faults": _count_faults(evaluated),
        "n_images": len(evaluated),
        "n_true": n_true,
        "n_pred": n_pred,
        "seconds_per_image": sum(image.seconds for image in evaluated) / max(len(evaluated), 1),
    }


def _count_faults(evaluated: Sequence[EvaluatedImage]) -> dict[str, dict[str, dict[str, int]]]:
    sides = {
        "true": ([image.faults.true for image in evaluated], TRUE_KINDS),
        "predicted": ([image.faults.predicted for image in evaluated], PREDICTED_KINDS),
    }
    sizes = {
        "true": diameters([image.truth for image in evaluated]),
        "predicted": diameters([image.predicted for image in evaluated]),
    }
    return {
        side: count_by_size(np.concatenate([*kinds, np.zeros(0, "U6")]), sizes[side], names)
        for side, (kinds, names) in sides.items()
    }


def diameters(masks: Sequence[Sequence[Mask]]) -> NDArray[np.float64]:
    """Equivalent diameters of all masks of all images, pixels."""
    areas = [np.count_nonzero(mask.pixels) for image in masks for mask in image]
    return np.sqrt(4 / np.pi * np.asarray(areas, dtype=np.float64))


def _or_zero(measure: Callable[[NDArray[np.float64]], Any], values: NDArray[np.float64]) -> float:
    return float(measure(values)) if len(values) else 0.0


def _relative_error(predicted: float, true: float) -> float | None:
    return (predicted - true) / true if true else None


def rated_masks(image: EvaluatedImage) -> NDArray[np.float64]:
    """Score of each predicted mask, and its IoU with the crystal that it matches, (n, 2).

    The IoU is 0 without a match.
    """
    ious = np.zeros(len(image.predicted))
    ious[image.predicted_index] = image.ious
    return np.stack([[mask.predicted_iou for mask in image.predicted], ious], axis=1).astype(float)


def match(
    truth: Sequence[Mask], predicted: Sequence[Mask], size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.float64]:
    """IoU of each one-to-one match of at least `threshold`, for disjoint masks."""
    return matches(truth, predicted, size, threshold)[2]


def matches(
    truth: Sequence[Mask], predicted: Sequence[Mask], size: tuple[int, int], threshold: float = 0.5
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Indices into `truth` and `predicted`, and the IoU, of each match, for disjoint masks.

    A mask overlaps at most one of several disjoint masks by more than half, so that matches
    are one-to-one without an assignment.
    """
    return _matches(joint_areas(truth, predicted, size), threshold)


def joint_areas(
    truth: Sequence[Mask], predicted: Sequence[Mask], size: tuple[int, int]
) -> NDArray[np.int64]:
    """Common pixels (T + 1, P + 1) of disjoint masks; row and column 0 are the background."""
    true_labels, labels = paint(truth, size), paint(predicted, size)
    return np.bincount(
        true_labels.ravel() * (len(predicted) + 1) + labels.ravel(),
        minlength=(len(truth) + 1) * (len(predicted) + 1),
    ).reshape(len(truth) + 1, len(predicted) + 1)


def _matches(
    joint: NDArray[np.int64], threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    common = joint[1:, 1:]
    union = joint.sum(axis=1)[1:, None] + joint.sum(axis=0)[None, 1:] - common
    iou = common / np.maximum(union, 1)
    true_index, predicted_index = np.nonzero(iou > threshold)
    ious = iou[true_index, predicted_index]
    return true_index, predicted_index, np.asarray(ious, dtype=np.float64)


def paint(masks: Sequence[Mask], size: tuple[int, int]) -> NDArray[np.int64]:
    """Label image (H, W) of masks; mask i has the label i + 1."""
    canvas = np.zeros(size, np.int64)
    for i, mask in enumerate(masks, start=1):
        h, w = mask.pixels.shape
        canvas[mask.y : mask.y + h, mask.x : mask.x + w][mask.pixels] = i
    return canvas


def average_precision(
    truth: Sequence[Sequence[Mask]],
    predicted: Sequence[Sequence[Mask]],
    sizes: Sequence[tuple[int, int]],
) -> tuple[float | None, float | None]:
    """COCO's AP over 0.50:0.05:0.95 and at 0.5; None if there are no true masks."""
    if not any(truth):
        return None, None
    precision = precision_by_recall(truth, predicted, sizes)
    return float(precision.mean()), float(precision[0].mean())


def precision_by_recall(
    truth: Sequence[Sequence[Mask]],
    predicted: Sequence[Sequence[Mask]],
    sizes: Sequence[tuple[int, int]],
) -> NDArray[np.float64]:
    """COCO's precision at IoU 0.50:0.05:0.95 (10 rows) and recall 0:0.01:1 (101 columns)."""
    if not any(predicted):
        return np.zeros((10, 101))
    reference = COCO()
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    images = zip(truth, predicted, sizes, strict=True)
    for image, (true_masks, masks, size) in enumerate(images, start=1):
        for mask, rle in zip(true_masks, encode_rle(true_masks, *size), strict=True):
            area = int(mask.pixels.sum())
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1,
                 "segmentation": rle, "area": area, "iscrowd": 0,
                 "bbox": [mask.x, mask.y, *mask.pixels.shape[::-1]]}
            )  # fmt: skip
        for mask, rle in zip(masks, encode_rle(masks, *size), strict=True):
            results.append(
                {"image_id": image, "category_id": 1, "segmentation": rle,
                 "score": mask.predicted_iou}
            )  # fmt: skip
    reference.dataset = {
        "info": {},
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(sizes, start=1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "crystal"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(results), "segm")
        run.params.maxDets = [100_000]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e12]], ["all"]
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"][:, :, 0, 0, 0], dtype=np.float64)
