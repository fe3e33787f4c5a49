"""Reads labelled crystals in the folder layout of the MicroCrystalNet authors.

Each micrograph has a folder, at any depth below the data folder::

    <folder>/<folder>_Issac.csv            Label No., Class, Form
    <folder>/_Non-uniform/<folder>_<label>.tif

`Form` is the shape and `Class` the facet definition. The crops may also be in `../_Non-uniform`.
The crystals of a sheet come from one micrograph, so a split keeps them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.labels import SUFFIXES, LabelledCrop, read_csv_rows
from mcn.taxonomy import Taxonomy

_SHEET = "_Issac.csv"
_CROPS = "_Non-uniform"


def list_authors(data: Path) -> list[Path]:
    """The label sheets at any depth below a folder, sorted by path."""
    return sorted(data.rglob(f"*{_SHEET}"))


def read_authors(sheets: Sequence[Path], taxonomy: Taxonomy) -> Iterator[LabelledCrop]:
    """Read the labels of crops from label sheets.

    Parameters
    ----------
    sheets : sequence of Path
        As from `list_authors`.
    taxonomy : Taxonomy
        Its facet definitions must agree with `Class`.

    Raises
    ------
    ExamplesError
        If a column is missing, a label is not a number, an image is missing, or `Class` is not
        the facet definition of the shape. The message names sheet and row.
    """
    for sheet in sheets:
        folder = sheet.name.removesuffix(_SHEET)
        for row, origin in read_csv_rows(sheet, ("Label No.", "Class", "Form")):
            _check_facet(row["Class"], row["Form"], taxonomy, origin)
            file = _find_crop(sheet, folder, row["Label No."], origin)
            yield LabelledCrop(file, row["Form"], str(sheet), origin)


def _find_crop(sheet: Path, folder: str, label: str, origin: str) -> Path:
    try:
        number = int(float(label))
    except ValueError:
        raise ExamplesError(f"{origin}: label {label!r} is not a number; correct it") from None
    for crops in (sheet.parent / _CROPS, sheet.parent.parent / _CROPS):
        for name in dict.fromkeys((label, str(number))):
            for suffix in SUFFIXES:
                file = crops / f"{folder}_{name}{suffix}"
                if file.is_file():
                    return file
    raise ExamplesError(
        f"{origin}: {sheet.parent / _CROPS / f'{folder}_{number}.tif'} does not exist; put the "
        "picture there or leave the row out"
    )


def _check_facet(facet: str, shape: str, taxonomy: Taxonomy, origin: str) -> None:
    """Check the facet definition if both names are known; unknown shapes are reported later."""
    name = facet.lower().replace("-", "_").replace(" ", "_")
    try:
        expected = taxonomy.facets[taxonomy.facet_indices[taxonomy.index(shape.lower())]]
    except KeyError:
        return
    if name in taxonomy.facets and name != expected:
        raise ExamplesError(
            f"{origin}: {shape} crystals are {expected.replace('_', ' ')}, not {facet}; "
            "correct one of the two"
        )
