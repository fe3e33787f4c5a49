"""Label images are read the same by tifffile and scikit-image, and as ImageJ scales them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile

from mcn.catalog.tile_files.label_image import label_image, write_label_image
from mcn.mask import Mask


def test_each_mask_has_its_number_and_the_last_is_above() -> None:
    masks = [Mask(0, 0, np.eye(5, dtype=bool)), Mask(1, 2, np.ones((3, 4), bool))]
    labels = label_image(masks, 6, 7)
    assert labels.dtype == np.uint16
    assert (labels[2:5, 1:5] == 2).all()
    assert labels[0, 0] == labels[1, 1] == 1
    assert np.bincount(labels.ravel()).tolist() == [42 - 12 - 2, 2, 12]


def test_many_masks_need_32_bits() -> None:
    dot = np.ones((1, 1), bool)
    masks = [Mask(n % 300, n // 300, dot) for n in range(65_536)]
    labels = label_image(masks, 300, 300)
    assert labels.dtype == np.uint32
    assert labels.max() == 65_536


@pytest.mark.parametrize("pixel_size_um", [0.05, None])
@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_readers_agree(tmp_path: Path, kind: type, pixel_size_um: float | None) -> None:
    labels = np.zeros((33, 47), kind)
    labels[3:9, 5:20], labels[20:, 30:] = 1, 2
    write_label_image(labels, tmp_path / "a.tif", pixel_size_um)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), labels)
    assert np.array_equal(skimage.io.imread(tmp_path / "a.tif"), labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
        assert file.pages[0].dtype == kind
        assert file.is_imagej == (kind is np.uint16)
        if kind is np.uint16 and pixel_size_um:
            assert file.imagej_metadata is not None
            assert file.imagej_metadata["unit"] == "um"
            pixels, length = file.pages[0].tags["XResolution"].value
            assert length / pixels == pytest.approx(0.05)


def test_an_empty_tile_is_background(tmp_path: Path) -> None:
    write_label_image(label_image([], 4, 5), tmp_path / "a.tif", 0.1)
    assert not tifffile.imread(tmp_path / "a.tif").any()
