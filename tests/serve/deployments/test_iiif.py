"""What addresses of the IIIF Image API ask for; see also the routes."""

import pytest

from serve.deployments.iiif import PictureView, ViewError, picture_info, read_view


@pytest.mark.parametrize(
    ("region", "size", "expected"),
    [
        ("full", "max", PictureView(0, 0, 1000, 600, 1000, 600, "jpg")),
        ("square", "max", PictureView(200, 0, 600, 600, 600, 600, "jpg")),
        ("900,500,512,512", "100,", PictureView(900, 500, 100, 100, 100, 100, "jpg")),
        ("pct:10,10,50,50", "!100,100", PictureView(100, 60, 500, 300, 100, 60, "jpg")),
        ("full", ",1", PictureView(0, 0, 1000, 600, 2, 1, "jpg")),
        ("0,0,1,600", "pct:1", PictureView(0, 0, 1, 600, 1, 6, "jpg")),
    ],
)
def test_regions_and_sizes(region: str, size: str, expected: PictureView) -> None:
    assert read_view((region, size, "0", "default", "jpg"), 1000, 600) == expected


@pytest.mark.parametrize("region", ["1e9,0,1,1", "nan,0,1,1", "", "pct:", "0,0,1,1,1", "٣,0,9,9"])
def test_other_regions_are_refused(region: str) -> None:
    with pytest.raises(ViewError):
        read_view((region, "max", "0", "default", "jpg"), 1000, 600)


def test_the_tiles_of_a_large_picture() -> None:
    info = picture_info("http://host/a", 8192, 6144)
    assert info["tiles"] == [{"width": 512, "scaleFactors": [1, 2, 4, 8, 16]}]
    assert info["sizes"][0] == {"width": 512, "height": 384}
