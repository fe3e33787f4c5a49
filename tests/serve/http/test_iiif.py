"""Regions and sizes are read as the IIIF Image API says."""

import pytest

from mcn.micrograph.pyramid import Region
from serve.http.errors import Problem
from serve.http.iiif import TILE, information, parse_region

WIDTH, HEIGHT = 1000, 600


@pytest.mark.parametrize(
    ("region", "size", "expected"),
    [
        ("full", "max", Region(0, 0, 1000, 600, 1000, 600)),
        ("square", "max", Region(200, 0, 600, 600, 600, 600)),
        ("10,20,300,200", "150,", Region(10, 20, 300, 200, 150, 100)),
        ("10,20,300,200", ",50", Region(10, 20, 300, 200, 75, 50)),
        ("10,20,300,200", "30,40", Region(10, 20, 300, 200, 30, 40)),
        ("full", "!200,200", Region(0, 0, 1000, 600, 200, 120)),
        ("full", "!5000,5000", Region(0, 0, 1000, 600, 1000, 600)),
        ("full", "pct:10", Region(0, 0, 1000, 600, 100, 60)),
        ("pct:50,50,25,50", "max", Region(500, 300, 250, 300, 250, 300)),
        ("900,500,512,512", "max", Region(900, 500, 100, 100, 100, 100)),
    ],
)
def test_regions_and_sizes(region: str, size: str, expected: Region) -> None:
    assert parse_region(region, size, WIDTH, HEIGHT) == expected


@pytest.mark.parametrize(
    ("region", "size"),
    [
        ("everything", "max"),
        ("1,2,3", "max"),
        ("-1,0,5,5", "max"),
        ("1000,0,5,5", "max"),
        ("0,0,0,5", "max"),
        ("full", "1001,"),
        ("full", "0,"),
        ("full", "!0,5"),
        ("full", "^max"),
        ("full", ","),
        ("full", "pct:101"),
        ("full", "9" * 50 + ","),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(region: str, size: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_region(region, size, WIDTH, HEIGHT)
    assert refused.value.status == 400
    assert refused.value.detail.startswith(("region: ", "size: "))


@pytest.mark.parametrize(("width", "height"), [(100, 80), (1024, 884), (8000, 6250)])
def test_every_tile_of_the_information_can_be_asked_for(width: int, height: int) -> None:
    document = information("http://here/v1/iiif/a", width, height)
    assert document["sizes"][-1] == {"width": width, "height": height}
    (tiles,) = document["tiles"]
    assert max(width, height) / tiles["scaleFactors"][-1] <= TILE
    for factor in tiles["scaleFactors"]:
        side = TILE * factor
        for x in range(0, width, side):
            for y in range(0, height, side):
                wide, high = min(side, width - x), min(side, height - y)
                # As viewers ask: sizes are rounded up.
                size = f"{-(-wide // factor)},{-(-high // factor)}"
                assert parse_region(f"{x},{y},{wide},{high}", size, width, height)
