"""Reading labelled crystals: class folders, a labels CSV, a rendered core."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mcn.classify.crops import CROP_SIZE, cut_crops
from mcn.classify.examples import Examples, ExamplesError, crystals_of_tile, join
from mcn.mask import masks_from_labels
from mcn.taxonomy import SHAPES

_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
_GREY_MODES = ("1", "L", "P", "LA", "RGB", "RGBA")


def read_examples(data: Path, *, copies: int = 0, seed: int = 0) -> Examples:
    """Read labelled crystals from disk.

    Parameters
    ----------
    data : Path
        One of

        - a folder with `labels.csv` (or that file): columns `file`, a path from the folder,
          and `shape`; optionally `tile_id`, the micrograph a crystal comes from, which
          keeps its crystals on one side of a split;
        - a folder with one folder of crops a shape;
        - a core that `mcn core` rendered, with its `truth`.

        Crops are pictures of one crystal on black. One of 64×64 pixels is taken as it is,
        any other is cut and scaled as `cut_crops` does.
    copies : int
        Crops with a spoilt mask made of each crystal of a core; crops by themselves have
        no surroundings to make them from.
    seed : int
        Of the spoilt masks.

    Raises
    ------
    ExamplesError
        If `data` is none of these, holds no crystal, names an unknown shape or a file that
        is not there, or holds one that cannot be read. The message names row or file.
    """
    if (data / "truth" / "crystals.parquet").is_file():
        examples = _read_core(data, copies, seed)
    elif data.suffix == ".csv" and data.is_file():
        examples = _read_csv(data)
    elif (data / "labels.csv").is_file():
        examples = _read_csv(data / "labels.csv")
    elif data.is_dir():
        examples = _read_folders(data)
    else:
        raise ExamplesError(f"{data}: no such folder; give one with labelled crystals")
    if not len(examples):
        raise ExamplesError(f"{data}: holds no labelled crystal; put crops into it")
    return examples


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


def _read_csv(path: Path) -> Examples:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        if not {"file", "shape"} <= set(rows.fieldnames or ()):
            raise ExamplesError(
                f"{path}: its columns are {', '.join(rows.fieldnames or ['none'])}; "
                "it needs 'file' and 'shape'"
            )
        return _from_crops(
            (path.parent / row["file"], row["shape"], row.get("tile_id"), f"{path} row {number}")
            for number, row in enumerate(rows, start=1)
        )


def _read_folders(data: Path) -> Examples:
    folders = sorted(
        path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not folders:
        raise ExamplesError(
            f"{data}: neither class folders ({', '.join(SHAPES)}) nor labels.csv nor a core's "
            "truth is in it; give a folder with one of them"
        )
    return _from_crops(
        (path, folder.name, None, f"folder {folder}")
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _SUFFIXES
    )


def _from_crops(rows: Iterator[tuple[Path, str, str | None, str]]) -> Examples:
    """Examples of (file, shape, micrograph or None, where this row stands)."""
    crops, classes, groups = [], [], []
    numbers: dict[str, int] = {}
    for path, shape, micrograph, where in rows:
        if shape not in SHAPES:
            raise ExamplesError(
                f"{where}: unknown shape {shape!r}; the shapes are {', '.join(SHAPES)}"
            )
        crops.append(_read_crop(path, where))
        classes.append(SHAPES.index(shape))
        groups.append(numbers.setdefault(micrograph or str(path), len(numbers)))
    count = len(crops)
    return Examples(
        np.array(crops, dtype=np.uint8).reshape(count, CROP_SIZE, CROP_SIZE),
        np.array(classes, dtype=np.int64),
        np.array(groups, dtype=np.int64),
        np.ones(count, dtype=np.float32),
        np.zeros(count, dtype=bool),
    )


def _read_crop(path: Path, where: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            if picture.mode not in _GREY_MODES:
                raise ExamplesError(f"{where}: {path} is not 8-bit; save it as 8-bit grey")
            pixels = np.asarray(picture.convert("L"))
    except FileNotFoundError as error:
        raise ExamplesError(f"{where}: {path} does not exist; correct the path") from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ExamplesError(f"{where}: {path} is not a readable picture; replace it") from error
    if pixels.shape == (CROP_SIZE, CROP_SIZE):
        return pixels
    masks = masks_from_labels((pixels > 0).astype(np.uint8))
    if not masks:
        raise ExamplesError(f"{where}: {path} is all black; replace it or leave it out")
    crop: NDArray[np.uint8] = cut_crops(pixels, masks)[0]
    return crop
