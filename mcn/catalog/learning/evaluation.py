"""How good the models of a catalogue are on its rock, by the corrections that persons made.

Classifiers are evaluated on the crystals that a person named, segmenters on the tiles that count
as judged (`mcn.catalog.learning.judged_tiles`). Intervals are those of the bootstrap over tiles
in `mcn.classify.evaluation.bootstrap`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.learning.judged_tiles import CorrectedTiles, read_corrected_tiles
from mcn.classify.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    percentiles,
    resampled_units,
    resamples,
)
from mcn.classify.evaluation.scores import score_with_intervals
from mcn.taxonomy import CALCITE

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot

NOTE: Final = (
    "A classifier is evaluated on the crystals that a person named; named in order of the queue, "
    "least sure first, they are harder than most. A segmenter is evaluated on the tiles in which "
    "somebody changed an outline or named every crystal: what nobody changed there counts as "
    "right. Models trained on these corrections score too high."
)
"""What the metrics assume."""

_MATCH: Final = 0.5  # IoU from which an outline of the segmenter is the crystal that was drawn

_COUNTS: Final = ("found", "true", "hits", "kept", "deleted", "redrawn", "added", "iou")
_Counts = NDArray[np.float64]


def evaluate_corrections(
    catalog: Catalog, wells: Sequence[str] = (), snapshot: Snapshot | None = None
) -> dict[str, Any]:
    """Evaluate the models of a catalogue against its corrections.

    Parameters
    ----------
    catalog : Catalog
    wells : sequence of str
        All wells if empty.
    snapshot : Snapshot, optional
        Default is the present one.

    Returns
    -------
    dict
        `corrections`, the number in effect; `by_operation`, the same by what persons did;
        `crystals` and `tiles`, the numbers of those that are corrected; `classifiers` and
        `segmenters`, a list of metrics for each model, the one with the most crystals first;
        `note`, what they assume.

        Of a classifier: `classifier`, its name; `n_tiles`; and the metrics of
        `mcn.classify.evaluation.scores.score` with `intervals`.

        Of a segmenter: `segmenter`; `n_tiles`, the judged tiles; `n`, the crystals that it found
        in them, of which `kept`, `deleted` and `redrawn` (a merge or split deletes and adds);
        `added`; `mean_iou` of old and new outlines of those redrawn; `precision` and `recall`,
        of outlines with an IoU above 0.5; `f1`; and `intervals` of the last four.

    Raises
    ------
    CatalogQueryError
        For wells that do not exist.
    """
    read = read_corrected_tiles(catalog, wells, snapshot)
    made = read.corrections.rows.filter(read.corrections.in_effect)
    operations = made["operation"].filter(pc.not_equal(made["operation"], "undo"))
    counts = {each["values"]: each["counts"] for each in pc.value_counts(operations).to_pylist()}
    classifiers = [*_classifiers(read.named, catalog.shapes)]
    segmenters = [*_segmenters(read)]
    return {
        "corrections": len(operations),
        "by_operation": dict(sorted(counts.items())),
        "crystals": read.corrections.changed.num_rows + read.corrections.added.num_rows,
        "tiles": pc.count_distinct(made["tile_id"]).as_py(),
        "classifiers": sorted(classifiers, key=lambda each: -each["n"]),
        "segmenters": sorted(segmenters, key=lambda each: -each["n_tiles"]),
        "note": NOTE,
    }


def _classifiers(named: pa.Table, shapes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The metrics of each classifier on the crystals that a person named."""
    facet_of = CALCITE.facet_of if tuple(shapes) == CALCITE.shapes else {}
    for classifier in pc.unique(named["classifier"]).to_pylist():
        rows = named.filter(pc.equal(named["classifier"], classifier))
        tiles = rows["tile_id"].combine_chunks().dictionary_encode()
        probabilities = [rows[f"p_{shape}"].to_numpy() for shape in shapes]
        yield {
            "classifier": classifier,
            "n_tiles": len(tiles.dictionary),
            **score_with_intervals(
                tiles.indices.to_numpy().astype(np.int64),
                pc.index_in(rows["said"], pa.array(shapes)).to_numpy().astype(np.int64),
                np.stack(probabilities, axis=1),
                shapes,
                facet_of,
                rows["confidence"].to_numpy(),
            ),
        }


def _segmenters(read: CorrectedTiles) -> Iterator[dict[str, Any]]:
    """The metrics of each segmenter on its judged tiles."""
    judged = read.judged()
    for segmenter in pc.unique(judged["segmenter"]).to_pylist():
        tiles = judged.filter(pc.equal(judged["segmenter"], segmenter))["tile_id"]
        found, added = (
            rows.filter(
                pc.and_(pc.equal(rows["segmenter"], segmenter), pc.is_in(rows["tile_id"], tiles))
            )
            for rows in (read.found, read.added)
        )
        counts, groups = _count(found, added, tiles)
        total = dict(zip(_COUNTS, counts.sum(axis=0).tolist(), strict=True))
        yield {
            "segmenter": segmenter,
            "n_tiles": len(tiles),
            "n": int(total["found"]),
            **{name: int(total[name]) for name in ("kept", "deleted", "redrawn", "added")},
            **_metrics_with_intervals(counts, groups),
        }


