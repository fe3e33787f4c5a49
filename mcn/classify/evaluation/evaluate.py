"""Evaluates a classifier on labelled crystals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.analyzer import Segmenter
from mcn.classify.classifier import CropClassifier
from mcn.classify.data.dataset import Examples, ExamplesError
from mcn.classify.data.readers import read_examples
from mcn.classify.data.segmented import segmented_examples
from mcn.classify.evaluation.scores import score_with_intervals
from mcn.crystals import Classified

RECOGNISABLE = 0.5
"""Visible share from which a crystal counts as recognisable."""

VISIBILITY_BINS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Ends of the bins by visible share; each includes its lower end, the last also its upper end."""


def evaluate_classifier(
    data: Path,
    classifier: CropClassifier,
    *,
    segmenter: Segmenter | None = None,
    limit: int | None = None,
    copies: int = 0,
    report: Path | None = None,
    on_tile: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Score a classifier on labelled crystals.

    Parameters
    ----------
    data : Path
        Class folders, a folder with `labels.csv`, or a rendered core; see
        `mcn.classify.data.readers.read_examples`.
    classifier : CropClassifier
        Classifier to evaluate.
    segmenter : Segmenter, optional
        With a rendered core: cut crystals out by its masks instead of the true ones; see
        `mcn.classify.data.segmented.segmented_examples`.
    limit : int, optional
        Maximum number of crystals, drawn at random with a fixed seed.
    copies : int
        With a rendered core: perturbed masks for each crystal, evaluated in addition, because
        in a scan masks come from a segmenter.
    report : Path, optional
        Folder for a page with all metrics; see `mcn.classify.evaluation.report.write_report`.
    on_tile : callable
        Called after each tile that was segmented, for progress.

    Returns
    -------
    dict
        `classifier`, its name; `data`; and for all crystals the metrics of `score` with their
        `intervals`, see `mcn.classify.evaluation.bootstrap.bootstrap_intervals`. The same metrics
        of subsets: `recognisable`, the crystals that are at least half visible, and
        `by_visibility`, a list by `visible`, [from, to), both if the visible share is known; and
        `spoilt_masks`, the perturbed copies. With a segmenter, its name and `matched`, the number
        of crystals that it found.

    Raises
    ------
    ExamplesError
        If there is nothing labelled in `data`, something in it cannot be read, or its shapes
        are not those of the classifier.
    """
    metrics: dict[str, Any] = {"classifier": classifier.name, "data": str(data)}
    if segmenter is None:
        examples = read_examples(data, taxonomy=classifier.taxonomy, copies=copies)
    else:
        examples, matched = segmented_examples(data, segmenter, on_tile)
        metrics |= {"segmenter": segmenter.name, "matched": matched}
    if limit is not None:
        examples = _sample(examples, limit)
    _check_shapes(data, examples, classifier)
    classified = classifier.classify(examples.crops)
    metrics |= _metrics_by_subset(examples, classified)
    if report is not None:
        from mcn.classify.evaluation.report import write_report

        original = ~examples.perturbed
        write_report(
            metrics,
            examples.classes[original],
            Classified(classified.probabilities[original], classified.confidence[original]),
            report,
            examples.crops[original],
            classifier,
        )
    return metrics


def _check_shapes(data: Path, examples: Examples, classifier: CropClassifier) -> None:
    shapes, known = examples.taxonomy.shapes, classifier.taxonomy.shapes
    if shapes != known:
        raise ExamplesError(
            f"{data}: its crystals are {', '.join(shapes)}, but {classifier.name} distinguishes "
            f"{', '.join(known)}; give crystals of these shapes"
        )


def _metrics_by_subset(examples: Examples, classified: Classified) -> dict[str, Any]:
    """Metrics of all crystals, and of subsets by visible share and of perturbed masks."""
    taxonomy = examples.taxonomy

    def metrics_of(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return score_with_intervals(
            examples.groups[rows],
            examples.classes[rows],
            classified.probabilities[rows],
            taxonomy.shapes,
            taxonomy.facet_of,
            classified.confidence[rows],
        )

    original, visible = ~examples.perturbed, examples.visible
    metrics = metrics_of(original)
    recognisable = visible >= RECOGNISABLE
    if recognisable.any() and not recognisable.all():
        metrics["recognisable"] = metrics_of(original & recognisable)
    metrics["by_visibility"] = []
    if (visible < 1).any():
        bins = np.digitize(visible, VISIBILITY_BINS[1:-1])
        metrics["by_visibility"] = [
            {
                "visible": list(VISIBILITY_BINS[number : number + 2]),
                **metrics_of(original & (bins == number)),
            }
            for number in np.unique(bins[original]).tolist()
        ]
    if examples.perturbed.any():
        metrics["spoilt_masks"] = metrics_of(examples.perturbed)
    return metrics


def _sample(examples: Examples, limit: int) -> Examples:
    """At most `limit` crystals, and as many perturbed copies, drawn at random."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(examples))
    perturbed = examples.perturbed[order]
    return examples.take(
        np.sort(np.concatenate([order[~perturbed][:limit], order[perturbed][:limit]]))
    )
