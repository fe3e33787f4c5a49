"""Tests of `mcn.micrograph.units`."""

from __future__ import annotations

import pytest

from mcn.micrograph.units import length_um, lengths_um, number, unit_um


@pytest.mark.parametrize("word", ["um", "µm", "μm", "&#181;m", "\\u00B5m", "Micrometers", "?m"])
def test_spellings_of_a_micrometre(word):
    assert unit_um(word) == 1.0


@pytest.mark.parametrize("word", [None, "", "pixel", "Mm", "frames"])
def test_other_words_are_no_lengths(word):
    assert unit_um(word) is None


def test_own_unit_comes_before_the_default():
    assert length_um("2.5 nm", "m") == pytest.approx(0.0025)
    assert length_um("2.5", "mm") == 2500.0
    assert number("3,25 V") == 3.25


def test_lengths_share_a_unit():
    assert [length for length, _ in lengths_um("1280 x 960 nm", "m")] == pytest.approx([1.28, 0.96])
    assert lengths_um("1 parsec", "m") == []
