"""Reading labelled crystals: class folders, a labels CSV, the authors' layout, a rendered core."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.classify.data.dataset import Examples, ExamplesError, crystals_of_tile, join
from mcn.crops import cut_crops
from mcn.crystals import CROP_SIZE
from mcn.mask import masks_from_labels
from mcn.micrograph import Limits, MicrographError, decode_micrograph
from mcn.taxonomy import CALCITE, Taxonomy

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")

_LIMITS = Limits(max_bytes=64 * 2**20, max_pixels=16 * 2**20)  # of the picture of one crystal
_LEFT_OUT = ("", "?", "skip")


@dataclass(frozen=True)
class Labelled:
    """A picture of one crystal and what somebody called it.

    Parameters
    ----------
    file : Path
    shape : str
        As it was written.
    micrograph : str
        Crystals that share it come from one micrograph.
    where : str
        File and row, or folder, that says so, for messages.
    """

    file: Path
    shape: str
    micrograph: str
    where: str


def read_examples(
    data: Path, *, taxonomy: Taxonomy = CALCITE, copies: int = 0, seed: int = 0
) -> Examples:
    """Read labelled crystals from disk.

    Parameters
    ----------
    data : Path
        One of

        - a folder with `labels.csv` (or that file): columns `file`, a path from the folder,
          and `shape`; optionally `tile_id`, the micrograph a crystal comes from, which
          keeps its crystals on one side of a split. A shape that is empty, `?` or `skip`
          leaves the crystal out;
        - a folder with one folder of crops a shape;
        - the layout of the MicroCrystalNet authors (see `mcn.classify.data.authors`);
        - a core that `mcn core` rendered, with its `truth`.

        Crops are pictures of one crystal on black. One of 64×64 pixels is taken as it is,
        any other is cut and scaled as `cut_crops` does.
    taxonomy : Taxonomy
        The shapes that may be named, also by the other names it knows; case does not matter.
    copies : int
        Crops with a perturbed mask made of each crystal of a core; crops by themselves have
        no surroundings to make them from.
    seed : int
        Of the perturbed masks.

    Raises
    ------
    ExamplesError
        If `data` is none of these, holds no crystal, names an unknown shape, a file twice or
        one that is not there, or holds one that cannot be read. The message names row or file.
    """
    from mcn.classify.data.authors import list_authors, read_authors

    if (data / "truth" / "crystals.parquet").is_file():
        if taxonomy != CALCITE:
            raise ExamplesError(
                f"{data}: rendered crystals are calcite's, not {', '.join(taxonomy.shapes)}; "
                "give labelled ones"
            )
        examples = _read_core(data, copies, seed)
    elif data.suffix == ".csv" and data.is_file():
        examples = from_labelled(_read_csv(data), taxonomy)
    elif (data / "labels.csv").is_file():
        examples = from_labelled(_read_csv(data / "labels.csv"), taxonomy)
    elif data.is_dir():
        sheets = list_authors(data)
        labelled = read_authors(sheets, taxonomy) if sheets else _read_folders(data, taxonomy)
        examples = from_labelled(labelled, taxonomy)
    else:
        raise ExamplesError(f"{data}: no such folder; give one with labelled crystals")
    if not len(examples):
        raise ExamplesError(f"{data}: holds no labelled crystal; put crops into it")
    return examples


def from_labelled(rows: Iterable[Labelled], taxonomy: Taxonomy) -> Examples:
    """Examples of labelled pictures; ExamplesError names the row of one that is no good."""
    crops, classes, groups = [], [], []
    numbers: dict[str, int] = {}
    seen: dict[Path, str] = {}
    for row in rows:
        name = row.shape.strip().lower()
        if name in _LEFT_OUT:
            continue
        try:
            place = taxonomy.index(name)
        except KeyError:
            raise ExamplesError(
                f"{row.where}: unknown shape {row.shape!r}; the shapes are "
                f"{', '.join(taxonomy.shapes)}"
            ) from None
        if row.file in seen:
            raise ExamplesError(
                f"{row.where}: {row.file} was labelled before, by {seen[row.file]}; "
                "keep one of the two rows"
            )
        seen[row.file] = row.where
        crops.append(_read_crop(row.file, row.where))
        classes.append(place)
        groups.append(numbers.setdefault(row.micrograph, len(numbers)))
    count = len(crops)
    return Examples(
        np.array(crops, dtype=np.uint8).reshape(count, CROP_SIZE, CROP_SIZE),
        np.array(classes, dtype=np.int64),
        np.array(groups, dtype=np.int64),
        np.ones(count, dtype=np.float32),
        np.zeros(count, dtype=bool),
        taxonomy,
    )


def rows_of(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
    """Rows of a CSV file that has at least these columns, and where each stands.

    Blanks around names and values are dropped, rows without any value are passed over.

    Raises
    ------
    ExamplesError
        If a column is missing, or the file is no text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            first = lines.readline()
            # Spreadsheets save with semicolons where the comma is the decimal sign.
            mark = ";" if first.count(";") > first.count(",") else ","
            names = [name.strip() for name in next(csv.reader([first], delimiter=mark), [])]
            reader = csv.reader(lines, delimiter=mark)
            if not set(needed) <= set(names):
                wanted = " and ".join(f"'{name}'" for name in needed)
                raise ExamplesError(
                    f"{path}: its columns are {', '.join(names) or 'none'}; it needs {wanted}"
                )
            for number, values in enumerate(reader, start=1):
                if any(value.strip() for value in values):
                    values += [""] * (len(names) - len(values))
                    row = dict(zip(names, map(str.strip, values), strict=False))
                    yield row, f"{path} row {number}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ExamplesError(f"{path}: cannot be read as CSV ({error}); save it as UTF-8") from error


