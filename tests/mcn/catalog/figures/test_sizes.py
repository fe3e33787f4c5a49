"""Size distributions count every crystal once, and their figures show them."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.catalog.figures.sizes import EDGES, quantiles, size_distributions, size_figure
from mcn.catalog.query import query
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.plots import SHAPE_COLOURS
from mcn.taxonomy import SHAPES

from ....figures import near, render


def test_every_crystal_with_a_size_is_counted(core: Catalog) -> None:
    (sizes,) = size_distributions(core, Selection()).values()
    assert sizes.number.sum() == 200
    assert sizes.unknown == 1
    assert sizes.area_um2.sum() == pytest.approx(200 * 0.3, rel=1e-6)
    diameters = query(core, ["A"])["equivalent_diameter_um"].to_numpy()
    middle = np.median(diameters)
    assert quantiles(sizes.number)[1] == pytest.approx(middle, rel=10 ** (1 / 20) - 1)
    assert sizes.resolvable_um == pytest.approx(0.8, rel=1)


def test_one_distribution_for_each_shape_or_well(core: Catalog) -> None:
    by_shape = size_distributions(core, Selection(["A"]), "shape")
    assert list(by_shape) == list(SHAPES)
    assert [sizes.number.sum() for sizes in by_shape.values()] == [50] * 4
    assert list(size_distributions(core, Selection(), "well")) == ["A", "B 2/Ü"]


def test_the_figure_has_a_curve_for_each_and_the_limit(core: Catalog) -> None:
    figure = size_figure(size_distributions(core, Selection(["A"]), "shape"), "大庆 خف")
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert "resolvable from" in figure.axes[0].texts[0].get_text()
    picture = render(figure)
    for colour in SHAPE_COLOURS.values():
        assert near(picture, colour).sum() > 20
    assert figure.get_suptitle() == "大庆 خف"


def test_edges_are_even_on_a_log_axis() -> None:
    assert np.allclose(np.diff(np.log10(EDGES)), 1 / 20)


def test_crystals_without_a_size_are_refused(core: Catalog) -> None:
    with pytest.raises(CatalogQueryError, match="none of these crystals has a size in micro"):
        size_distributions(core, Selection(["B 2/Ü"]))
