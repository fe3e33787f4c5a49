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
    outlier_crops = outliers(crops, count, np.random.default_rng(0))
    assert outlier_crops.shape == (count, 64, 64)
    assert outlier_crops.dtype == np.uint8
    assert (outlier_crops > 0).any(axis=(1, 2)).all()


def test_one_crop_is_enough(crops):
    outlier_crops = outliers(crops[:1], 10, np.random.default_rng(0))
    silhouette = crops[0] > 0
    assert ((outlier_crops[:5] > 0) == silhouette).all(), "one half has silhouettes of crystals"
    assert not ((outlier_crops[5:] > 0) == silhouette).all(axis=(1, 2)).any(), (
        "the other half has letters"
    )


def test_the_same_seed_gives_the_same_outliers(crops):
    first, other = (outliers(crops, 20, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, other)
    assert len(np.unique(first.reshape(20, -1), axis=0)) == 20


def test_merged_crystals_differ_from_each_crop(crops):
    several = outliers(crops, 40, np.random.default_rng(1))[:20]
    differences = np.abs(several[:, None].astype(int) - crops[None]).mean(axis=(2, 3))
    assert differences.min() > 5
