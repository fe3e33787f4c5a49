"""Outliers are ordinary crops that show no crystal."""

import numpy as np
import pytest

from mcn.classify.data.dataset import render_examples
from mcn.classify.data.outliers import outliers


@pytest.fixture(scope="module")
def crops():
    return render_examples(2, seed=5, copies=0).crops


@pytest.mark.parametrize("count", [0, 1, 2, 51])
def test_the_requested_number_and_no_empty_crop(crops, count):
    made = outliers(crops, count, np.random.default_rng(0))
    assert made.shape == (count, 64, 64)
    assert made.dtype == np.uint8
    assert (made > 0).any(axis=(1, 2)).all()


def test_one_crop_is_enough(crops):
    made = outliers(crops[:1], 10, np.random.default_rng(0))
    silhouette = crops[0] > 0
    assert ((made[:5] > 0) == silhouette).all(), "half have the silhouette of a crystal"
    assert not ((made[5:] > 0) == silhouette).all(axis=(1, 2)).any(), "the others that of letters"


def test_the_same_seed_gives_the_same_outliers(crops):
    first, other = (outliers(crops, 20, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, other)
    assert len(np.unique(first.reshape(20, -1), axis=0)) == 20


def test_merged_crystals_differ_from_each_crop(crops):
    several = outliers(crops, 40, np.random.default_rng(1))[:20]
    differences = np.abs(several[:, None].astype(int) - crops[None]).mean(axis=(2, 3))
    assert differences.min() > 5
