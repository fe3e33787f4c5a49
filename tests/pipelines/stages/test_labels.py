"""A worker refuses a model other than the one that its rows name."""

from dataclasses import replace

import pytest

from pipelines.models import ScanModels
from pipelines.stages.classify import ClassifyTiles
from pipelines.stages.labels import ModelError
from pipelines.stages.segment import SegmentTiles

from .core_tiles import LABELS


def test_a_worker_refuses_another_model(models: ScanModels) -> None:
    other = replace(LABELS, segmenter="patches@111111111111", classifier="brightness@111111111111")
    with pytest.raises(ModelError, match=r"loaded patches@000000000000, not patches@111111111111"):
        SegmentTiles(models.load_segmenter, 1, other)
    with pytest.raises(
        ModelError, match=r"loaded brightness@000000000000, not brightness@111111111111"
    ):
        ClassifyTiles(models.load_classifier, 1, other)
