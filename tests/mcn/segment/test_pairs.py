from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.segment.pairs import DataError, list_pairs, split_pairs


def test_a_fifth_is_held_out_by_image(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for i in range(10):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / folder / f"{i}.png")
    train, held_out = split_pairs(list_pairs(tmp_path))
    assert [pair.name for pair in held_out] == ["0", "5"]
    assert not {pair.name for pair in train} & {"0", "5"}


def test_an_image_without_masks_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images" / "lost.png")
    with pytest.raises(DataError, match=r"lost\.png"):
        list_pairs(tmp_path)
    with pytest.raises(DataError, match="images/ and masks/"):
        list_pairs(tmp_path / "images")
