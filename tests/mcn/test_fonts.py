"""Names of any script are drawn, or said not to be."""

from __future__ import annotations

import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mcn.fonts import MissingGlyphWarning, drawable

from ..figures import render

NAMES = ["Köln-Süd é", "скважина Δ", "大庆油田", "かな 강남", "خف الأعلى", "हिन्दी", "ไทย", "עברית"]


@pytest.fixture(autouse=True)
def default_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["sans-serif"])


@pytest.mark.parametrize("name", NAMES)
def test_every_letter_is_drawn(name: str) -> None:
    figure = Figure(figsize=(3, 1), dpi=60)
    with warnings.catch_warnings(action="error"):
        assert drawable(name) == name
        figure.text(0.1, 0.4, drawable(name), fontsize=20)
        picture = render(figure)
    assert np.ptp(picture) > 0


def test_what_no_font_has_is_marked_and_the_cure_named() -> None:
    with pytest.warns(MissingGlyphWarning, match=r"no font has .* pip install 'mcn\[fonts\]'"):
        assert drawable("A\U000f1234\tB") == "A\ufffd B"


def test_plain_names_add_no_font() -> None:
    drawable("A-12 Köln")
    assert matplotlib.rcParams["font.family"] == ["sans-serif"]
