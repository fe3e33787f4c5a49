"""A picture has the same pixel size when read alone, scanned, or listed in a manifest."""

import itertools
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile

from mcn.catalog.schema import tile_id
from mcn.micrograph import DEFAULT_LIMITS, MicrographScaleError, read_micrograph
from mcn.sources.listing import find_tiles
from mcn.sources.manifest import read_manifest
from pipelines.planning import PLANNED
from pipelines.stages.read import ReadTiles

PIXELS = np.full((48, 64), 90, np.uint8)
NAMES = [
    (picture, text)
    for picture, endings in itertools.product(
        ("a.tif", "B.TIF", "D.TIF", "Mixed Case.Tif", "x.y.tiff"), range(10)
    )
    for stem, _, extension in [picture.rpartition(".")]
    for text in [
        (
            f"{stem}.txt",
            f"{stem}.TXT",
            f"{stem.lower()}.Txt",
            f"{stem.upper()}.hdr",
            f"{stem}.HDR",
            f"{picture}.txt",
            f"{picture.upper()}.TXT",
            f"{stem}-{extension}.hdr",
            f"{stem}-{extension.swapcase()}.TXT",
            f"other{stem}.txt",
        )[endings]
    ]
]
TEXTS = (
    "$CM_MAG 50\n$CM_FULL_SIZE 128 96\n",
    "$$SM_MICRON_BAR 25\n$$SM_MICRON_MARKER 5um\n$CM_FULL_SIZE 64 40\n",
    "[MAIN]\nPixelSizeX=5e-8\nPixelSizeY=5e-8\n",
    "[MAIN]\nPixelSizeX=5e-8\nPixelSizeY=9e-8\n",
    "[SemImageFile]\nPixelSize=70\nDataSize=128x96\n",
    "AP_PIXEL_SIZE\nPixel Size = 5 nm\n",
    "a note that tells nothing\n",
)
TAGS = (
    {},
    {"resolution": (2e5, 2e5), "resolutionunit": "CENTIMETER"},
    {"extratags": [(34682, 2, 0, b"[Scan]\nPixelWidth=3e-8\n", True)]},
)


def plan_tiles(listed: pa.Table) -> pa.Table:
    ids = [tile_id(uri) for uri in listed["uri"].to_pylist()]
    return listed.add_column(0, PLANNED.field("tile_id"), pa.array(ids))


def scale_of_row(row: dict[str, object]) -> tuple[object, ...]:
    return row["pixel_size_um"], row["pixel_size_source"], row["data_bar_y"]


def scale_of_file(path: Path, pixel_size_um: float | None = None) -> tuple[object, ...]:
    try:
        stored = read_micrograph(path, pixel_size_um=pixel_size_um)
    except MicrographScaleError:
        return None, None, None
    return stored.pixel_size_um, stored.pixel_size_source, stored.data_bar_y


def core_of(root: Path, seed: int) -> list[Path]:
    """Folders with one picture each, and one to three texts for it or for another name."""
    chance = random.Random(seed)
    pictures = []
    for i, (picture, text) in enumerate(NAMES):
        folder = root / "well=A" / f"depth={i}"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / picture, PIXELS, metadata=None, **chance.choice(TAGS))
        others = [name for image, name in NAMES if image == picture]
        for name in sorted({text, *chance.sample(others, chance.randrange(3))}):
            (folder / name).write_text(chance.choice(TEXTS))
        pictures.append(folder / picture)
    return pictures


@pytest.mark.parametrize("seed", range(4))
def test_files_listings_and_manifests_give_the_same_size(tmp_path: Path, seed: int) -> None:
    pictures = core_of(tmp_path, seed)
    expected = {f"file://{path}": scale_of_file(path) for path in pictures}
    assert len({size for size, *_ in expected.values()}) > 4

    listed = plan_tiles(pa.Table.from_batches(find_tiles(str(tmp_path))))
    listed = listed.filter(pa.compute.is_in(listed["uri"], pa.array(list(expected))))
    rows = pa.concat_tables(ReadTiles(DEFAULT_LIMITS).read(listed)).to_pylist()
    assert {row["uri"]: scale_of_row(row) for row in rows} == expected

    lines = [f"{path},A,{i}" for i, path in enumerate(pictures)]
    (tmp_path / "m.csv").write_text("\n".join(["uri,well,depth_m", *lines]))
    planned = plan_tiles(
        pa.Table.from_batches(read_manifest(str(tmp_path / "m.csv"), str(tmp_path)))
    )
    rows = pa.concat_tables(
        ReadTiles(DEFAULT_LIMITS, seeks_sidecars=True).read(planned)
    ).to_pylist()
    assert {row["uri"]: scale_of_row(row) for row in rows} == expected
    reasons = [row["error"] for row in rows if row["error"]]
    assert reasons
    assert all("its pixels are not square" in reason for reason in reasons)


def test_a_manifests_size_equals_a_given_one(tmp_path: Path) -> None:
    pictures = core_of(tmp_path, 5)
    lines = [f"{path},A,{i},0.25" for i, path in enumerate(pictures)]
    (tmp_path / "m.csv").write_text("\n".join(["uri,well,depth_m,pixel_size_um", *lines]))
    planned = plan_tiles(
        pa.Table.from_batches(read_manifest(str(tmp_path / "m.csv"), str(tmp_path)))
    )
    rows = pa.concat_tables(
        ReadTiles(DEFAULT_LIMITS, seeks_sidecars=True).read(planned)
    ).to_pylist()
    assert {row["uri"]: scale_of_row(row) for row in rows} == {
        f"file://{path}": scale_of_file(path, 0.25) for path in pictures
    }


def test_a_missing_sidecar_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, metadata=None)
    (tmp_path / "m.csv").write_text("uri,well,depth_m,sidecar\na.tif,A,1,gone.txt\n")
    planned = plan_tiles(
        pa.Table.from_batches(read_manifest(str(tmp_path / "m.csv"), str(tmp_path)))
    )
    (row,) = pa.concat_tables(ReadTiles(DEFAULT_LIMITS).read(planned)).to_pylist()
    assert "gone.txt: the object no longer exists" in row["error"]
