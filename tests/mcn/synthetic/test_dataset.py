import numpy as np
import pytest
from PIL import Image

from mcn.synthetic.dataset import write_dataset
from mcn.synthetic.heap import RenderError


def test_images_and_masks_pair_up(tmp_path):
    names = []
    write_dataset(tmp_path, 3, seed=1, height=96, width=128, on_tile=names.append)
    assert names == [f"rendered_{i:06d}.png" for i in range(3)]
    for name in names:
        image = np.array(Image.open(tmp_path / "images" / name))
        mask = np.array(Image.open(tmp_path / "masks" / name))
        assert image.shape == mask.shape == (96, 128)
        assert (image.dtype, mask.dtype) == (np.uint8, np.uint16)
        assert mask.max() == len(np.unique(mask)) - 1 > 0


def test_a_tile_does_not_depend_on_the_number_of_tiles(tmp_path):
    for count in (1, 2):
        write_dataset(tmp_path / str(count), count, height=96, width=96)
    single, first_of_two = (tmp_path / count / "images" / "rendered_000000.png" for count in "12")
    assert single.read_bytes() == first_of_two.read_bytes()


def test_images_are_never_mixed_with_others(tmp_path):
    write_dataset(tmp_path, 1, height=96, width=96)
    with pytest.raises(RenderError, match="already contains images"):
        write_dataset(tmp_path, 1, height=96, width=96)
