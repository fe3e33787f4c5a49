"""Features under many windows are the same as those read one window at a time in training."""

import pytest
import torch

from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import square_windows, window_features
from mcn.segment.modeling.window_sampling import pyramid, read_windows, window_cells, window_levels

CPU = torch.device("cpu")


def features(images: int, height: int, width: int) -> Features:
    def at(stride: int, channels: int) -> torch.Tensor:
        return torch.randn(images, channels, height // stride, width // stride)

    return Features(at(8, 32), at(4, 8), at(2, 4), at(4, 6))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_windows_read_the_same_features_as_training(which: int) -> None:
    torch.manual_seed(0)
    encoded, index = features(3, 128, 352), torch.arange(40) % 3
    # Of all sizes, some of them beyond the image's border.
    centres, sides = 256 * torch.rand(40, 2), 8 + 500 * torch.rand(40, 2) ** 3
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    windows = square_windows(boxes, 1.5)
    expected = window_features(encoded, windows, index)[which]
    feature, stride = ((encoded.embedding, 8), (encoded.fine, 4), (encoded.finest, 2))[which]
    cells = window_cells(16, which, CPU)
    level = window_levels(windows, 16)
    assert level.unique().numel() > 2
    read = read_windows(pyramid(feature, stride, 4), windows, index, level, cells)
    side = 16 * 2**which
    split = read.view(len(read), 16, 16, *[2] * (2 * which), -1)
    order = [0, 1, *range(3, 3 + 2 * which, 2), 2, *range(4, 4 + 2 * which, 2), split.dim() - 1]
    raster = split.permute(order).reshape(len(read), side, side, -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(raster, expected, atol=1e-4, rtol=1e-4)


def test_wide_windows_read_averages() -> None:
    sides = torch.tensor([16.0, 128, 256, 512, 1024, 1e6])
    windows = torch.stack([0 * sides, 0 * sides, sides, sides], dim=1)
    assert window_levels(windows, 16).tolist() == [0, 0, 1, 2, 3, 3]


def test_nothing_is_read_outside_the_image() -> None:
    feature = torch.ones(1, 3, 4, 4)
    outside = torch.tensor([[100.0, 100, 164, 164], [-200, 0, -136, 64]])
    nowhere = torch.zeros(2, dtype=torch.long)
    cells = window_cells(4, 1, CPU)
    read = read_windows(pyramid(feature, 8, 1), outside, nowhere, nowhere, cells)
    assert read.shape == (2, 64, 3)
    assert not read.any()


@pytest.mark.parametrize("doublings", [0, 1, 2])
def test_each_cell_of_a_window_occurs_once(doublings: int) -> None:
    cells = window_cells(4, doublings, CPU)
    side = 4 * 2**doublings
    assert cells.side == side
    pairs = (2 * side * cells.rows + cells.columns).flatten()
    assert pairs.sort().values.tolist() == list(range(4 * side**2))
