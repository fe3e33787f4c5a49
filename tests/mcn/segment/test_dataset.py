from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.segment.dataset import DataError, list_pairs, split_pairs
from mcn.synthetic.core import CoreSettings, render_core


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


def test_a_rendered_core_gives_its_tiles_and_truth(tmp_path: Path) -> None:
    settings = CoreSettings(height=96, width=128, data_bar_share=1.0)
    core = render_core(tmp_path / "core", 2, 3, 5, settings)
    pairs = list_pairs(core.out)
    assert [str(p.image.relative_to(core.out)) for p in pairs] == sorted(
        core.tiles["tile"].to_pylist()
    )
    for pair in pairs:
        pixels, labels = pair.read()
        assert pixels.shape == labels.shape == (96, 128)
        assert labels.max() > 0
