"""Tests of `mcn.micrograph.units`."""

from __future__ import annotations

import pytest

from mcn.micrograph.pixel_size import FileNotes, find_pixel_size
from mcn.micrograph.units import length_um, lengths_um, number, unit_um


@pytest.mark.parametrize("word", ["um", "µm", "μm", "&#181;m", "\\u00B5m", "Micrometers", "?m"])
def test_spellings_of_a_micrometre(word):
    assert unit_um(word) == 1.0


@pytest.mark.parametrize("word", [None, "", "pixel", "Mm", "frames"])
def test_other_words_are_not_lengths(word):
    assert unit_um(word) is None


def test_a_given_unit_has_priority_over_the_default():
    assert length_um("2.5 nm", "m") == pytest.approx(0.0025)
    assert length_um("2.5", "mm") == 2500.0
    assert number("3,25 V") == 3.25


def test_lengths_share_a_unit():
    assert [length for length, _ in lengths_um("1280 x 960 nm", "m")] == pytest.approx([1.28, 0.96])
    assert lengths_um("1 parsec", "m") == []


UNITS = {
    1.0: "µm μm um UM Um micron microns Micron micrometer micrometers micrometre Micrometres "
    "&#181;m &#xB5;m &#xb5;m &micro;m &mu;m &amp;#181;m "
    "\\u00B5m \\u00b5m \\u03BCm Âµm Î¼m ?m \ufffdm",
    1e-3: "nm NM nanometer nanometers nanometre Nanometres ㎚",
    1e-6: "pm picometer picometres",
    1e-4: "Å \u212b A\u030a \\u00C5 \\u00c5 &#197; &Aring; angstrom Angstroms ångström Ã…",
    1e3: "mm MM millimeter millimeters millimetres",
    1e4: "cm centimeter centimetres",
    1e6: "m meter meters metre",
    25400.0: "in inch Inches",
    25400 / 72: "pt",
    25400 / 12: "li",
    304800.0: "ft feet",
    914400.0: "yd yards",
    1e9: "km",
}
FOREIGN_UNITS = {
    1.0: "Mikrometer Mikrometern Mikron micromètre micromètres micrómetros micrometri "
    "mikrometr micra мкм микрометр микрон \\u043C\\u043A\\u043C 微米 \\u5FAE\\u7C73 "
    "マイクロメートル ミクロン 마이크로미터 micron(s) µm/pixel",
    1e-3: "Nanometer nanomètre nan\\u00f3metros nanometri нм нанометров 纳米 奈米 "
    "ナノメートル nm/px",
    1e3: "Millimeter milímetros мм 毫米",
    1e4: "Zentimeter centímetros см 厘米",
}


NO_UNITS = (
    "pixel",
    "pixels",
    "px",
    "reference frame",
    "",
    " ",
    "Mm",
    "Pm",
    "kV",
    "second",
    "furlong",
)


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (factor, word)
        for units in (UNITS, FOREIGN_UNITS)
        for factor, words in units.items()
        for word in words.split()
    ],
)
def test_unit_words(factor: float, word: str) -> None:
    assert unit_um(word) == factor
    assert unit_um(f" {word}\0") == factor
    # A picture of OME and one of ImageJ, both with pixels 0.05 µm wide.
    written = f"{0.05 / factor:.12g}"
    ome = (
        f'<OME><Pixels PhysicalSizeX="{written}" PhysicalSizeXUnit="{word}" '
        f"PhysicalSizeY='{written}' PhysicalSizeYUnit='{word}'/></OME>"
    )
    assert find_pixel_size(FileNotes(description=ome), 64) == (pytest.approx(0.05), "ome")
    imagej = FileNotes(
        description=f"ImageJ=1.54f\nunit={word}\n",
        pixels_per_unit=factor / 0.05,
        pixels_per_unit_y=factor / 0.05,
    )
    assert find_pixel_size(imagej, 64) == (pytest.approx(0.05), "resolution")


@pytest.mark.parametrize("word", NO_UNITS)
def test_other_unit_words(word: str) -> None:
    assert unit_um(word) is None
    notes = FileNotes(
        description=f"ImageJ=1.54f\nunit={word}\n", pixels_per_unit=20.0, unit_um=25400.0
    )
    assert find_pixel_size(notes, 64) == (None, "unknown")
