"""Labels of crops in files, before the crops are read."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mcn.classify.data.dataset import ExamplesError

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""Suffixes of image files of crops."""


@dataclass(frozen=True)
class LabelledCrop:
    """An image file of one crystal with its label.

    Parameters
    ----------
    file : Path
    shape : str
        Name of the shape, as it is written.
    micrograph : str
        Identifies the micrograph; the same for all its crystals.
    origin : str
        File and row, or folder, that the label comes from, for messages.
    """

    file: Path
    shape: str
    micrograph: str
    origin: str


def read_csv_rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
    """Rows of a CSV file, and for each the file and row number for messages.

    Spaces around names and values are removed, and empty rows are skipped.

    Parameters
    ----------
    path : Path
        UTF-8 file, with commas or semicolons.
    needed : tuple of str
        Columns that the file must have.

    Raises
    ------
    ExamplesError
        If a column is missing, or the file is not text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
            # Spreadsheets save with semicolons if the comma is the decimal sign.
            delimiter = ";" if header.count(";") > header.count(",") else ","
            names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
            if not set(needed) <= set(names):
                missing = " and ".join(f"'{name}'" for name in needed)
                raise ExamplesError(
                    f"{path}: its columns are {', '.join(names) or 'none'}; it needs {missing}"
                )
            for number, values in enumerate(csv.reader(lines, delimiter=delimiter), start=1):
                if any(value.strip() for value in values):
                    values += [""] * (len(names) - len(values))
                    row = dict(zip(names, map(str.strip, values), strict=False))
                    yield row, f"{path} row {number}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ExamplesError(f"{path}: cannot be read as CSV ({error}); save it as UTF-8") from error
