"""The two models of a scan, as workers load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mcn.analyzer import Classifier, Segmenter
from mcn.taxonomy import SHAPES


@dataclass(frozen=True)
class ScanModels:
    """The two models of a scan: names and shapes, known at once, and how a worker loads them."""

    segmenter: str
    classifier: str
    load_segmenter: Callable[[], Segmenter]
    load_classifier: Callable[[], Classifier]
    shapes: tuple[str, ...] = SHAPES

    @classmethod
    def named(cls, segmenter: str, classifier: str) -> ScanModels:
        """Models by name or path, as `mcn.segment` and `mcn.classify` know them."""
        from mcn.classify import load_classifier
        from mcn.segment import load_segmenter, segmenter_name

        # Workers have working folders of their own.
        segmenter, classifier = (
            str(Path(model).resolve()) if Path(model).is_file() else model
            for model in (segmenter, classifier)
        )
        namer = load_classifier(classifier)
        return cls(
            segmenter_name(segmenter),
            namer.name,
            partial(load_segmenter, segmenter),
            partial(load_classifier, classifier),
            namer.taxonomy.shapes,
        )
