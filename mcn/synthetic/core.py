"""A rendered core repository: wells with depth trends, tiles in folders and ground truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcn.synthetic.data_bar import PRINT_UM
from mcn.synthetic.heap import RenderError
from mcn.synthetic.renderer import RenderedTile, TileSettings, render_tile
from mcn.synthetic.wells import Rock, SyntheticWell, make_generator, plan_wells, rock_at
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

if TYPE_CHECKING:
    import pyarrow as pa

Job = TypeVar("Job")
Result = TypeVar("Result")

_MAGNIFICATIONS: Final = (500, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5000, 6500, 8000)


@dataclass(frozen=True)
class CoreSettings:
    """Settings of a rendered core.

    Parameters
    ----------
    height, width : int
        Size of a tile in pixels, data bar included.
    top_m, base_m : float
        Depth interval that is cored, in metres.
    data_bar_share : float
        Share of the tiles that carry a data bar.
    severity : float
        Strength of the microscope's faults; see `TileSettings`.
    """

    height: int = 768
    width: int = 1024
    top_m: float = 1200.0
    base_m: float = 1500.0
    data_bar_share: float = 0.4
    severity: float = 0.8


@dataclass(frozen=True, eq=False)
class CoreTruth:
    """Ground truth of a rendered core: the tables in `OUT/truth`, stored as Parquet.

    Parameters
    ----------
    out : Path
        Root of the repository, to be scanned with `well={well}/depth={depth_m}/{name}`.
    tiles, crystals, zones : pyarrow.Table
        One row per tile, crystal or zone. `tile` is the path from the root.
    """

    out: Path
    tiles: pa.Table
    crystals: pa.Table
    zones: pa.Table


def render_core(
    out: str | Path,
    wells: int = 3,
    tiles: int = 24,
    seed: int = 0,
    settings: CoreSettings = CoreSettings(),
    *,
    workers: int = 1,
    on_tile: Callable[[str], None] | None = None,
) -> CoreTruth:
    """Render a core repository and its truth.

    Tiles are written as `OUT/well=W/depth=D/NAME.tif` (8-bit grey, compressed, pixel
    size in an FEI tag), 16-bit instance masks as `OUT/truth/masks/` and the same path,
    and `tiles.parquet`, `crystals.parquet`, `zones.parquet` in `OUT/truth`.

    Parameters
    ----------
    out : str or Path
        A new or empty folder, or one that already contains the same core.
    wells, tiles : int
        Number of wells, and of tiles over all wells.
    seed : int
        The same arguments give the same files, byte by byte.
    settings : CoreSettings
    workers : int
        Processes to render in.
    on_tile : callable, optional
        Called with the path of each tile, relative to `out`, after it is written.

    Raises
    ------
    RenderError
        `out` contains other files, or the settings are out of range.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = Path(out)
    if not 1 <= wells <= tiles:
        raise RenderError(
            f"cannot render a core of {wells} wells with {tiles} tiles: "
            "give at least one well, and at least one tile per well"
        )
    _claim(out, {"wells": wells, "tiles": tiles, "seed": seed, **asdict(settings)})
    planned = plan_wells(wells, seed, settings.top_m, settings.base_m)
    jobs = _plan_tiles(out, planned, tiles, seed, settings)
    tile_rows, crystal_columns = [], []
    for row, columns in map_jobs(_render_job, jobs, workers):
        tile_rows.append(row)
        crystal_columns.append(columns)
        if on_tile is not None:
            on_tile(row["tile"])
    schema = _crystal_schema()
    truth = CoreTruth(
        out=out,
        tiles=pa.Table.from_pylist(tile_rows, schema=_tile_schema()),
        crystals=pa.concat_tables(pa.table(part, schema=schema) for part in crystal_columns),
        zones=_zone_table(planned),
    )
    for name in ("tiles", "crystals", "zones"):
        pq.write_table(getattr(truth, name), out / "truth" / f"{name}.parquet")
    return truth


