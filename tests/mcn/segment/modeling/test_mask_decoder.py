import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import (
    MASK_SIZE,
    TOKENS,
    square_windows,
    window_features,
    window_points,
)


def ramp(height: int, width: int) -> Features:
    """Features whose first two channels are the x and y of their centre, in pixels."""

    def at(stride: int, channels: int) -> torch.Tensor:
        y = (torch.arange(height // stride) + 0.5) * stride
        x = (torch.arange(width // stride) + 0.5) * stride
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"))
        return torch.cat([grid, torch.zeros(channels - 2, *grid.shape[1:])])[None]

    return Features(at(8, 16), at(4, 4), at(2, 2), torch.zeros(1, 6, height // 4, width // 4))


@settings(max_examples=30, deadline=None)
@given(st.floats(100, 400), st.floats(100, 400), st.floats(20, 160), st.sampled_from([0, 1, 2]))
def test_a_window_reads_the_features_under_it(x: float, y: float, side: float, which: int) -> None:
    window = torch.tensor([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    read = window_features(ramp(512, 512), window, torch.zeros(1, dtype=torch.long))[which]
    size = (TOKENS, 2 * TOKENS, 4 * TOKENS)[which]
    expected = x - side / 2 + (torch.arange(size) + 0.5) * side / size
    torch.testing.assert_close(read[0, 0, size // 2], expected, atol=0.05, rtol=0)


def test_a_wide_window_reads_averages() -> None:
    """A wide window must average, not skip, features: a pattern finer than its tokens vanishes."""
    features = ramp(1024, 1024)
    checker = (torch.arange(128)[:, None] + torch.arange(128)) % 2 * 2.0 - 1
    fine = Features(
        checker.expand(1, 16, -1, -1), features.fine, features.finest, features.proposal
    )
    window = torch.tensor([[0.0, 0.0, 1024.0, 1024.0]])
    read = window_features(fine, window, torch.zeros(1, dtype=torch.long))[0]
    assert read.abs().max() < 1e-3


def test_each_window_reads_its_own_image() -> None:
    features = ramp(64, 64)
    two = Features(
        *(
            torch.cat([part, part + 1000])
            for part in (features.embedding, features.fine, features.finest)
        ),
        proposal=features.proposal,
    )
    windows = torch.tensor([[16.0, 16.0, 48.0, 48.0]]).repeat(2, 1)
    read, _, _ = window_features(two, windows, torch.tensor([1, 0]))
    torch.testing.assert_close(read[0] - read[1], torch.full_like(read[0], 1000.0))


def test_points_and_boxes_share_the_window_frame() -> None:
    windows = square_windows(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), margin=1.5)
    torch.testing.assert_close(windows, torch.tensor([[-10.0, 10.0, 50.0, 70.0]]))
    corners = window_points(windows, windows.view(1, 2, 2))
    torch.testing.assert_close(corners[0], torch.tensor([[0.0, 0.0], [MASK_SIZE, MASK_SIZE]]))
