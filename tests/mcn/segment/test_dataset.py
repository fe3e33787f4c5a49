from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from mcn.segment.dataset import DataError, list_pairs, read_labels, split_pairs
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
    with pytest.raises(DataError, match="nowhere: no such folder"):
        list_pairs(tmp_path / "nowhere")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/a.tif", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"a\.tif: has the name of a\.png; rename"):
        list_pairs(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 255, 0, 255]], np.uint8), "shows only where crystals are; number"),
        (np.array([[0, -1, 1]], np.int32), "labels are -1 to 1; number the crystals"),
        (np.array([[0, 1, 2**32 - 1]], np.uint32), "number the crystals"),
        (np.ones((4, 4), np.float32), r"one channel of integers, not float32 \(4, 4\)"),
        (np.ones((4, 4, 3), np.uint8), r"one channel of integers, not uint8 \(4, 4, 3\)"),
    ],
)
def test_masks_that_are_no_labels_are_refused(
    tmp_path: Path, labels: NDArray[np.generic], message: str
) -> None:
    tifffile.imwrite(tmp_path / "masks.tif", labels)
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path / "masks.tif")


def test_a_single_crystal_may_have_any_number(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "masks.tif", np.array([[0, 255, 255, 0]], np.uint8))
    assert read_labels(tmp_path / "masks.tif").tolist() == [[0, 255, 255, 0]]


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