def _count(
    found: pa.Table, added: pa.Table, tiles: pa.ChunkedArray
) -> tuple[_Counts, NDArray[np.int64]]:
    """`_COUNTS` of single crystals (N, 8), and the number of each one's tile (N,)."""
    numbers = pa.array(tiles.to_pylist())
    changed = found.filter(pc.or_(found["is_deleted"], found["is_redrawn"]))
    kept_tiles = found.filter(pc.invert(pc.or_(found["is_deleted"], found["is_redrawn"])))
    kept = pc.index_in(kept_tiles["tile_id"], numbers).to_numpy().astype(np.int64)
    counts = [np.tile(_row(found=1, true=1, hits=1, kept=1), (len(kept), 1))]
    groups = [kept]
    touched = pa.chunked_array([*changed["tile_id"].chunks, *added["tile_id"].chunks], pa.string())
    for tile_id in pc.unique(touched).to_pylist():
        of_tile = [rows.filter(pc.equal(rows["tile_id"], tile_id)) for rows in (changed, added)]
        counts.append(_count_changed(*of_tile))
        number = numbers.index(tile_id).as_py()
        groups.append(np.full(len(counts[-1]), number, dtype=np.int64))
    return np.concatenate(counts), np.concatenate(groups)


def _count_changed(changed: pa.Table, added: pa.Table) -> _Counts:
    """`_COUNTS` of a tile's crystals that persons changed or added.

    An outline and the drawn one that it matches are one crystal, whatever a person did: deleted
    and added again is as good as redrawn.
    """
    from pycocotools import mask as coco
    from scipy.optimize import linear_sum_assignment

    redrawn = changed["is_redrawn"].to_numpy()
    of_found = np.where(
        redrawn[:, None], _row(found=1, redrawn=1), _row(found=1, deleted=1)
    ).reshape(-1, len(_COUNTS))
    drawn_of_found = np.flatnonzero(redrawn)
    drawn = [*changed["drawn_rle"].take(pa.array(drawn_of_found)).to_pylist()]
    drawn += added["drawn_rle"].to_pylist()
    of_drawn = np.tile(_row(true=1), (len(drawn), 1))
    of_drawn[len(drawn_of_found) :] += _row(added=1)
    if not drawn or not changed.num_rows:
        return np.concatenate([of_found, of_drawn])
    outlines = (
        [json.loads(rle) for rle in rles] for rles in (changed["found_rle"].to_pylist(), drawn)
    )
    ious = np.asarray(coco.iou(*outlines, [0] * len(drawn)))
    own = ious[drawn_of_found, np.arange(len(drawn_of_found))]
    of_found[drawn_of_found, _COUNTS.index("iou")] = own
    first, second = linear_sum_assignment(np.where(ious > _MATCH, ious, 0.0), maximize=True)
    matched = ious[first, second] > _MATCH
    first, second = first[matched], second[matched]
    of_found[first] += of_drawn[second] + _row(hits=1)
    return np.concatenate([of_found, np.delete(of_drawn, second, axis=0)])


def _row(**counts: int) -> _Counts:
    return np.array([counts.get(name, 0) for name in _COUNTS], dtype=np.float64)


def _metrics_with_intervals(counts: _Counts, groups: NDArray[np.int64]) -> dict[str, Any]:
    unit_of, of = resampled_units(groups)
    units = int(unit_of.max(initial=-1)) + 1
    by_unit = np.zeros((units, len(_COUNTS)))
    np.add.at(by_unit, unit_of, counts)
    metrics = _metrics(by_unit.sum(axis=0, keepdims=True))
    drawn = [_metrics(weights @ by_unit) for weights in resamples(np.arange(units), 0)]
    intervals: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "of": of, "units": units}
    for name, (value,) in metrics.items():
        intervals[name] = percentiles(np.concatenate([part[name] for part in drawn]), value)
    plain = {
        name: float(value) if np.isfinite(value) else None for name, (value,) in metrics.items()
    }
    return {**plain, "intervals": intervals}


def _metrics(totals: _Counts) -> dict[str, _Counts]:
    """Metrics (B,) of sums (B, 8) of `_COUNTS`; NaN if the denominator is zero."""
    column = dict(zip(_COUNTS, totals.T, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mean_iou": column["iou"] / column["redrawn"],
            "precision": column["hits"] / column["found"],
            "recall": column["hits"] / column["true"],
            "f1": 2 * column["hits"] / (column["found"] + column["true"]),
        }
