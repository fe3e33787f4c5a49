"""A scan's models are given by name or path, and loaded by workers."""

import pickle
from pathlib import Path

import pytest

from mcn.classify.classifier import load_classifier, save_classifier
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.segment.names import SegmenterError
from mcn.segment.segmenter import load_segmenter
from mcn.taxonomy import SHAPES, Taxonomy
from pipelines.models import ScanModels


def test_workers_load_the_named_models() -> None:
    models = pickle.loads(pickle.dumps(ScanModels.named("watershed", "nsr")))
    assert models.segmenter == models.load_segmenter().name == load_segmenter("watershed").name
    assert models.classifier == models.load_classifier().name == load_classifier("nsr").name
    assert models.shapes == SHAPES


def test_a_relative_path_works_in_the_folder_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coins = Taxonomy({"round": "smooth", "square": "edged"})
    small = NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4), taxonomy=coins)
    save_classifier(tmp_path / "coins.safetensors", MicroCrystalNet(small))
    monkeypatch.chdir(tmp_path)
    models = ScanModels.named("watershed", "coins.safetensors")
    monkeypatch.chdir("/")
    assert models.load_classifier().name == models.classifier
    assert models.shapes == ("round", "square")


def test_a_missing_model_is_named_before_the_scan() -> None:
    with pytest.raises(SegmenterError, match=r"gone\.safetensors: no such segmenter"):
        ScanModels.named("gone.safetensors", "nsr")
