"""How good a segmenter's masks are against instance masks drawn by people or rendered."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mcn.mask import Mask, encode_rle, masks_from_labels
from mcn.segment.pairs import Pair
from mcn.segment.segmenter import Segmenter


def evaluate_segmenter(
    segmenter: Segmenter,
    pairs: Sequence[Pair],
    on_image: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Compare a segmenter's masks with the truth.

    Parameters
    ----------
    segmenter : Segmenter
        The model to judge.
    pairs : sequence of Pair
        Images and instance labels.
    on_image : callable, optional
        Called after each image.

    Returns
    -------
    dict
        `ap50`, `ap` (COCO average precision at IoU 0.5, and averaged over 0.50:0.05:0.95, without
        a limit on masks an image), `f1_50` (over all crystals), `f1_50_by_image` (averaged over
        images), `mean_iou` (of matches at IoU ≥ 0.5), `n_images`, `n_true`, `n_pred`,
        `seconds_per_image`.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO", ECCV 2014.
    """
    truth: list[list[Mask]] = []
    found: list[list[Mask]] = []
    sizes: list[tuple[int, int]] = []
    seconds = 0.0
    for pair in pairs:
        pixels, labels = pair.read()
        start = time.perf_counter()
        found.extend(segmenter.segment([pixels]))
        seconds += time.perf_counter() - start
        truth.append(masks_from_labels(labels))
        sizes.append((pixels.shape[0], pixels.shape[1]))
        if on_image is not None:
            on_image()
    matches = [match(t, f, size) for t, f, size in zip(truth, found, sizes, strict=True)]
    n_true, n_pred = sum(map(len, truth)), sum(map(len, found))
    hits = np.concatenate(matches) if matches else np.zeros(0)
    by_image = [
        2 * len(m) / (len(t) + len(f)) if t or f else 1.0
        for m, t, f in zip(matches, truth, found, strict=True)
    ]
    ap, ap50 = average_precision(truth, found, sizes)
    return {
        "segmenter": segmenter.name,
        "ap50": ap50,
        "ap": ap,
        "f1_50": 2 * len(hits) / (n_true + n_pred) if n_true + n_pred else 1.0,
        "f1_50_by_image": float(np.mean(by_image)) if by_image else None,
        "mean_iou": float(hits.mean()) if len(hits) else None,
        "n_images": len(pairs),
        "n_true": n_true,
        "n_pred": n_pred,
        "seconds_per_image": seconds / max(len(pairs), 1),
    }


def match(
    truth: Sequence[Mask], found: Sequence[Mask], size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.float64]:
    """IoU of each one-to-one match of at least `threshold`, for disjoint masks.

    Disjoint masks overlap at more than half in at most one way, so no assignment is needed.
    """
    if not truth or not found:
        return np.zeros(0)
    t, f = paint(truth, size), paint(found, size)
    joint = np.bincount(
        t.ravel() * (len(found) + 1) + f.ravel(), minlength=(len(truth) + 1) * (len(found) + 1)
    ).reshape(len(truth) + 1, len(found) + 1)
    common = joint[1:, 1:]
    union = joint.sum(axis=1)[1:, None] + joint.sum(axis=0)[None, 1:] - common
    iou = common / np.maximum(union, 1)
    return np.asarray(iou[iou > threshold], dtype=np.float64)


def paint(masks: Sequence[Mask], size: tuple[int, int]) -> NDArray[np.int64]:
    """Label image (H, W) of masks, the i-th as i + 1."""
    canvas = np.zeros(size, np.int64)
    for i, mask in enumerate(masks, start=1):
        h, w = mask.pixels.shape
        canvas[mask.y : mask.y + h, mask.x : mask.x + w][mask.pixels] = i
    return canvas


def average_precision(
    truth: Sequence[Sequence[Mask]],
    found: Sequence[Sequence[Mask]],
    sizes: Sequence[tuple[int, int]],
) -> tuple[float | None, float | None]:
    """COCO's AP over 0.50:0.05:0.95 and at 0.5; None where there is no truth."""
    if not any(truth):
        return None, None
    if not any(found):
        return 0.0, 0.0
    reference = COCO()
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (t, f, size) in enumerate(zip(truth, found, sizes, strict=True), start=1):
        for mask, rle in zip(t, encode_rle(t, *size), strict=True):
            area = int(mask.pixels.sum())
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1,
                 "segmentation": rle, "area": area, "iscrowd": 0,
                 "bbox": [mask.x, mask.y, *mask.pixels.shape[::-1]]}
            )  # fmt: skip
        for mask, rle in zip(f, encode_rle(f, *size), strict=True):
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
    precision = run.eval["precision"][:, :, 0, 0, 0]
    return float(precision.mean()), float(precision[0].mean())