def _read_csv(path: Path) -> Iterator[Labelled]:
    for row, where in rows_of(path, ("file", "shape")):
        file = path.parent / row["file"]
        yield Labelled(file, row["shape"], row.get("tile_id") or str(file), where)


def _read_folders(data: Path, taxonomy: Taxonomy) -> Iterator[Labelled]:
    folders = sorted(
        path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not folders:
        raise ExamplesError(
            f"{data}: neither class folders ({', '.join(taxonomy.shapes)}) nor labels.csv nor a "
            "core's truth is in it; give a folder with one of them"
        )
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield Labelled(path, folder.name, str(path), f"folder {folder}")


def _read_core(core: Path, copies: int, seed: int) -> Examples:
    import pyarrow.parquet as pq

    columns = ["tile", "label", "shape", "visible_fraction"]
    truth = pq.read_table(core / "truth" / "crystals.parquet", columns=columns)
    truth = truth.sort_by([("tile", "ascending"), ("label", "ascending")])
    tiles = truth["tile"].to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.concatenate([[True], tiles[1:] != tiles[:-1]])[: len(tiles)])
    rng = np.random.default_rng(seed)
    parts = []
    for group, (start, stop) in enumerate(zip(starts, [*starts[1:], len(tiles)], strict=True)):
        crystals = truth.slice(start, stop - start)
        parts.append(_read_tile(core, str(tiles[start]), crystals, group, copies, rng))
    return join(parts)


def _read_tile(
    core: Path, tile: str, crystals: Any, group: int, copies: int, rng: np.random.Generator
) -> Examples:
    import tifffile

    from mcn.micrograph import read_micrograph

    image = read_micrograph(core / tile).pixels
    path = core / "truth" / "masks" / tile
    try:
        labels = tifffile.imread(path)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise ExamplesError(f"{path}: cannot be read ({error}); render the core again") from error
    masks = masks_from_labels(labels)
    if labels.shape != image.shape or len(masks) != len(crystals):
        raise ExamplesError(
            f"{path}: {len(masks)} crystals in {labels.shape}, but the truth names "
            f"{len(crystals)} in {image.shape}; render the core again"
        )
    return crystals_of_tile(
        image,
        masks,
        crystals["shape"].to_pylist(),
        group,
        visible=crystals["visible_fraction"].to_numpy(),
        copies=copies,
        rng=rng,
    )


def _read_crop(path: Path, where: str) -> NDArray[np.uint8]:
    try:
        pixels = decode_micrograph(path.read_bytes(), str(path), limits=_LIMITS).pixels
    except FileNotFoundError as error:
        raise ExamplesError(f"{where}: {path} does not exist; correct the path") from error
    except (MicrographError, OSError) as error:
        raise ExamplesError(
            f"{where}: {path} is not a readable picture ({error}); replace it"
        ) from error
    masks = masks_from_labels((pixels > 0).astype(np.uint8))
    if not masks:
        raise ExamplesError(f"{where}: {path} is all black; replace it or leave it out")
    if pixels.shape == (CROP_SIZE, CROP_SIZE):
        return pixels
    crop: NDArray[np.uint8] = cut_crops(pixels, masks)[0]
    return crop