def _zone_table(wells: Iterable[SyntheticWell]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(
        [
            {"well": well.name, "zone": zone.name, "top_m": zone.top_m, "base_m": zone.base_m}
            for well in wells
            for zone in well.zones
        ]
    )


@dataclass(frozen=True)
class _CoreTileJob:
    out: Path
    tile: str
    well: str
    depth_m: float
    rock: Rock
    seed: int
    settings: TileSettings


def _claim(out: Path, core: dict[str, Any]) -> None:
    """Mark a folder as this core's; refuse a folder that contains anything else."""
    stamp = out / "truth" / "core.json"
    text = json.dumps(core, indent=2) + "\n"
    if out.exists() and not out.is_dir():
        raise RenderError(f"cannot render a core into {out}: it is a file; name a folder")
    if out.exists() and any(out.iterdir()) and not (stamp.is_file() and stamp.read_text() == text):
        raise RenderError(
            f"cannot render a core into {out}: it contains other files; "
            "name a new folder or empty this one"
        )
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(text)


def _plan_tiles(
    out: Path, wells: tuple[SyntheticWell, ...], tiles: int, seed: int, settings: CoreSettings
) -> Iterator[_CoreTileJob]:
    shares = np.array_split(np.arange(tiles), len(wells))
    for number, (well, share) in enumerate(zip(wells, shares, strict=True)):
        rng = make_generator(seed, number, 1)
        spacing = (settings.base_m - settings.top_m) / len(share)
        offsets = np.arange(len(share)) + rng.uniform(0.25, 0.75, size=len(share))
        for place, depth in enumerate(np.round(settings.top_m + spacing * offsets, 2).tolist()):
            rock = rock_at(well, depth)
            pixel_size_um = _pixel_size(rock.diameter_um, settings, rng)
            name = f"{well.name}_{depth:.2f}_{place + 1:04d}.tif"
            yield _CoreTileJob(
                out=out,
                tile=f"well={well.name}/depth={depth:.2f}/{name}",
                well=well.name,
                depth_m=depth,
                rock=rock,
                seed=int(rng.integers(2**63)),
                settings=TileSettings(
                    height=settings.height,
                    width=settings.width,
                    pixel_size_um=pixel_size_um,
                    diameter_um=rock.diameter_um,
                    size_spread=float(rng.uniform(0.22, 0.32)),
                    shape_mix=rock.shape_mix,
                    porosity=rock.porosity,
                    matrix=float(rng.uniform(0.1, 0.6)),
                    severity=settings.severity * float(rng.uniform(0.6, 1.3)),
                    data_bar=bool(rng.random() < settings.data_bar_share),
                ),
            )


def _pixel_size(diameter_um: float, settings: CoreSettings, rng: np.random.Generator) -> float:
    """Pixel size of a magnification that shows the crystals at a suitable size."""
    wanted_px = 60.0 * np.sqrt(settings.height * settings.width / (768 * 1024))
    wanted_px = max(wanted_px, 16.0) * rng.uniform(0.85, 1.2)
    sizes = PRINT_UM / (np.array(_MAGNIFICATIONS) * settings.width)
    return float(sizes[np.argmin(np.abs(np.log(diameter_um / sizes / wanted_px)))])


def _render_job(job: _CoreTileJob) -> tuple[dict[str, Any], dict[str, Any]]:
    """Render and write one tile and its mask; its row of `tiles` and columns of `crystals`."""
    import tifffile

    from mcn.crystals import crystal_area_fraction

    rendered = render_tile(job.seed, job.settings)
    picture = job.out / job.tile
    mask = job.out / "truth" / "masks" / job.tile
    picture.parent.mkdir(parents=True, exist_ok=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    write_tile(picture, rendered.image, rendered.pixel_size_um)
    tifffile.imwrite(mask, rendered.labels, compression="deflate", metadata=None)
    crystals = _crystal_columns(job, rendered)
    shapes = np.array(rendered.shapes, dtype=object)
    height, width = rendered.image.shape
    analysed = (rendered.data_bar_y or height) * width
    row = {
        "tile": job.tile,
        "well": job.well,
        "depth_m": job.depth_m,
        "zone": job.rock.zone,
        "width": width,
        "height": height,
        "data_bar_y": rendered.data_bar_y,
        "pixel_size_um": rendered.pixel_size_um,
        "porosity": rendered.porosity,
        "n_crystals": len(shapes),
        "crystal_area_fraction": crystal_area_fraction(
            int(np.count_nonzero(rendered.labels)), analysed
        ),
        "mean_equivalent_diameter_um": _mean(crystals["equivalent_diameter_um"]),
        "rock_diameter_um": job.rock.diameter_um,
        "rock_porosity": job.rock.porosity,
    }
    for shape, share in zip(SHAPES, job.rock.shape_mix, strict=True):
        row[f"fraction_{shape}"] = _mean(shapes == shape)
        row[f"rock_{shape}"] = share
    return row, crystals


def _tile_schema() -> pa.Schema:
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int32(), pa.float64()
    return pa.schema(
        [("tile", text), ("well", text), ("depth_m", real), ("zone", text)]
        + [(name, whole) for name in ("width", "height", "data_bar_y")]
        + [("pixel_size_um", real), ("porosity", real), ("n_crystals", whole)]
        + [("crystal_area_fraction", real), ("mean_equivalent_diameter_um", real)]
        + [(f"fraction_{shape}", real) for shape in SHAPES]
        + [("rock_diameter_um", real), ("rock_porosity", real)]
        + [(f"rock_{shape}", real) for shape in SHAPES]
    )


def _crystal_schema() -> pa.Schema:
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int32(), pa.float64()
    return pa.schema(
        [("tile", text), ("well", text), ("depth_m", real), ("label", whole)]
        + [("shape", text), ("facet", text)]
        + [(f"bbox_{side}", whole) for side in "xywh"]
        + [("touches_edge", pa.bool_()), ("area_px", whole)]
        + [("equivalent_diameter_um", real), ("visible_fraction", pa.float32())]
    )


def _crystal_columns(job: _CoreTileJob, rendered: RenderedTile) -> dict[str, Any]:
    from scipy import ndimage

    labels = rendered.labels
    count = len(rendered.shapes)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = np.array(
        [
            (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            for rows, columns in ndimage.find_objects(labels, max_label=count)
        ]
    ).reshape(count, 4)
    height, width = (rendered.data_bar_y or labels.shape[0]), labels.shape[1]
    x, y, w, h = boxes.T
    return {
        "tile": [job.tile] * count,
        "well": [job.well] * count,
        "depth_m": [job.depth_m] * count,
        "label": np.arange(1, count + 1),
        "shape": list(rendered.shapes),
        "facet": [FACET_OF_SHAPE[shape] for shape in rendered.shapes],
        "bbox_x": x,
        "bbox_y": y,
        "bbox_w": w,
        "bbox_h": h,
        "touches_edge": (x == 0) | (y == 0) | (x + w == width) | (y + h == height),
        "area_px": area,
        "equivalent_diameter_um": np.sqrt(4.0 / np.pi * area) * rendered.pixel_size_um,
        "visible_fraction": rendered.visible_fraction,
    }


def write_tile(path: Path, image: NDArray[np.uint8], pixel_size_um: float) -> None:
    """Write a picture as an FEI microscope does: TIFF with the pixel size in tag 34682.

    Parameters
    ----------
    path : Path
    image : (H, W) uint8 array
    pixel_size_um : float
        Side of a pixel in micrometres; the tag has it in metres.
    """
    import tifffile

    height, width = image.shape
    metres = pixel_size_um * 1e-6
    sections = {
        "User": {"UserText": "rendered core"},
        "System": {"Type": "SEM", "Dnumber": "D0000", "Software": "mcn"},
        "Beam": {"HV": "15000", "Spot": "3.0"},
        "Scan": {
            "PixelWidth": f"{metres:.9g}",
            "PixelHeight": f"{metres:.9g}",
            "HorFieldsize": f"{metres * width:.9g}",
            "VerFieldsize": f"{metres * height:.9g}",
        },
        "Image": {"ResolutionX": str(width), "ResolutionY": str(height)},
    }
    text = "\r\n".join(
        "\r\n".join([f"[{name}]", *(f"{key}={value}" for key, value in fields.items()), ""])
        for name, fields in sections.items()
    )
    tifffile.imwrite(
        path,
        image,
        compression="deflate",
        predictor=True,
        photometric="minisblack",
        metadata=None,
        extratags=[(34682, "s", 0, text, True)],
    )


def _mean(values: NDArray[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def map_jobs(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """Results of `function` for each job, in order, computed in `workers` processes."""
    if workers <= 1:
        yield from map(function, jobs)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Forking a process that has threads (torch, Ray) may deadlock.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, jobs)
