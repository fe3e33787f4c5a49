"""An uploaded picture gives the same results as a scan, in the requested form."""

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from mcn.catalog.formats import row_objects
from mcn.catalog.query import query
from mcn.catalog.schema import tile_id
from mcn.catalog.store import Catalog
from mcn.crops import cut_crops
from mcn.mask import decode_rle
from mcn.micrograph import read_micrograph

TIFF = {"Content-Type": "image/tiff"}
OWN = {"crystal_id", "tile_id", "well", "depth_m", "depth_bin", "scanned_at"}


@pytest.fixture(scope="module")
def analysis(endpoint, tile: Path):  # type: ignore[no-untyped-def]
    with endpoint.client() as client:
        answer = client.post("/v1/analyze", content=tile.read_bytes(), headers=TIFF)
    assert answer.status_code == 200, answer.text
    return answer.json()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_posted_and_scanned_give_identical_crystals(analysis, scanned: Path, tile: Path) -> None:
    rows = query(Catalog.open(scanned / "catalog"))
    scan = [row for row in row_objects(rows) if row["tile_id"] == tile_id(f"file://{tile}")]
    assert len(scan) == len(analysis["crystals"]) > 50
    for posted, row in zip(analysis["crystals"], scan, strict=True):
        for name in row.keys() - OWN:
            # The catalogue stores scores in 32 bits; JSON has all 64.
            if isinstance(row[name], float):
                assert posted[name] == pytest.approx(row[name], rel=1e-6), name
            else:
                assert posted[name] == row[name], name


def test_a_form_gives_the_same_as_a_raw_body(lab: httpx.Client, analysis, tile: Path) -> None:
    form = {"image": ("sample.tif", tile.read_bytes(), "image/tiff")}
    result = lab.post("/v1/analyze", files=form).json()
    assert result["image"] == "sample.tif"
    assert [c["area_px"] for c in result["crystals"]] == [
        c["area_px"] for c in analysis["crystals"]
    ]


@pytest.mark.parametrize(
    "name",
    ["岩" * 30 + ".tif", "é" * 120 + ".tif", "a::b#c?d%20e.tif", "$x^2_$ {y} [z]*.tif", "🪨"],
)
def test_a_picture_may_have_any_name(lab: httpx.Client, name: str) -> None:
    pixels = np.full((64, 64), 40, np.uint8)
    pixels[20:40, 20:40] = 200
    form = {"image": (name, png(pixels), "image/png")}
    answer = lab.post("/v1/analyze", files=form)
    assert answer.status_code == 200
    assert (answer.json()["image"], answer.json()["pages"]) == (name, 1)
    drawn = lab.post("/v1/analyze", files=form, headers={"Accept": "image/png"})
    assert drawn.status_code == 200


def test_options_change_the_response(lab: httpx.Client, analysis, tile: Path) -> None:
    def post(**params: object):  # type: ignore[no-untyped-def]
        return lab.post("/v1/analyze", params=params, content=tile.read_bytes(), headers=TIFF)

    sized = post(pixel_size_um=0.5, masks="none", min_confidence=0.8).json()
    assert (sized["pixel_size_um"], sized["pixel_size_source"]) == (0.5, "manifest")
    assert len(sized["crystals"]) == sum(c["confidence"] >= 0.8 for c in analysis["crystals"])
    assert 0 < len(sized["crystals"]) < len(analysis["crystals"])
    assert not {"mask_rle", "mask_polygons"} & sized["crystals"][0].keys()
    first = sized["crystals"][0]
    assert first["equivalent_diameter_um"] == pytest.approx(first["equivalent_diameter_px"] * 0.5)

    (crystal, *_) = post(masks="polygons", model="compact").json()["crystals"]
    assert crystal["mask_polygons"]["type"] in ("Polygon", "MultiPolygon")
    assert "mask_rle" not in crystal
    refused = post(model="vit_h")
    assert refused.status_code == 422
    assert analysis["segmenter"] in refused.json()["detail"]


def test_an_overlay_on_request(lab: httpx.Client, tile: Path) -> None:
    headers = {**TIFF, "Accept": "image/png"}
    answer = lab.post("/v1/analyze", content=tile.read_bytes(), headers=headers)
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
    colours = np.asarray(picture).reshape(-1, 3).astype(int)
    assert (np.ptp(colours, axis=1) > 60).mean() > 0.02, "outlines are coloured"
    refused = lab.post("/v1/analyze", content=b"", headers={"Accept": "text/csv", **TIFF})
    assert refused.status_code == 406


def test_a_batch_gives_one_result_per_picture(lab: httpx.Client, tile: Path) -> None:
    files = [
        ("image", ("a.tif", tile.read_bytes(), "image/tiff")),
        ("image", ("b.tif", b"no picture", "image/tiff")),
        ("image", ("c.png", png(np.zeros((40, 50), np.uint8)), "image/png")),
    ]
    first, second, third = lab.post("/v1/analyze:batch", files=files).json()["images"]
    assert len(first["crystals"]) > 50
    assert (second["image"], second["status"]) == ("b.tif", 422)
    assert "not TIFF, PNG or JPEG" in second["detail"]
    assert (third["width"], third["height"], third["crystals"]) == (50, 40, [])
    many = [("image", (f"{n}.png", png(np.zeros((8, 8), np.uint8)))) for n in range(17)]
    assert lab.post("/v1/analyze:batch", files=many).status_code == 422


