"""The catalogue over HTTP gives the same as elsewhere, page by page."""

import io
from pathlib import Path
from urllib.parse import quote

import httpx
import lasio
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from PIL import Image

from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.depth_log.zones import find_zones
from mcn.catalog.formats import row_objects
from mcn.catalog.query import query
from mcn.catalog.store import Catalog
from mcn.catalog.textures.table import texture_table
from mcn.micrograph import read_micrograph

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def rows(scanned: Path) -> pa.Table:
    return query(Catalog.open(scanned / "catalog"))


@pytest.fixture(scope="module")
def well(rows: pa.Table) -> str:
    return str(rows["well"][0].as_py())


def well_path(well: str, resource: str) -> str:
    return f"/v1/wells/{quote(well, safe='')}/{resource}"


def test_wells(lab: httpx.Client, rows: pa.Table, well: str) -> None:
    (summary,) = lab.get("/v1/wells").json()["wells"]
    assert (summary["well"], summary["tiles"], summary["crystals"]) == (well, 3, rows.num_rows)
    assert summary["depth_min_m"] == rows["depth_m"][0].as_py()


def test_pages_have_every_crystal_once(lab: httpx.Client, rows: pa.Table, well: str) -> None:
    crystals, cursor = [], None
    while True:
        params = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        answer = lab.get(well_path(well, "crystals"), params=params)
        page = answer.json()
        crystals += page["crystals"]
        assert ("next" in answer.links) == (page["next"] is not None)
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["crystals"]) == 100
    assert crystals == row_objects(rows)


def test_textures_and_zones_are_those_of_the_catalogue(
    lab: httpx.Client, scanned: Path, well: str
) -> None:
    catalog = Catalog.open(scanned / "catalog")
    for step in (None, 25.0):
        params = {} if step is None else {"step": step}
        textures = lab.get(well_path(well, "textures"), params=params).json()["textures"]
        assert textures == row_objects(texture_table(catalog, well, step))
        assert textures
        zones = lab.get(well_path(well, "log"), params={**params, "zones": True}).json()
        assert zones == row_objects(find_zones(depth_log(catalog, well, step)))
    many = lab.get(well_path(well, "log"), params={"zones": True, "zone_count": 90})
    assert many.status_code == 422
    assert "90 zones cannot be found" in many.json()["detail"]
    for resource in ("textures", "log"):
        assert lab.get(well_path("Nowhere-9", resource)).status_code == 404


def test_other_formats_have_the_same_rows(lab: httpx.Client, rows: pa.Table, well: str) -> None:
    answer = lab.get(well_path(well, "crystals"), params={"limit": 5000}, headers={"Accept": ARROW})
    with pa.ipc.open_stream(io.BytesIO(answer.content)) as reader:
        assert reader.read_all().equals(rows)
    text = lab.get(
        well_path(well, "crystals"), params={"limit": 5000}, headers={"Accept": "text/csv"}
    )
    table = pa.csv.read_csv(io.BytesIO(text.content))
    assert table["crystal_id"].to_pylist() == rows["crystal_id"].to_pylist()
    link = lab.get(
        well_path(well, "crystals"), params={"limit": 7}, headers={"Accept": ARROW}
    ).links
    following = lab.get(link["next"]["url"], headers={"Accept": ARROW})
    with pa.ipc.open_stream(io.BytesIO(following.content)) as reader:
        assert reader.read_all().equals(rows.slice(7, 7))


def test_queries_are_filtered(lab: httpx.Client, rows: pa.Table, well: str) -> None:
    depth = rows["depth_m"][0].as_py()
    params = {"depth": f":{depth}", "shape": ["rhombic", "spherical"], "limit": 5000}
    result = lab.get(well_path(well, "crystals"), params=params).json()["crystals"]
    assert result == [
        row
        for row in row_objects(rows)
        if row["depth_m"] <= depth and row["shape"] in ("rhombic", "spherical")
    ]
    in_feet = {"depth": f":{depth / 0.3048:.6f} ft", "limit": 5000}
    result = lab.get(well_path(well, "crystals"), params=in_feet).json()["crystals"]
    assert {row["depth_m"] for row in result} == {depth}
    models = {"segmenter": rows["segmenter"][0].as_py()[:-6], "classifier": "nsr", "limit": 5000}
    result = lab.get(well_path(well, "crystals"), params=models).json()["crystals"]
    assert result == row_objects(rows)
    result = lab.get(well_path(well, "log"), params=models).json()
    assert result == lab.get(well_path(well, "log")).json()


