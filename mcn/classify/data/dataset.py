"""Labelled crops in memory, and crops from freshly rendered tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mcn.classify.data.perturb import perturb_mask
from mcn.crops import cut_crops
from mcn.crystals import CROP_SIZE
from mcn.errors import McnError
from mcn.mask import Mask, masks_from_labels
from mcn.taxonomy import CALCITE, SHAPES, Taxonomy


class ExamplesError(McnError):
    """Labelled crystals that are missing or cannot be read."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled crops, one per row.

    Parameters
    ----------
    crops : (N, 64, 64) uint8 array
        As from `mcn.crops.cut_crops`.
    classes : (N,) int64 array
        Indices into `taxonomy.shapes`.
    groups : (N,) int64 array
        Number of the micrograph; a split keeps the crystals of a micrograph together.
    visible : (N,) float32 array
        Visible share of the crystal's silhouette; 1 if unknown.
    perturbed : (N,) bool array
        Whether the mask was perturbed on purpose.
    taxonomy : Taxonomy
        The shapes that `classes` refers to.
    """

    crops: NDArray[np.uint8]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    visible: NDArray[np.float32]
    perturbed: NDArray[np.bool_]
    taxonomy: Taxonomy = CALCITE

    def __len__(self) -> int:
        return len(self.crops)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Examples:
        """The examples of the given row numbers, or of the rows where a mask is True."""
        return Examples(
            self.crops[rows],
            self.classes[rows],
            self.groups[rows],
            self.visible[rows],
            self.perturbed[rows],
            self.taxonomy,
        )


def render_examples(
    tiles: int,
    seed: int,
    *,
    per_tile: int = 40,
    copies: int = 1,
    height: int = 576,
    width: int = 768,
    workers: int = 1,
    on_tile: Callable[[], None] = lambda: None,
) -> Examples:
    """Render tiles with random settings and cut out crystals.

    Parameters
    ----------
    tiles : int
        Number of tiles; each is one group.
    seed : int
        The same seed gives the same examples.
    per_tile : int
        Maximum number of crystals per tile. Many tiles are better training data than many
        crystals of one tile.
    copies : int
        Crops with a perturbed mask for each crystal, in addition to the one with the true mask.
    height, width : int
        Size of the tiles in pixels.
    workers : int
        Number of processes; the examples do not depend on it.
    on_tile : callable
        Called after each tile, for progress.
    """
    from mcn.synthetic.core import map_jobs

    seeds = np.random.SeedSequence(seed).generate_state(tiles)
    render = partial(_render_tile, per_tile=per_tile, copies=copies, height=height, width=width)
    parts = []
    for part in map_jobs(render, enumerate(seeds.tolist()), workers):
        parts.append(part)
        on_tile()
    return concatenate_examples(parts)


def _render_tile(
    job: tuple[int, int], *, per_tile: int, copies: int, height: int, width: int
) -> Examples:
    from mcn.synthetic.renderer import random_settings, render_tile

    group, seed = job
    rng = np.random.default_rng(seed)
    tile = render_tile(seed, random_settings(rng, height, width))
    masks = masks_from_labels(tile.labels)
    rows = np.sort(rng.permutation(len(masks))[:per_tile])
    return tile_examples(
        tile.image,
        [masks[row] for row in rows],
        [tile.shapes[row] for row in rows],
        group,
        visible=tile.visible_fraction[rows],
        copies=copies,
        rng=rng,
    )


def tile_examples(
    image: NDArray[np.uint8],
    masks: Sequence[Mask],
    shapes: Sequence[str],
    group: int,
    *,
    visible: NDArray[np.float32],
    copies: int,
    rng: np.random.Generator,
) -> Examples:
    """Examples of one tile of calcite: true masks first, then each set of perturbed copies."""
    perturbed = [
        perturb_mask(mask, image.shape[0], image.shape[1], rng)
        for _ in range(copies)
        for mask in masks
    ]
    classes = np.array([SHAPES.index(shape) for shape in shapes], dtype=np.int64)
    count = len(masks) * (1 + copies)
    return Examples(
        cut_crops(image, [*masks, *perturbed]),
        np.tile(classes, 1 + copies),
        np.full(count, group, dtype=np.int64),
        np.tile(visible, 1 + copies),
        np.arange(count) >= len(masks),
    )


def concatenate_examples(parts: Sequence[Examples]) -> Examples:
    """Concatenate examples of one taxonomy; no parts give no examples."""
    if not parts:
        return Examples(
            np.zeros((0, CROP_SIZE, CROP_SIZE), np.uint8),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
            np.zeros(0, bool),
        )
    return Examples(
        np.concatenate([part.crops for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.visible for part in parts]),
        np.concatenate([part.perturbed for part in parts]),
        parts[0].taxonomy,
    )
