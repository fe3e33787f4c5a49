"""Tests of `mcn.catalog.model_names`."""

from __future__ import annotations

import pytest

from mcn.catalog.model_names import LATEST, ModelPair, choose_models
from mcn.catalog.storage import CatalogQueryError

PAIRS = [ModelPair("compact@01", "nsr@01"), ModelPair("compact@02", "nsr@01")]


def test_a_unique_prefix_is_enough():
    chosen = choose_models("c", ModelPair("compact@02"[:10], "nsr"), PAIRS)
    assert chosen == ModelPair("compact@02", "nsr@01")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (ModelPair("compact"), "is ambiguous: compact@01 or compact@02"),
        (ModelPair("vit_b"), "unknown segmenter 'vit_b'; use one of compact@01, compact@02"),
        (ModelPair(None, "published"), "unknown classifier 'published'; use one of nsr@01"),
    ],
)
def test_ambiguous_and_unknown_names_are_refused(named, message):
    with pytest.raises(CatalogQueryError, match=message):
        choose_models("c", named, PAIRS)


def test_the_condition_quotes_names():
    assert LATEST.condition() == "true"
    assert ModelPair("a'b").condition() == "true AND segmenter = 'a''b'"
