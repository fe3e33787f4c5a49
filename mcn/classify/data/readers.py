"""Reads labelled crystals: class folders, `labels.csv`, the authors' layout, rendered cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.classify.data.authors import list_authors, read_authors
from mcn.classify.data.dataset import Examples, ExamplesError, concatenate_examples, tile_examples
from mcn.classify.data.labels import SUFFIXES, LabelledCrop, read_csv_rows
from mcn.crops import cut_crops
from mcn.crystals import CROP_SIZE
from mcn.mask import masks_from_labels
from mcn.micrograph import Limits, MicrographError, decode_micrograph
from mcn.taxonomy import CALCITE, Taxonomy

_LIMITS = Limits(max_bytes=64 * 2**20, max_pixels=16 * 2**20)  # of the image of one crystal
_SKIPPED_SHAPES = ("", "?", "skip")


def read_examples(
    data: Path, *, taxonomy: Taxonomy = CALCITE, copies: int = 0, seed: int = 0
) -> Examples:
    """Read labelled crystals from disk.

    Parameters
    ----------
    data : Path
        One of

        - a folder with `labels.csv` (or that file): columns `file`, a path relative to the
          folder, and `shape`; optionally `tile_id`, the micrograph of the crystal: a split keeps
          its crystals together. Rows with the shape `?`, `skip` or none are skipped;
        - a folder with one folder of crops per shape;
        - the layout of the MicroCrystalNet authors (see `mcn.classify.data.authors`);
        - a core from `mcn core`, with its `truth`.

        Crops are images of one crystal on black. Images of 64×64 pixels are used unchanged;
        others are cut and scaled as in `mcn.crops.cut_crops`.
    taxonomy : Taxonomy
        The allowed shapes, and their aliases; case does not matter.
    copies : int
        Crops with a perturbed mask for each crystal of a core. Crops from image files have no
        surroundings, so they are not perturbed.
    seed : int
        Seed of the perturbed masks.

    Raises
    ------
    ExamplesError
        If `data` is none of these, has no crystals, an unknown shape or a file that is listed
        twice, missing or unreadable. The message names the row or the file.
    """
    if (data / "truth" / "crystals.parquet").is_file():
        if taxonomy != CALCITE:
            raise ExamplesError(
                f"{data}: rendered crystals have calcite's shapes, not "
                f"{', '.join(taxonomy.shapes)}; give labelled crystals"
            )
        examples = _read_core(data, copies, seed)
    elif data.suffix == ".csv" and data.is_file():
        examples = examples_from_labels(_read_csv(data), taxonomy)
    elif (data / "labels.csv").is_file():
        examples = examples_from_labels(_read_csv(data / "labels.csv"), taxonomy)
    elif data.is_dir():
        sheets = list_authors(data)
        labelled = read_authors(sheets, taxonomy) if sheets else _read_folders(data, taxonomy)
        examples = examples_from_labels(labelled, taxonomy)
    else:
        raise ExamplesError(f"{data}: no such folder; give one with labelled crystals")
    if not len(examples):
        raise ExamplesError(f"{data}: has no labelled crystals; add crops to it")
    return examples


def examples_from_labels(rows: Iterable[LabelledCrop], taxonomy: Taxonomy) -> Examples:
    """Read the crops of labels; an ExamplesError names the row of a wrong label."""
    crops, classes, groups = [], [], []
    group_of: dict[str, int] = {}
    labelled_by: dict[Path, str] = {}
    for row in rows:
        name = row.shape.strip().lower()
        if name in _SKIPPED_SHAPES:
            continue
        try:
            shape_index = taxonomy.index(name)
        except KeyError:
            raise ExamplesError(
                f"{row.origin}: unknown shape {row.shape!r}; the shapes are "
                f"{', '.join(taxonomy.shapes)}"
            ) from None
        if row.file in labelled_by:
            raise ExamplesError(
                f"{row.origin}: {row.file} was labelled before, by {labelled_by[row.file]}; "
                "keep one of the two rows"
            )
        labelled_by[row.file] = row.origin
        crops.append(_read_crop(row.file, row.origin))
        classes.append(shape_index)
        groups.append(group_of.setdefault(row.micrograph, len(group_of)))
    count = len(crops)
    return Examples(
        np.array(crops, dtype=np.uint8).reshape(count, CROP_SIZE, CROP_SIZE),
        np.array(classes, dtype=np.int64),
        np.array(groups, dtype=np.int64),
        np.ones(count, dtype=np.float32),
        np.zeros(count, dtype=bool),
        taxonomy,
    )


def _read_csv(path: Path) -> Iterator[LabelledCrop]:
    for row, origin in read_csv_rows(path, ("file", "shape")):
        file = path.parent / row["file"]
        yield LabelledCrop(file, row["shape"], row.get("tile_id") or str(file), origin)


def _read_folders(data: Path, taxonomy: Taxonomy) -> Iterator[LabelledCrop]:
    folders = sorted(
        path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not folders:
        raise ExamplesError(
            f"{data}: has no class folders ({', '.join(taxonomy.shapes)}), labels.csv or "
            "core's truth; give a folder with one of them"
        )
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield LabelledCrop(path, folder.name, str(path), f"folder {folder}")


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
    return concatenate_examples(parts)


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
            f"{path}: {len(masks)} crystals in {labels.shape}, but the truth lists "
            f"{len(crystals)} in {image.shape}; render the core again"
        )
    return tile_examples(
        image,
        masks,
        crystals["shape"].to_pylist(),
        group,
        visible=crystals["visible_fraction"].to_numpy(),
        copies=copies,
        rng=rng,
    )


def _read_crop(path: Path, origin: str) -> NDArray[np.uint8]:
    try:
        pixels = decode_micrograph(path.read_bytes(), str(path), limits=_LIMITS).pixels
    except FileNotFoundError as error:
        raise ExamplesError(f"{origin}: {path} does not exist; correct the path") from error
    except (MicrographError, OSError) as error:
        raise ExamplesError(
            f"{origin}: {path} is not a readable image ({error}); replace it"
        ) from error
    masks = masks_from_labels((pixels > 0).astype(np.uint8))
    if not masks:
        raise ExamplesError(f"{origin}: {path} is all black; replace it or leave it out")
    if pixels.shape == (CROP_SIZE, CROP_SIZE):
        return pixels
    crop: NDArray[np.uint8] = cut_crops(pixels, masks)[0]
    return crop
