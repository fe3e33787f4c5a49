"""Depth logs as LAS 2.0 in plain ASCII, so that every reader gets them right by default.

LAS 2.0 does not define an encoding, and readers guess. Characters outside ASCII are therefore
transliterated by the package `anyascii` (`Ü` → `U`, `大庆` → `DaQing`, `µ` → `u`), and written as
`U+XXXX` if it has no letters for them. A colon, which would end a value, becomes `-`, and line
breaks become spaces. Comment lines above give the true names of the well and the shapes as JSON
strings, also in ASCII::

    # WELL "\\u5927\\u5e86-1"
    # FNONP "nonplanar"

References
----------
Canadian Well Logging Society, *LAS Version 2.0: A Floppy Disk Standard for Log Data*,
1992 (updated 2014).
"""

from __future__ import annotations

import io
import itertools
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from anyascii import anyascii
from numpy.typing import NDArray

from mcn.catalog.depth_log.columns import CORRECTED, HIGH, LOW, shapes_of_log
from mcn.catalog.depth_log.table import is_corrected_log, models_of_log, scan_date_of_log
from mcn.catalog.depth_log.uncertainty import FEW_TILES
from mcn.catalog.model_names import ModelPair
from mcn.catalog.storage import explained_output

_NULL: Final = -999.25
_LEFT_OUT: Final = {"\N{ARABIC LETTER ALEF}": "a", "\N{ARABIC TATWEEL}": ""}
"""Frequent letters for which `anyascii` has nothing; the tatweel only lengthens others."""
_Curve = tuple[str, str, str, str]
"""Mnemonic, unit, column and description of a curve."""

_SIZE: Final = "equivalent circular diameter of crystals"
_BEFORE: Final = (
    ("NTIL", "", "n_tiles", "Tiles analysed"),
    ("NCRY", "", "n_crystals", "Crystals found"),
)
_BEHIND: Final = (
    ("FEUH", "V/V", "fraction_euhedral_to_subhedral", "Fraction of euhedral to subhedral crystals"),
    ("DMEAN", "UM", "mean_equivalent_diameter_um", f"Mean {_SIZE}"),
    ("DQ25", "UM", "q25_equivalent_diameter_um", f"Lower quartile of {_SIZE}"),
    ("DMED", "UM", "median_equivalent_diameter_um", f"Median {_SIZE}"),
    ("DQ75", "UM", "q75_equivalent_diameter_um", f"Upper quartile of {_SIZE}"),
    ("CAF", "V/V", "crystal_area_fraction", "Crystal area fraction, mean of tiles"),
    ("NFAIL", "", "n_failed_tiles", "Tiles that could not be read"),
    ("FEWT", "", "few_tiles", f"1 if there are fewer than {FEW_TILES} tiles"),
    ("DRES", "UM", "resolvable_diameter_um", "Diameter below which crystals are mostly missed"),
    ("DQ10", "UM", "q10_equivalent_diameter_um", f"Tenth percentile of {_SIZE}"),
    ("DQ90", "UM", "q90_equivalent_diameter_um", f"Ninetieth percentile of {_SIZE}"),
    ("DAREA", "UM", "area_weighted_equivalent_diameter_um", f"Area-weighted mean {_SIZE}"),
    ("SORT", "PHI", "sorting_phi", "Inclusive graphic standard deviation of diameters"),
    ("ASPR", "", "mean_aspect_ratio", "Mean aspect ratio of crystals"),
    ("CIRC", "", "mean_circularity", "Mean circularity of crystals"),
    ("CONT", "V/V", "mean_contact_fraction", "Mean share of outline that touches neighbours"),
    ("ROUN", "", "mean_roundness", "Mean roundness of crystals, after Wadell"),
    ("COMP", "V/V", "mean_completeness", "Mean visible share of crystals"),
    ("VPF", "V/V", "visible_pore_fraction", "Visible pore fraction, mean of tiles"),
)
_VARIANTS: Final = (
    ("L", LOW, "", "low end of 95 % interval"),
    ("H", HIGH, "", "high end of 95 % interval"),
    ("C", CORRECTED, "corrected", ""),
    ("CL", LOW + CORRECTED, "corrected", "low end of 95 % interval"),
    ("CH", HIGH + CORRECTED, "corrected", "high end of 95 % interval"),
)
"""Ending of the mnemonic, prefix of the column, and what is said of each statistic's variants."""

_DEPTH: Final = "DEPT"
_LETTERS: Final = range(4, 8)
"""Number of letters of a shape in its mnemonic: as few as make it unique."""

