"""Labelled crops from a segmenter's masks, to evaluate a classifier as it is used in a scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mcn.analyzer import Segmenter
from mcn.classify.data.dataset import Examples, ExamplesError, concatenate_examples, tile_examples


def segmented_examples(
    core: Path, segmenter: Segmenter, on_tile: Callable[[], None] = lambda: None
) -> tuple[Examples, dict[str, Any]]:
    """Segment a rendered core and label each mask that matches a true crystal.

    Parameters
    ----------
    core : Path
        Core that `mcn core` rendered, with its `truth`.
    segmenter : Segmenter
        Segments the tiles as in a scan.
    on_tile : callable
        Called after each tile, for progress.

    Returns
    -------
    examples : Examples
        Crops of the matched masks with the shapes and visible shares of the true crystals; one
        group per tile.
    matched : dict
        `n_true`, `n_found` and `n_matched`, numbers of crystals; `recall`, the share of true
        crystals that were matched one to one at an IoU of at least 0.5; `mean_iou` of the
        matches.

    Raises
    ------
    ExamplesError
        If `core` is not a rendered core, or no mask matches a crystal.
    DataError
        If masks of the core are missing or cannot be read.
    """
    from mcn.segment.dataset import list_pairs
    from mcn.segment.evaluation.metrics import evaluate_images, matches

    true_crystals = _read_truth(core)
    by_tile = dict(iter(true_crystals.sort_values("label").groupby("tile")))
    rng = np.random.default_rng(0)
    parts, ious, n_found = [], [], 0
    for group, pair in enumerate(list_pairs(core)):
        (evaluated,) = evaluate_images(segmenter, [pair], on_tile)
        crystals = by_tile.get(pair.image.relative_to(core).as_posix(), true_crystals[:0])
        if len(evaluated.truth) != len(crystals):
            raise ExamplesError(
                f"{pair.masks}: {len(evaluated.truth)} crystals, but the truth lists "
                f"{len(crystals)}; render the core again"
            )
        true_rows, found_rows, iou = matches(evaluated.truth, evaluated.predicted, evaluated.size)
        crystals = crystals.iloc[true_rows]
        parts.append(
            tile_examples(
                pair.read()[0],
                [evaluated.predicted[row] for row in found_rows],
                crystals["shape"].tolist(),
                group,
                visible=crystals["visible_fraction"].to_numpy(np.float32),
                copies=0,
                rng=rng,
            )
        )
        ious.append(iou)
        n_found += len(evaluated.predicted)
    matched_iou = np.concatenate(ious)
    if not len(matched_iou):
        raise ExamplesError(
            f"{core}: no mask of {segmenter.name} matches a true crystal; use another segmenter"
        )
    return concatenate_examples(parts), {
        "n_true": len(true_crystals),
        "n_found": n_found,
        "n_matched": len(matched_iou),
        "recall": len(matched_iou) / len(true_crystals),
        "mean_iou": float(matched_iou.mean()),
    }


def _read_truth(core: Path) -> Any:
    path = core / "truth" / "crystals.parquet"
    if not path.is_file():
        raise ExamplesError(
            f"{core}: crops cannot be segmented again; give a core that 'mcn core' rendered"
        )
    columns = ["tile", "label", "shape", "visible_fraction"]
    table: Any = pq.read_table(path, columns=columns).to_pandas()
    return table
