"""`mcn log` on a catalogue of two wells."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.query import query
from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.wells_table.table import import_wells
from mcn.cli.main import app
from mcn.errors import McnError
from mcn.taxonomy import SHAPES

from ....fakes import catalog_rows, crystal_row


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wells A and B, 40 tiles each from 1000 m every metre, spherical below 1020 m."""
    folder = tmp_path_factory.mktemp("log")
    catalog = Catalog.create(folder / "catalog")
    pairs = []
    for well in "AB":
        for n in range(40):
            uri = f"/core/well={well}/{n}.tif"
            shapes = [SHAPES[3 if n >= 20 else k % 2] for k in range(5)]
            crystals = [crystal_row(shape, equivalent_diameter_um=1 + n % 3) for shape in shapes]
            tile = Tile(
                tile_id=tile_id(uri),
                uri=uri,
                well=well,
                depth_m=1000.0 + n,
                width=640,
                height=480,
                pixel_size_um=0.1,
                crystal_area_fraction=0.5,
                n_crystals=5,
                segmenter="compact@0123456789ab",
                classifier="nsr@0123456789ab",
                scan_id="one",
            )
            pairs.append((tile, crystals))
    tiles = tile_table([tile for tile, _ in pairs])
    catalog.commit(catalog_rows(pairs, catalog.depth_bin_m), tiles)
    tops = folder / "tops.csv"
    tops.write_text("well,formation,depth_m\nA,Arab D,1010\nB,Arab D,1015\nA,Hith,1030\n")
    import_wells(catalog, [str(tops)])
    return Path(catalog.uri)


def log(catalog: Path, *words: object) -> Result:
    result = CliRunner().invoke(app, ["log", str(catalog), *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_json_has_intervals_and_zones(catalog: Path) -> None:
    words = ("--well", "A", "--well", "B", "--step", 4, "--zones", "--json")
    logs = json.loads(log(catalog, *words).stdout)["logs"]
    assert [entry["well"] for entry in logs] == ["A", "B"]
    intervals, zones = logs[0]["intervals"], logs[0]["zones"]
    assert [row["depth_top"] for row in intervals] == [1000.0 + 4 * n for n in range(10)]
    assert intervals[0]["few_tiles"] is True
    assert [zone["depth_top"] for zone in zones] == [1000.0, 1020.0]


def test_steps_and_windows_in_feet(catalog: Path) -> None:
    words = ("--well", "A", "--depth", "3300ft:3330ft", "--step", "10ft", "--json")
    (entry,) = json.loads(log(catalog, *words).stdout)["logs"]
    tops = [row["depth_top"] for row in entry["intervals"]]
    assert tops == pytest.approx([3300 * 0.3048, 3310 * 0.3048, 3320 * 0.3048][-len(tops) :])
    assert sum(row["n_tiles"] for row in entry["intervals"]) == 9


def test_a_table_to_read_and_files_with_everything(catalog: Path, tmp_path: Path) -> None:
    shown = log(catalog, "--well", "A", "--step", 20).stdout.splitlines()
    assert shown[0].split()[:5] == [
        "depth_top",
        "depth_base",
        "n_tiles",
        "n_crystals",
        "fraction_rhombic",
    ]
    assert len(shown) == 4
    log(catalog, "--well", "A", "--well", "B", "--step", 20, "--csv", tmp_path / "log.csv")
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["well"] for row in rows] == ["A", "A", "B", "B"]
    assert "low_corrected_median_equivalent_diameter_um" in rows[0]


def test_pictures_of_one_well_and_of_several(catalog: Path, tmp_path: Path) -> None:
    one, flat = tmp_path / "one.png", tmp_path / "flat.png"
    log(catalog, "--well", "A", "--step", 4, "--zones", "--png", one)
    log(catalog, "--well", "A", "--well", "B", "--flatten", "arab d", "--png", flat)
    for path in (one, flat):
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_bad_usage(catalog: Path, tmp_path: Path) -> None:
    both = ("--well", "A", "--well", "B")
    assert log(catalog, *both, "--las", tmp_path / "a.las").exit_code == 2
    assert log(catalog, *both, "--flatten", "Arab D").exit_code == 2
    for words, message in {
        ("--step", "ten"): "write it as 10 or 10ft",
        ("--step", "-3"): "give one above 0",
        ("--depth", "9:1"): "reversed",
        ("--depth", "1:2"): "at these depths",
        ("--zone-count", 90): "a smaller step",
        ("--flatten", "Nowhere", "--png", tmp_path / "a.png"): "Nowhere",
    }.items():
        with pytest.raises(McnError, match=message):
            log(catalog, *both, *words)
    words = ("--flatten", "Hith", "--png", tmp_path / "a.png")
    with pytest.raises(McnError, match="well 'B' has no top 'Hith'"):
        log(catalog, *both, *words)


def test_a_log_of_a_formation_as_svg_and_as_one_page(catalog: Path, tmp_path: Path) -> None:
    (tmp_path / "tops.csv").write_text("well,formation,depth_m\nA,Upper,1000\nA,Lower,1020\n")
    import_wells(Catalog.open(catalog), [str(tmp_path / "tops.csv")])
    files = [tmp_path / "a.svg", tmp_path / "a.html", tmp_path / "a.csv"]
    words = ["--svg", files[0], "--html", files[1], "--csv", files[2]]
    command = ["log", catalog, "--well", "A", "--formation", "lower", "--step", "10", *words]
    run = CliRunner().invoke(app, [str(word) for word in command])
    assert run.exit_code == 0, run.output
    assert files[0].read_text().lstrip().startswith("<?xml")
    assert files[1].read_text(encoding="utf-8").startswith("<!doctype html>")
    with files[2].open(newline="") as text:
        tops = [float(row["depth_top"]) for row in csv.DictReader(text)]
    assert tops == [1020.0, 1030.0]


def test_a_formation_outside_the_depths_is_refused(catalog: Path, tmp_path: Path) -> None:
    (tmp_path / "tops.csv").write_text("well,formation,depth_m\nA,Upper,1000\nA,Lower,1020\n")
    import_wells(Catalog.open(catalog), [str(tmp_path / "tops.csv")])
    command = ["log", str(catalog), "--well", "A", "--formation", "Upper", "--depth", "1030:1040"]
    run = CliRunner().invoke(app, command)
    assert isinstance(run.exception, McnError)
    assert "lies outside these depths" in str(run.exception)


def test_the_log_as_it_was_and_as_persons_corrected_it(catalog: Path) -> None:
    def shares(*words: object) -> list[float]:
        (entry,) = json.loads(log(catalog, "--well", "B", "--json", "--step", 40, *words).stdout)[
            "logs"
        ]
        return [row["fraction_rhombic"] for row in entry["intervals"]]

    opened = Catalog.open(catalog)
    rows = query(opened, ["B"], (1000.0, 1000.0))
    ids = rows.filter(pc.equal(rows["shape"], "rhombic"))["crystal_id"].to_pylist()
    change = Change("delete", rows["tile_id"][0].as_py(), "B", ids, seen=dict.fromkeys(ids))
    before = datetime.now(UTC).isoformat()
    correct(opened, change, "lab")
    assert shares("--as-of", before) == shares() == shares("--corrected", "--as-of", before)
    assert shares("--corrected")[0] < shares()[0]
    with pytest.raises(McnError, match="give a version from 0 to"):
        log(catalog, "--well", "B", "--as-of", "1999-01-01")


def test_seeds_below_0_are_bad_usage(catalog: Path) -> None:
    assert log(catalog, "--well", "A", "--seed", -1).exit_code == 2