def test_the_log_in_every_format(lab: httpx.Client, well: str) -> None:
    def ask(form: str) -> httpx.Response:
        answer = lab.get(well_path(well, "log"), params={"step": 20}, headers={"Accept": form})
        assert answer.headers["content-type"].startswith(form)
        return answer

    intervals = ask("application/json").json()
    las = lasio.read(io.StringIO(ask("text/plain").text))
    assert las.well["WELL"].value == well
    np.testing.assert_allclose(las["NCRY"], [row["n_crystals"] for row in intervals])
    assert pa.csv.read_csv(io.BytesIO(ask("text/csv").content)).num_rows == len(intervals)
    assert Image.open(io.BytesIO(ask("image/png").content)).width > 300


def test_a_tile_and_its_picture(
    lab: httpx.Client, rows: pa.Table, well: str, scanned: Path
) -> None:
    tile_id = rows["tile_id"][0].as_py()
    for params in ({}, {"well": well}):
        tile_info = lab.get(f"/v1/tiles/{tile_id}", params=params).json()
        (row,) = tile_info["rows"]
        assert (row["tile_id"], row["status"], row["well"]) == (tile_id, "ok", well)
        picture = lab.get(f"/v1/tiles/{tile_id}/image", params=params)
        pixels = np.asarray(Image.open(io.BytesIO(picture.content)))
        assert "/" not in row["uri"], "readers see no folders of the server"
        (path,) = scanned.glob(f"core/well=*/depth=*/{row['uri']}")
        np.testing.assert_array_equal(pixels, read_micrograph(path).pixels)


@pytest.mark.parametrize(
    ("path", "params", "status", "reason"),
    [
        ("/v1/wells/none/crystals", {}, 404, "no well 'none'"),
        ("/v1/wells/none/log", {}, 404, "no well 'none'"),
        ("/v1/wells/..%2F..%2Fetc/crystals", {}, 404, "no well '../../etc'"),
        ("/v1/wells/{well}/crystals", {"shape": "cubic"}, 422, "no shape 'cubic'"),
        ("/v1/wells/{well}/crystals", {"depth": "2:1"}, 422, "reversed"),
        ("/v1/wells/{well}/crystals", {"depth": "deep"}, 422, "not a range"),
        ("/v1/wells/{well}/crystals", {"depth": "4100ft:4000ft"}, 422, "4000ft:4100ft"),
        ("/v1/wells/{well}/crystals", {"depth": "1200km:"}, 422, "unknown unit 'km'"),
        ("/v1/wells/{well}/crystals", {"depth": "nan:"}, 422, "not a range"),
        ("/v1/wells/{well}/crystals", {"segmenter": "other@0"}, 422, "use one of compact@"),
        ("/v1/wells/{well}/crystals", {"classifier": "other"}, 422, "use one of nsr@"),
        ("/v1/wells/{well}/log", {"segmenter": ""}, 422, "use one of compact@"),
        ("/v1/wells/{well}/log", {"classifier": "other"}, 422, "use one of nsr@"),
        ("/v1/tiles/{zeros}", {"segmenter": "other"}, 422, "use one of compact@"),
        ("/v1/wells/{well}/crystals", {"limit": 0}, 422, "limit"),
        ("/v1/wells/{well}/crystals", {"cursor": "e30="}, 422, "cursor"),
        ("/v1/wells/{well}/crystals", {"cursor": "%%"}, 422, "cursor"),
        ("/v1/wells/{well}/log", {"step": 1e-9}, 422, "step"),
        ("/v1/wells/{well}/log", {"step": "nan"}, 422, "step"),
        ("/v1/tiles/{zeros}", {}, 404, "no tile"),
        ("/v1/tiles/{zeros}", {"well": "none"}, 404, "no well"),
        ("/v1/tiles/file:%2F%2F%2Fetc%2Fpasswd/image", {}, 404, "Not Found"),
        ("/v1/tiles/passwd/image", {}, 422, "tile_id"),
    ],
)
def test_missing_objects_are_named(
    lab: httpx.Client, well: str, path: str, params: dict[str, object], status: int, reason: str
) -> None:
    answer = lab.get(path.format(well=quote(well), zeros="0" * 32), params=params)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["detail"]
