"""Crops whose shape is known: rendered, from a rendered core, or labelled by hand."""

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
    """Labelled crystals that are missing or cannot be read; the message says which."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Crops with what is known of them, row by row.

    Parameters
    ----------
    crops : (N, 64, 64) uint8 array
        As `cut_crops` makes them.
    classes : (N,) int64 array
        Places in `taxonomy.shapes`.
    groups : (N,) int64 array
        Crystals of one micrograph share a number, so that a split can keep them together.
    visible : (N,) float32 array
        Share of the crystal's silhouette that can be seen, 1 where nobody knows.
    perturbed : (N,) bool array
        True where the mask was perturbed on purpose.
    taxonomy : Taxonomy
        The shapes that were told apart.
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
        """The examples of some rows, by number or by a mask."""
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
    """Examples from freshly rendered tiles of random settings.

    Parameters
    ----------
    tiles : int
        Tiles to render; each is one group.
    seed : int
        The same seed gives the same examples.
    per_tile : int
        Crystals taken from each tile at most, because many tiles teach more than many
        crystals of one.
    copies : int
        Crops with a perturbed mask made of each crystal, beside the one with its true mask.
    height, width : int
        Size of the tiles in pixels.
    workers : int
        Processes to render with; they change nothing in the examples.
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
    return join(parts)


def _render_tile(
    job: tuple[int, int], *, per_tile: int, copies: int, height: int, width: int
) -> Examples:
    from mcn.synthetic.renderer import random_settings, render_tile

    group, seed = job
    rng = np.random.default_rng(seed)
    tile = render_tile(seed, random_settings(rng, height, width))
    masks = masks_from_labels(tile.labels)
    rows = np.sort(rng.permutation(len(masks))[:per_tile])
    return crystals_of_tile(
        tile.image,
        [masks[row] for row in rows],
        [tile.shapes[row] for row in rows],
        group,
        visible=tile.visible_fraction[rows],
        copies=copies,
        rng=rng,
    )


def crystals_of_tile(
    image: NDArray[np.uint8],
    masks: Sequence[Mask],
    shapes: Sequence[str],
    group: int,
    *,
    visible: NDArray[np.float32],
    copies: int,
    rng: np.random.Generator,
) -> Examples:
    """Examples of one micrograph: true masks first, then each set of perturbed copies."""
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


def join(parts: Sequence[Examples]) -> Examples:
    """All parts of one taxonomy after one another; none at all gives no examples."""
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
