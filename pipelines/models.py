"""The segmenter and classifier of a scan, and how workers load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mcn.analyzer import Classifier, Segmenter
from mcn.taxonomy import SHAPES


@dataclass(frozen=True)
class ScanModels:
    """Names and shapes of the models of a scan, and functions that load them in a worker."""

    segmenter: str
    classifier: str
    load_segmenter: Callable[[], Segmenter]
    load_classifier: Callable[[], Classifier]
    shapes: tuple[str, ...] = SHAPES

    @classmethod
    def named(cls, segmenter: str, classifier: str) -> ScanModels:
        """Models by name or path, as in `load_segmenter` and `load_classifier`."""
        from mcn.classify import load_classifier
        from mcn.segment import absolute_path, load_segmenter, segmenter_name

        # Workers have other working folders, so make paths absolute.
        segmenter, classifier = absolute_path(segmenter), absolute_path(classifier)
        loaded_classifier = load_classifier(classifier)
        return cls(
            segmenter_name(segmenter),
            loaded_classifier.name,
            partial(load_segmenter, segmenter),
            partial(load_classifier, classifier),
            loaded_classifier.taxonomy.shapes,
        )