_NUMBERED_LETTERS: Final = 5


def write_las(
    log: pa.Table,
    well: str,
    path: str | os.PathLike[str],
    header: Mapping[str, Any] | None = None,
) -> None:
    """Write a depth log as LAS 2.0 in plain ASCII, for well-log software (see `las_text`)."""
    text = las_text(
        log, well, shapes_of_log(log), models_of_log(log), scan_date_of_log(log), header
    )
    with explained_output(path), open(path, "w", encoding="ascii", newline="\r\n") as file:
        file.write(text)


def las_text(
    log: pa.Table,
    well: str,
    shapes: Sequence[str],
    models: Sequence[ModelPair] = (),
    scanned_on: str = "",
    header: Mapping[str, Any] | None = None,
) -> str:
    """A depth log as LAS 2.0.

    The depth of a row is the middle of its interval; -999.25 is null.

    Parameters
    ----------
    log : pa.Table of schema `mcn.catalog.depth_log.columns.depth_log_schema`
    well : str
        Written to WELL and UWI if the header does not give them, and to the parameter WID.
    shapes : sequence of str
        Shapes with fractions in the log.
    models : sequence of ModelPair
        Written to the parameters SEGM and CLAS.
    scanned_on : str
        Date of the last scan, written to DATE.
    header : mapping, optional
        What is known about the well (`mcn.catalog.wells_table.table.well_header`). The name is
        written to WELL, the UWI to UWI, the operator to COMP, coordinates to LATI and LONG, the
        datum to the parameter DREF, and tops to the section ~Other. Other fields are empty.

    Returns
    -------
    str
        Text in ASCII; lines end in a line feed.
    """
    import lasio

    las = lasio.LASFile()
    las.well["NULL"].value = _NULL
    known = {name: value for name, value in (header or {}).items() if value is not None}
    well_name = known.get("name", well)
    las.well["WELL"].value = to_ascii(well_name)
    las.well["UWI"].value = to_ascii(known.get("uwi", well))
    las.well["COMP"].value = to_ascii(known.get("operator", ""))
    for mnemonic, column in (("LATI", "latitude"), ("LONG", "longitude")):
        if column in known:
            las.well[mnemonic] = lasio.HeaderItem(
                mnemonic, "DEG", f"{known[column]:.8g}", f"{column.capitalize()}, WGS 84"
            )
    las.well["SRVC"].value = "mcn, microcrystals in electron micrographs"
    las.well["DATE"].value = scanned_on
    las.params["WID"] = lasio.HeaderItem("WID", "", to_ascii(well), "Well in the catalogue")
    if "datum" in known:
        datum = to_ascii(known["datum"])
        las.params["DREF"] = lasio.HeaderItem("DREF", "", datum, "Datum of measured depths")
    las.other = _tops(known.get("tops", ()))
    for mnemonic, kind in (("SEGM", "segmenter"), ("CLAS", "classifier")):
        names = dict.fromkeys(to_ascii(str(getattr(pair, kind))) for pair in models)
        if names:
            descr = f"The {kind} of the tiles logged"
            las.params[mnemonic] = lasio.HeaderItem(mnemonic, "", ", ".join(names), descr)
    if is_corrected_log(log):
        las.params["CORR"] = lasio.HeaderItem("CORR", "", "YES", "Crystals as persons corrected")
    top, base = log["depth_top"].to_numpy(), log["depth_base"].to_numpy()
    # Twelve digits resolve a hundredth of a millimetre at any depth.
    middle = np.array([float(f"{depth:.12g}") for depth in (top + base) / 2])
    las.append_curve(_DEPTH, middle, unit="M", descr="Measured depth, middle of the interval")
    mnemonics = curve_mnemonics(shapes)
    of_shapes = [
        (mnemonics[shape], "V/V", f"fraction_{shape}", f"Fraction of {to_ascii(shape)} crystals")
        for shape in shapes
    ]
    measured = [*_BEFORE, *of_shapes, *_BEHIND]
    for mnemonic, unit, name, meaning in (*measured, *_variants(measured)):
        if name not in log.column_names:
            continue
        values = log[name].cast(pa.float64()).to_numpy()
        las.append_curve(mnemonic, values, unit=unit, descr=meaning)
    text = io.StringIO()
    las.write(
        text,
        version=2.0,
        STRT=float(middle[0]),
        STOP=float(middle[-1]),
        STEP=_step(middle, base - top),
        fmt="%.8g",
        column_fmt={0: "%.12g"},
    )
    true_names = {mnemonics[shape]: shape for shape in shapes}
    return _commented(text.getvalue(), {"~Well": {"WELL": well_name}, "~Curve": true_names})