def test_clicks_and_boxes(lab: httpx.Client, analysis, tile: Path) -> None:
    largest = max(analysis["crystals"], key=lambda crystal: crystal["area_px"])
    box = [
        largest["bbox_x"],
        largest["bbox_y"],
        largest["bbox_x"] + largest["bbox_w"],
        largest["bbox_y"] + largest["bbox_h"],
    ]

    def post(prompts: object):  # type: ignore[no-untyped-def]
        files = {"image": ("a.tif", tile.read_bytes(), "image/tiff")}
        return lab.post("/v1/segment", files=files, data={"prompts": json.dumps(prompts)})

    (mask,) = post({"boxes": [box]}).json()["masks"]
    predicted, intended = decode_rle(mask["mask_rle"]), decode_rle(largest["mask_rle"])
    planes = np.zeros((2, analysis["height"], analysis["width"]), bool)
    for plane, mask_part in zip(planes, (predicted, intended), strict=True):
        plane[
            mask_part.y : mask_part.y + mask_part.pixels.shape[0],
            mask_part.x : mask_part.x + mask_part.pixels.shape[1],
        ] = mask_part.pixels
    assert (planes[0] & planes[1]).sum() / (planes[0] | planes[1]).sum() > 0.6
    assert len(post({"points": [[100, 100], [400, 300]]}).json()["masks"]) == 2

    for wrong, reason in (
        ({"points": [[-5, 2]]}, "must lie in the image"),
        ({"point": [[1, 2]]}, "prompts.point"),
        ({}, "no prompt"),
        ({"boxes": [[5, 5, 5, 5]]}, "box"),
    ):
        refused = post(wrong)
        assert refused.status_code == 422, refused.text
        assert reason in refused.json()["detail"]


def test_crops_are_classified_and_explained(lab: httpx.Client, analysis, tile: Path) -> None:
    micrograph = read_micrograph(tile)
    sure = sorted(analysis["crystals"], key=lambda crystal: -crystal["confidence"])[:3]
    crops = cut_crops(micrograph.analysed, [decode_rle(crystal["mask_rle"]) for crystal in sure])
    files = [("crop", (f"{n}.png", png(crop))) for n, crop in enumerate(crops)]
    result = lab.post("/v1/classify", files=files).json()
    assert result["classifier"] == analysis["classifier"]
    for crop, crystal in zip(result["crops"], sure, strict=True):
        assert (crop["shape"], crop["facet"]) == (crystal["shape"], crystal["facet"])
        assert crop["confidence"] == pytest.approx(crystal["confidence"], abs=1e-3)
        assert sum(crop["probabilities"].values()) == pytest.approx(1)

    heat = lab.post("/v1/explain", files=files[:1]).json()
    assert heat["shape"] == sure[0]["shape"]
    assert np.array(heat["heat"]).shape == (64, 64)
    assert np.max(heat["heat"]) == pytest.approx(1)
    other = lab.post("/v1/explain", files=files[:1], params={"shape": "spherical"}).json()
    assert other["shape"] == "spherical"
    picture = lab.post("/v1/explain", files=files[:1], headers={"Accept": "image/png"})
    assert Image.open(io.BytesIO(picture.content)).size == (256, 256)

    wrong = {"crop": ("big.png", png(np.zeros((65, 64), np.uint8)))}
    refused = lab.post("/v1/classify", files=wrong)
    assert refused.status_code in (413, 422)
    assert "big.png" in refused.json()["detail"]
    assert lab.post("/v1/explain", files=files[:1], params={"shape": "cubic"}).status_code == 422


def test_models_are_reported(lab: httpx.Client, analysis) -> None:
    models = lab.get("/v1/models").json()
    assert models["segmenter"] == analysis["segmenter"]
    assert models["shapes"] == ["rhombic", "polyhedral", "amorphous", "spherical"]


def test_metrics_count_crystals(endpoint, lab: httpx.Client, tile: Path) -> None:
    def metric_value(name: str, labels: str = "") -> float:
        with endpoint.client("operator") as client:
            text = client.get("/metrics").text
        lines = [x for x in text.splitlines() if x.startswith((name + "{", name + " "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if labels in line)

    before = (
        metric_value("mcn_serve_crystals_total"),
        metric_value("mcn_serve_stage_seconds_count", "segment"),
    )
    result = lab.post("/v1/analyze", content=tile.read_bytes(), headers=TIFF).json()
    after = (
        metric_value("mcn_serve_crystals_total"),
        metric_value("mcn_serve_stage_seconds_count", "segment"),
    )
    assert after[0] - before[0] == len(result["crystals"])
    assert after[1] - before[1] == 1
    assert metric_value("mcn_serve_in_flight") == 1, "this request"
    assert metric_value("mcn_serve_catalog_age_seconds") > 0
    assert metric_value("mcn_serve_requests_total", 'route="/v1/analyze",status="200"') >= 1
