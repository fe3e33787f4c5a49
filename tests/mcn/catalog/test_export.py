"""Tests of `mcn.catalog.export`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO
from scipy.ndimage import label
from skimage.draw import polygon2mask

from mcn.catalog.export import export, outline_geometries, outline_geometry
from mcn.catalog.query import query
from mcn.catalog.schema import CRYSTALS
from mcn.catalog.store import CatalogError
from mcn.mask import decode_rle, encode_rle, masks_from_labels
from mcn.taxonomy import SHAPES


def test_coco_loads_and_its_masks_decode(core, tmp_path):
    out = tmp_path / "a.json"
    assert export(core, out, "coco", ["A"], (1200.0, 1230.0)) == 20
    coco = COCO(out)
    assert [row["name"] for row in coco.loadCats(coco.getCatIds())] == list(SHAPES)
    assert len(coco.getImgIds()) == 4
    assert coco.loadImgs(1)[0]["file_name"].endswith("a0.tif")
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 20
    for annotation in annotations[:3]:
        mask = coco.annToMask(annotation)
        assert mask.shape == (48, 64)
        assert mask.sum() == annotation["area"] == 30
        x, y, w, h = annotation["bbox"]
        assert mask[y : y + h, x : x + w].sum() == 30


def test_coco_keeps_tiles_without_crystals_and_leaves_out_failed_ones(core, tmp_path):
    export(core, tmp_path / "c.json", "coco", ["C"])
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["images"] == written["annotations"] == []


def test_coco_has_one_image_for_a_tile_of_several_models(
    catalog, make_tile, make_crystal, commit, tmp_path
):
    commit(catalog, (make_tile(), [make_crystal()]), (make_tile("none"), []))
    commit(catalog, (make_tile(segmenter="vit_h@ffffffffffff"), [make_crystal()]))
    assert export(catalog, tmp_path / "c.json") == 1
    assert len(json.loads((tmp_path / "c.json").read_text())["images"]) == 2


def test_geojson_outlines_crystals(core, tmp_path):
    assert export(core, tmp_path / "a.geojson", "geojson", ["B 2/Ü"]) == 1
    written = json.loads((tmp_path / "a.geojson").read_text())
    (feature,) = written["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert ring.min(axis=0).tolist() == [3.0, 4.0]
    assert ring.max(axis=0).tolist() == [8.0, 10.0]
    assert ring[0].tolist() == ring[-1].tolist()
    assert feature["properties"]["well"] == "B 2/Ü"
    assert feature["properties"]["uri"].endswith("b.tif")
    assert "mask_rle" not in feature["properties"]


def rasterised(geometry, shape) -> np.ndarray:
    """Pixels whose centre is inside; each ring is rasterized separately."""
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    drawn = np.zeros(shape, dtype=int)
    for outer, *holes in polygons:
        for sign, rings in ((1, [outer]), (-1, holes)):
            for ring in rings:
                rows_columns = np.array(ring)[:, ::-1] - 0.5
                drawn += sign * polygon2mask(shape, rows_columns)
    return drawn


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_outline_covers_the_mask(pixels):
    masks = masks_from_labels(pixels.astype(np.uint8))
    if not masks:
        return
    geometry = outline_geometry(encode_rle(masks, *pixels.shape)[0])
    assert np.array_equal(rasterised(geometry, pixels.shape), pixels)
    corners = set()
    parts = [geometry["coordinates"]]
    parts = parts[0] if geometry["type"] == "MultiPolygon" else parts
    for rings in parts:
        for index, ring in enumerate(rings):
            assert ring[0] == ring[-1]
            assert len(ring) >= 5
            x, y = np.array(ring).T
            area = (x[:-1] @ y[1:] - y[:-1] @ x[1:]) / 2
            assert (area > 0) == (index == 0)  # RFC 7946: holes run the opposite way
            # No point is repeated: no ring touches itself, a hole or another piece.
            assert len({*ring}) == len(ring) - 1
            assert not corners & {*ring}
            corners |= {*ring}
    assert len(parts) == label(pixels, np.ones((3, 3)))[1]


@given(
    st.lists(
        hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any),
        max_size=6,
    ),
    st.integers(0, 5),
)
def test_outlines_do_not_depend_on_other_masks(bitmaps, offset):
    rles = []
    for number, pixels in enumerate(bitmaps):
        picture = np.zeros((20, 30), dtype=np.uint8)
        picture[offset : offset + pixels.shape[0], number : number + pixels.shape[1]] = pixels
        rles += encode_rle(masks_from_labels(picture), 20, 30)
    rles.insert(len(rles) // 2, {"size": [20, 30], "counts": ""})
    geometries = outline_geometries(rles)
    assert geometries == [outline_geometry(rle) for rle in rles]
    for rle, geometry in zip(rles, geometries, strict=True):
        mask = decode_rle(rle)
        full = np.zeros((20, 30), dtype=bool)
        full[mask.y : mask.y + mask.pixels.shape[0], mask.x : mask.x + mask.pixels.shape[1]] = (
            mask.pixels
        )
        assert np.array_equal(rasterised(geometry, full.shape), full)


def test_pieces_holes_and_islands_are_kept():
    pixels = np.zeros((9, 14), dtype=np.uint8)
    pixels[1:8, 1:8] = 1
    pixels[2:7, 2:7] = 0  # a hole
    pixels[4, 4] = 1  # an island in it
    pixels[3, 11:13] = 1  # another piece
    geometry = outline_geometry(encode_rle(masks_from_labels(pixels), 9, 14)[0])
    assert geometry["type"] == "MultiPolygon"
    assert sorted(len(rings) for rings in geometry["coordinates"]) == [1, 1, 2]
    assert np.array_equal(rasterised(geometry, pixels.shape), pixels)


def test_geojson_has_no_geographic_coordinate_system(core, tmp_path):
    export(core, tmp_path / "a.geojson", "geojson", ["A"], (1200.0, 1210.0))
    written = json.loads((tmp_path / "a.geojson").read_text())
    assert written["type"] == "FeatureCollection"
    assert "crs" not in written
    assert written["coordinate_system"]["unit"] == "pixel"
    assert len(written["features"]) == 10
    shapes = query(core, ["A"], (1200.0, 1210.0))["shape"].to_pylist()
    properties = [feature["properties"] for feature in written["features"]]
    assert [crystal["classification"]["name"] for crystal in properties] == shapes
    assert {crystal["objectType"] for crystal in properties} == {"detection"}


def test_geojson_follows_the_rules_of_qupath(core, tmp_path):
    export(core, tmp_path / "a.geojson", "geojson")
    written = json.loads((tmp_path / "a.geojson").read_text())
    assert next(iter(written)) == "type"
    assert len({feature["id"] for feature in written["features"]}) == 201
    for feature in written["features"]:
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] in ("Polygon", "MultiPolygon")
        properties = feature["properties"]
        # A name, type or colour of another kind would be taken for QuPath's own.
        assert not {"name", "type", "color", "object_type"} & properties.keys()
        colour = properties["classification"]["color"]
        assert len(colour) == 3
        assert all(isinstance(part, int) and 0 <= part <= 255 for part in colour)
        measurements = properties["measurements"]
        assert measurements["confidence"] == properties["confidence"]
        # QuPath fails on a measurement that is null or no number.
        assert all(type(value) in (int, float) for value in measurements.values())


def test_csv_and_parquet_hold_the_rows_of_a_query(core, tmp_path):
    assert export(core, tmp_path / "a.parquet", "parquet") == 201
    assert pq.read_table(tmp_path / "a.parquet").equals(query(core))
    assert export(core, tmp_path / "a.csv", "csv", depth=(None, 100.0)) == 1
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == CRYSTALS.names


def test_a_failed_export_leaves_no_file(core, tmp_path):
    def refused(*arguments) -> str:
        with pytest.raises(CatalogError) as raised:
            export(core, *arguments)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "use one of coco, csv, parquet, geojson" in refused(tmp_path / "a", "shapefile")
    assert "no well 'Z'" in refused(tmp_path / "a", "coco", ["Z"])
    assert "no well 'Z'" in refused(tmp_path / "a", "csv", ["Z"])
    assert "is a folder" in refused(tmp_path)
    assert "cannot be written" in refused(tmp_path / "nowhere" / "a")
    assert list(tmp_path.iterdir()) == []