def _tops(tops: Sequence[Mapping[str, Any]]) -> str:
    """Lines of the section ~Other; line breaks are the only structure that it has."""
    lines = [f"{top['depth_m']:12.2f} M  {to_ascii(top['formation'])}" for top in tops]
    return "\n".join(["Tops of formations, measured depth", *lines]) if lines else ""


def _variants(measured: Sequence[_Curve]) -> list[_Curve]:
    """Curves of intervals and corrected values, in the order of the statistics."""
    taken = {_DEPTH, *(curve[0] for curve in measured)}
    curves: list[_Curve] = []
    for mnemonic, unit, name, meaning in measured:
        for ending, prefix, before, behind in _VARIANTS:
            numbered = (f"{mnemonic}{ending}{number}" for number in itertools.count(1))
            names = itertools.chain([mnemonic + ending], numbered)
            unique = next(candidate for candidate in names if candidate not in taken)
            taken.add(unique)
            said = ", ".join(filter(None, [meaning, before, behind]))
            curves.append((unique, unit, prefix + name, said))
    return curves


def curve_mnemonics(shapes: Sequence[str]) -> dict[str, str]:
    """Unique mnemonics of the curves of shape fractions.

    A mnemonic is `F` and the first four letters of the shape, or up to seven if they are needed
    to make it unique; if that is not enough, five letters and a number. Mnemonics consist of
    the capitals A to Z and digits, and differ from those of all other curves of the file.

    Examples
    --------
    >>> curve_mnemonics(["rhombic", "polyhedral"])
    {'rhombic': 'FRHOM', 'polyhedral': 'FPOLY'}
    >>> curve_mnemonics(["planar_e", "planar_s", "nonplanar"])
    {'planar_e': 'FPLANARE', 'planar_s': 'FPLANARS', 'nonplanar': 'FNONP'}
    """
    letters = {shape: _letters(shape) for shape in shapes}
    taken = {_DEPTH, *(curve[0] for curve in (*_BEFORE, *_BEHIND))}
    mnemonics: dict[str, str] = {}
    for length in _LETTERS:
        cut = {shape: f"F{letters[shape][:length]}" for shape in shapes if letters[shape]}
        for shape, mnemonic in cut.items():
            is_unique = list(cut.values()).count(mnemonic) == 1
            if shape not in mnemonics and is_unique and mnemonic not in taken:
                mnemonics[shape] = mnemonic
                taken.add(mnemonic)
    for shape in shapes:
        if shape not in mnemonics:
            stem = f"F{letters[shape][:_NUMBERED_LETTERS]}"
            numbered = (f"{stem}{number}" for number in itertools.count(1))
            mnemonics[shape] = next(mnemonic for mnemonic in numbered if mnemonic not in taken)
            taken.add(mnemonics[shape])
    return {shape: mnemonics[shape] for shape in shapes}


def to_ascii(name: str) -> str:
    """A name in one line of printable ASCII without colons (see the module's docstring).

    Examples
    --------
    >>> to_ascii("Ü 2/Ø: 大庆")
    'U 2/O- DaQing'
    """
    latin = "".join(map(_latin, unicodedata.normalize("NFC", name)))
    return " ".join(latin.replace(":", "-").split())


def _latin(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else " "
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return ""  # separate accents and invisible marks
    if letter in _LEFT_OUT:
        return _LEFT_OUT[letter]
    return anyascii(letter) or f"U+{ord(letter):04X}"


def _letters(shape: str) -> str:
    return "".join(letter for letter in to_ascii(shape).upper() if letter.isalnum())


def _step(middle: NDArray[np.float64], length: NDArray[np.float64]) -> float:
    """Spacing of the rows; 0 if it is not constant, as the standard requires."""
    steps = np.diff(middle) if len(middle) > 1 else length
    step = float(f"{steps.mean():.9g}")
    rounding = 1e-11 * float(np.abs(middle).max())
    return step if np.allclose(steps, step, rtol=1e-6, atol=rounding) else 0.0


def _commented(text: str, names: Mapping[str, Mapping[str, str]]) -> str:
    """The file's text with the true names in comments below section headings."""
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        for section, true_names in names.items():
            if line.startswith(section):
                lines += [f"# {key} {json.dumps(name)}" for key, name in true_names.items()]
    return "\n".join([*lines, ""])
