"""Folders of images with instance masks, to train and evaluate segmenters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcn.errors import McnError

if TYPE_CHECKING:
    from mcn.micrograph import Micrograph

_IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_MASK_SUFFIXES = (".png", ".tif", ".tiff")


class DataError(McnError):
    """A training or evaluation folder that cannot be used."""


@dataclass(frozen=True)
class Pair:
    """An image and its instance masks, as files.

    Parameters
    ----------
    image, masks : Path
        Image, and instance labels of the same height and width.
    """

    image: Path
    masks: Path

    @property
    def name(self) -> str:
        """The image's file name without its suffix."""
        return self.image.stem

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Pixels (H, W) uint8 and labels (H, W) int32; raises the errors of `open`."""
        micrograph, labels = self.open()
        return micrograph.pixels, labels

    def open(self) -> tuple[Micrograph, NDArray[np.int32]]:
        """The micrograph, and labels (H, W) int32.

        Raises
        ------
        DataError
            If the two differ in size, or the masks are not a label image.
        """
        from mcn.micrograph import read_micrograph

        micrograph = read_micrograph(self.image)
        labels, shape = read_labels(self.masks), micrograph.pixels.shape
        if labels.shape != shape:
            raise DataError(
                f"{self.masks}: masks are {labels.shape}, the image is {shape}; "
                "masks must be label images of the same size as the image"
            )
        return micrograph, labels


def read_labels(path: Path) -> NDArray[np.int32]:
    """Instance labels (H, W) of an 8-, 16- or 32-bit label image, 0 the background."""
    from skimage.io import imread

    try:
        labels = np.asarray(imread(path))
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a label image ({error})") from error
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{path}: masks must be one channel of integers, not {labels.dtype} {labels.shape}"
        )
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > np.iinfo(np.int32).max:
        raise DataError(f"{path}: labels are {low} to {high}; number the crystals 1, 2, 3 …")
    if high == 255 and not np.any((labels > 0) & (labels < high)) and _pieces(labels) > 1:
        raise DataError(
            f"{path}: shows only where crystals are; number them 1, 2, 3 …, 0 the background"
        )
    return labels.astype(np.int32)


def _pieces(labels: NDArray[np.integer[Any]]) -> int:
    """Number of connected components of what is not background."""
    from scipy import ndimage

    return int(ndimage.label(labels)[1])


def list_pairs(folder: Path) -> list[Pair]:
    """Image and mask pairs, ordered by name.

    Parameters
    ----------
    folder : Path
        With `images/` and `masks/`, or a rendered core with its `truth/`.

    Raises
    ------
    DataError
        If the folder is missing or an image has no masks.
    """
    if (folder / "truth" / "core.json").is_file():
        return _core_pairs(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; check the path")
    if not (folder / "images").is_dir() or not (folder / "masks").is_dir():
        raise DataError(
            f"{folder}: needs the folders images/ and masks/ with files of the same names, "
            "or a core rendered by 'mcn core'"
        )
    masks = {
        path.stem: path
        for path in sorted((folder / "masks").iterdir())
        if path.suffix.lower() in _MASK_SUFFIXES
    }
    pairs: list[Pair] = []
    for image in sorted((folder / "images").iterdir()):
        if image.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        if pairs and pairs[-1].name == image.stem:
            raise DataError(f"{image}: has the name of {pairs[-1].image.name}; rename one of them")
        if image.stem not in masks:
            raise DataError(f"{image}: there is no masks/{image.stem}.png or .tif for it")
        pairs.append(Pair(image, masks[image.stem]))
    if not pairs:
        raise DataError(f"{folder}: images/ has no png, tif or jpg file")
    return pairs


def _core_pairs(folder: Path) -> list[Pair]:
    root = folder / "truth" / "masks"
    masks = sorted(path for path in root.rglob("*") if path.suffix in _MASK_SUFFIXES)
    pairs = [Pair((folder / path.relative_to(root)).with_suffix(".tif"), path) for path in masks]
    if not pairs:
        raise DataError(f"{folder}: the core's truth/ has no masks; render it again")
    return pairs


def split_pairs(pairs: Sequence[Pair], held_out: int = 5) -> tuple[list[Pair], list[Pair]]:
    """Split by image: every `held_out`-th pair, ordered by name, is held out."""
    train = [pair for i, pair in enumerate(pairs) if i % held_out]
    return train, list(pairs[::held_out])
