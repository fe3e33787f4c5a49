import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.segment.inference.tiling import LARGEST, MARGIN, SMALLEST_WINDOW, levels
from mcn.segment.modeling.image_encoder import STRIDE

sides = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@settings(max_examples=30, deadline=None)
@given(
    sides,
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.integers(SMALLEST_WINDOW, 2048),
)
def test_every_centre_has_one_window_with_context(
    shape: tuple[int, int], places: list[tuple[float, float]], side: int
) -> None:
    for _, images, windows in levels(np.zeros((1, *shape), np.uint8), side):
        height, width = images.shape[1:]
        for u, v in places:
            x, y = u * width, v * height
            owners = [
                window
                for window in windows
                if window.inner[0] <= x - window.x < window.inner[2]
                and window.inner[1] <= y - window.y < window.inner[3]
            ]
            assert len(owners) == 1
            (owner,) = owners
            assert owner.x <= max(x - MARGIN + 1, 0)
            assert owner.y <= max(y - MARGIN + 1, 0)
            assert owner.x + owner.width >= min(x + MARGIN - 1, width)
            assert owner.y + owner.height >= min(y + MARGIN - 1, height)


@settings(max_examples=20, deadline=None)
@given(sides, st.floats(1, 6000))
def test_every_crystal_size_has_one_window(shape: tuple[int, int], side: float) -> None:
    answering = [
        reduction
        for reduction, _, windows in levels(np.zeros((1, *shape), np.uint8))
        if windows[0].sides[0] < side / reduction <= windows[0].sides[1]
    ]
    assert len(answering) == 1
    assert side / answering[0] <= LARGEST or max(shape) / answering[0] <= LARGEST


@pytest.mark.parametrize("side", [SMALLEST_WINDOW, 2048])
def test_windows_never_exceed_the_encoded_size(side: int) -> None:
    for _, _, windows in levels(np.zeros((2, 5000, 3000), np.uint8), side):
        assert all(window.width <= side and window.height <= side for window in windows)


@settings(max_examples=30, deadline=None)
@given(sides, st.integers(SMALLEST_WINDOW, 2048))
def test_windows_start_at_cells_of_the_encoder(shape: tuple[int, int], side: int) -> None:
    for _, _, windows in levels(np.zeros((1, *shape), np.uint8), side):
        assert all(window.x % STRIDE == window.y % STRIDE == 0 for window in windows)
