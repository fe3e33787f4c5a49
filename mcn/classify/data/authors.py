"""The labelled crystals of the MicroCrystalNet authors, as their scripts lay them out.

A folder for each electron micrograph, anywhere below the one that is given::

    <folder>/<folder>_Issac.csv            Label No., Class, Form
    <folder>/_Non-uniform/<folder>_<label>.tif

`Form` is the shape, `Class` the facet definition. The pictures may also lie beside the folder,
in `../_Non-uniform`. A sheet is one micrograph: its crystals stay together in a split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.readers import SUFFIXES, Labelled, rows_of
from mcn.taxonomy import Taxonomy

_SHEET = "_Issac.csv"
_CROPS = "_Non-uniform"


def list_authors(data: Path) -> list[Path]:
    """The label sheets anywhere below a folder, in order of their names."""
    return sorted(data.rglob(f"*{_SHEET}"))


def read_authors(sheets: Sequence[Path], taxonomy: Taxonomy) -> Iterator[Labelled]:
    """What label sheets say of which pictures.

    Parameters
    ----------
    sheets : sequence of Path
        As `list_authors` gives them.
    taxonomy : Taxonomy
        Whose facet definitions `Class` has to agree with.

    Raises
    ------
    ExamplesError
        If a column is missing, a label is no number, its picture is not there, or `Class` names
        another facet definition than the shape has. The message names sheet and row.
    """
    for sheet in sheets:
        folder = sheet.name.removesuffix(_SHEET)
        for row, where in rows_of(sheet, ("Label No.", "Class", "Form")):
            _check_facet(row["Class"], row["Form"], taxonomy, where)
            file = _picture(sheet, folder, row["Label No."], where)
            yield Labelled(file, row["Form"], str(sheet), where)


def _picture(sheet: Path, folder: str, label: str, where: str) -> Path:
    try:
        number = int(float(label))
    except ValueError:
        raise ExamplesError(f"{where}: label {label!r} is no number; correct it") from None
    for crops in (sheet.parent / _CROPS, sheet.parent.parent / _CROPS):
        for name in dict.fromkeys((label, str(number))):
            for suffix in SUFFIXES:
                file = crops / f"{folder}_{name}{suffix}"
                if file.is_file():
                    return file
    raise ExamplesError(
        f"{where}: {sheet.parent / _CROPS / f'{folder}_{number}.tif'} does not exist; put the "
        "picture there or leave the row out"
    )


def _check_facet(facet: str, shape: str, taxonomy: Taxonomy, where: str) -> None:
    """Only where both are names that the taxonomy has: an unknown shape is told of later."""
    named = facet.lower().replace("-", "_").replace(" ", "_")
    try:
        wanted = taxonomy.facets[taxonomy.facet_indices[taxonomy.index(shape.lower())]]
    except KeyError:
        return
    if named in taxonomy.facets and named != wanted:
        raise ExamplesError(
            f"{where}: {shape} crystals are {wanted.replace('_', ' ')}, not {facet}; correct one "
            "of the two"
        )
