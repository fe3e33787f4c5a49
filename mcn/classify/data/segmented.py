"""Labelled crystals as a segmenter finds them, for judging a classifier as it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mcn.analyzer import Segmenter
from mcn.classify.data.dataset import Examples, ExamplesError, crystals_of_tile, join


def found_examples(
    core: Path, segmenter: Segmenter, on_tile: Callable[[], None] = lambda: None
) -> tuple[Examples, dict[str, Any]]:
    """Segment a rendered core, and give each mask that fits a true crystal its shape.

    Parameters
    ----------
    core : Path
        Core that `mcn core` rendered, with its `truth`.
    segmenter : Segmenter
        Finds the masks, as in a scan.
    on_tile : callable
        Called after each tile, for progress.

    Returns
    -------
    examples : Examples
        Crops of the matched masks, with the true crystals' shapes and visible shares; a group
        a tile.
    matched : dict
        `n_true`, `n_found` and `n_matched`, crystals; `recall`, share of the true ones that
        were matched one to one at an IoU of at least 0.5; `mean_iou` of the matches.

    Raises
    ------
    ExamplesError
        If `core` is no rendered core, or nothing of it was found.
    DataError
        If its masks are missing or cannot be read.
    """
    import pyarrow.parquet as pq

    from mcn.segment.dataset import list_pairs
    from mcn.segment.evaluation.metrics import evaluate_images, matches

    path = core / "truth" / "crystals.parquet"
    if not path.is_file():
        raise ExamplesError(
            f"{core}: crops cannot be segmented again; give a core that 'mcn core' rendered"
        )
    truth = pq.read_table(path, columns=["tile", "label", "shape", "visible_fraction"]).to_pandas()
    by_tile = dict(iter(truth.sort_values("label").groupby("tile")))
    rng = np.random.default_rng(0)
    parts, ious, n_found = [], [], 0
    for group, pair in enumerate(list_pairs(core)):
        (evaluated,) = evaluate_images(segmenter, [pair], on_tile)
        crystals = by_tile.get(pair.image.relative_to(core).as_posix(), truth[:0])
        if len(evaluated.truth) != len(crystals):
            raise ExamplesError(
                f"{pair.masks}: {len(evaluated.truth)} crystals, but the truth names "
                f"{len(crystals)}; render the core again"
            )
        true, made, iou = matches(evaluated.truth, evaluated.predicted, evaluated.size)
        crystals = crystals.iloc[true]
        parts.append(
            crystals_of_tile(
                pair.read()[0],
                [evaluated.predicted[place] for place in made],
                crystals["shape"].tolist(),
                group,
                visible=crystals["visible_fraction"].to_numpy(np.float32),
                copies=0,
                rng=rng,
            )
        )
        ious.append(iou)
        n_found += len(evaluated.predicted)
    hits = np.concatenate(ious)
    if not len(hits):
        raise ExamplesError(
            f"{core}: no mask of {segmenter.name} fits a true crystal; name another segmenter"
        )
    return join(parts), {
        "n_true": len(truth),
        "n_found": n_found,
        "n_matched": len(hits),
        "recall": len(hits) / len(truth),
        "mean_iou": float(hits.mean()),
    }
