"""A folder of rendered tiles for training or evaluating a segmenter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcn.synthetic.core import map_jobs
from mcn.synthetic.heap import RenderError
from mcn.synthetic.renderer import random_settings, render_tile
from mcn.synthetic.wells import make_generator


def write_dataset(
    out: str | Path,
    tiles: int,
    seed: int = 0,
    *,
    height: int = 768,
    width: int = 1024,
    workers: int = 1,
    on_tile: Callable[[str], None] | None = None,
) -> None:
    """Write tiles of random settings as `OUT/images/NAME.png` and `OUT/masks/NAME.png`.

    Parameters
    ----------
    out : str or Path
        A folder without images.
    tiles : int
        Number of tiles.
    seed : int
        The same seed gives the same pixels; a tile does not depend on how many follow.
    height, width : int
        Size of a tile in pixels. Masks are 16-bit instance labels, 0 the background.
    workers : int
        Processes to render in.
    on_tile : callable, optional
        Called with the name of each tile after it is written.

    Raises
    ------
    RenderError
        `out` already contains images.
    """
    out = Path(out)
    if (out / "images").exists():
        raise RenderError(
            f"cannot render into {out}: it already contains images; name a new folder"
        )
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True)
    jobs = (
        _DatasetTileJob(out, f"rendered_{i:06d}.png", seed, i, height, width) for i in range(tiles)
    )
    for name in map_jobs(_render_job, jobs, workers):
        if on_tile is not None:
            on_tile(name)


@dataclass(frozen=True)
class _DatasetTileJob:
    out: Path
    name: str
    seed: int
    number: int
    height: int
    width: int


def _render_job(job: _DatasetTileJob) -> str:
    from PIL import Image

    rng = make_generator(job.seed, job.number)
    tile = render_tile(int(rng.integers(2**63)), random_settings(rng, job.height, job.width))
    Image.fromarray(tile.image).save(job.out / "images" / job.name)
    Image.fromarray(tile.labels).save(job.out / "masks" / job.name)
    return job.name
