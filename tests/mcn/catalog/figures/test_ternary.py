"""The shares of an interval's shapes are a point in the triangle."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mcn.catalog.figures.ternary import (
    CALCITE_CORNERS,
    corner_shares,
    parse_corners,
    ternary_figure,
)
from mcn.catalog.storage import CatalogQueryError

from ....figures import render, texts


def log(*fractions: tuple[float | None, ...], tiles: int = 9) -> pa.Table:
    names = ("rhombic", "polyhedral", "amorphous", "spherical")
    columns = {
        f"fraction_{name}": pa.array([row[i] for row in fractions], pa.float64())
        for i, name in enumerate(names)
    }
    depth = np.arange(len(fractions), dtype=float)
    return pa.table(
        {"depth_top": depth, "depth_base": depth + 1, "n_tiles": [tiles] * len(depth), **columns}
    )


def test_shares_of_corners_sum_to_one() -> None:
    shares = corner_shares(log((0.5, 0.3, 0.1, 0.1), (None,) * 4, (0, 0, 0, 1)), CALCITE_CORNERS)
    assert shares[0] == pytest.approx([0.5, 0.3, 0.2])
    assert np.isnan(shares[1]).all()
    assert shares[2].tolist() == [0, 0, 1]
    two = corner_shares(log((0.5, 0.3, 0.1, 0.1)), parse_corners("rhombic,polyhedral,amorphous"))
    assert two[0] == pytest.approx([5 / 9, 3 / 9, 1 / 9])


def test_points_lie_at_their_corners() -> None:
    figure = ternary_figure(log((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0.5, 0.5)), title="A")
    (points,) = [each for each in figure.axes[0].collections if len(each.get_offsets()) == 3]
    assert np.allclose(points.get_offsets(), [[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]])
    assert "amorphous + spherical" in texts(figure)
    assert "fewer than 8 tiles" not in texts(figure)
    assert np.ptp(render(figure)) > 0.5


def test_few_tiles_are_said() -> None:
    assert "fewer than 8 tiles" in texts(ternary_figure(log((1, 0, 0, 0), tiles=7)))


@pytest.mark.parametrize("text", ["a,b", "a,b,c,d", "a,b,", "a,b,a+c", ""])
def test_impossible_corners_are_refused(text: str) -> None:
    with pytest.raises(CatalogQueryError, match="are not three corners; write them as A,B,C"):
        parse_corners(text)


def test_unknown_shapes_and_empty_logs_are_refused() -> None:
    with pytest.raises(CatalogQueryError, match="no shape 'cubic' for a corner; use rhombic, "):
        corner_shares(log((1, 0, 0, 0)), parse_corners("cubic,rhombic,spherical"))
    with pytest.raises(CatalogQueryError, match="no interval has crystals of these shapes"):
        ternary_figure(log((None,) * 4))
