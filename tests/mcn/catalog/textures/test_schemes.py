"""Schemes are rules in a file, and their probabilities are shares of resamples."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mcn.catalog.storage import CatalogError
from mcn.catalog.textures.schemes import NOT_TOLD, Scheme, Texture, probabilities, read_schemes


def test_the_default_schemes_cite_their_papers() -> None:
    schemes = {scheme.key: scheme for scheme in read_schemes()}
    assert list(schemes) == [
        "kaczmarek_2015", "deville_2011", "lambert_2006_form", "lambert_2006_contacts",
    ]  # fmt: skip
    assert all(scheme.reference and scheme.flow for scheme in schemes.values())
    assert schemes["deville_2011"].names == ["D", "C", "F", NOT_TOLD]


def test_the_first_texture_that_fits_is_chosen() -> None:
    scheme = Scheme(
        "s", "s", "", "",
        (Texture("a", {"x": (0.5, 1.0)}), Texture("b", {"x": (0.0, 1.0), "y": (0.0, 1.0)})),
    )  # fmt: skip
    measures = {"x": np.array([0.7, 0.2, 0.2, np.nan]), "y": np.array([0.0, 0.0, 2.0, 0.0])}
    assert [scheme.names[index] for index in scheme.choose(measures)] == [
        "a", "b", NOT_TOLD, NOT_TOLD,
    ]  # fmt: skip
    assert probabilities(scheme, measures) == {"a": 0.25, "b": 0.25, NOT_TOLD: 0.5}
    assert scheme.choose({"x": np.array([0.2])}).tolist() == [2]  # y is unknown


def test_what_might_be_an_earlier_texture_is_not_told() -> None:
    """Without pores, a picture of fitted crystals must not become granular."""
    scheme = Scheme(
        "s", "s", "", "",
        (
            Texture("fitted", {"x": (0.5, 1.0), "y": (0.0, 0.1)}),
            Texture("granular", {"z": (0.0, 1.0)}),
        ),
    )  # fmt: skip
    unknown = np.array([np.nan] * 2)
    measures = {"x": np.array([0.7, 0.2]), "y": unknown, "z": np.array([0.5, 0.5])}
    assert [scheme.names[index] for index in scheme.choose(measures)] == [NOT_TOLD, "granular"]
    assert [scheme.names[index] for index in scheme.choose({"z": np.array([0.5])})] == [NOT_TOLD]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        '[mine]\n[[mine.texture]]\nname = "big"\nmedian_diameter_um = { min = 3 }\n'
    )
    (scheme,) = read_schemes(str(tmp_path / "s.toml"))
    assert (scheme.key, scheme.title, scheme.names) == ("mine", "mine", ["big", NOT_TOLD])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no scheme"),
        ("x = 1\n", "scheme 'x' has no textures; write [[x.texture]]"),
        ("[x\n", "cannot be read as a file of schemes"),
        ("[[x.texture]]\ncontact = {min=1}\n", "has a texture without a name"),
        ('[[x.texture]]\nname="a"\nsize={min=1}\n', "unknown measure 'size'; use euhedral,"),
        ('[[x.texture]]\nname="a"\ncontact=1\n', "write limits as { min = 0.1, max = 0.5 }"),
        ('[[x.texture]]\nname="a"\ncontact={low=1}\n', "write limits as"),
        ('[[x.texture]]\nname="a"\ncontact={min=2,max=1}\n', "min 2 is above max 1; swap them"),
        ('[x]\ncolour=1\n[[x.texture]]\nname="a"\n', "unknown setting 'colour'"),
        ('[[x.texture]]\nname="a"\n[[x.texture]]\nname="a"\n', "the texture 'a' twice"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(CatalogError, match=re.escape(message)) as error:
        read_schemes(str(tmp_path / "s.toml"))
    assert str(error.value).startswith(str(tmp_path / "s.toml"))
    assert "\n" not in str(error.value)
    with pytest.raises(CatalogError, match="No such file"):
        read_schemes(str(tmp_path / "t.toml"))
