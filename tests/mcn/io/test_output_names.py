"""The outputs of a picture with any name have unique file names that fit into a folder."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mcn.catalog.schema import picture_crystals
from mcn.cli.segment import analyze_files
from mcn.crystals import classified_schema
from mcn.io.output_names import one_line_name, output_names
from mcn.taxonomy import SHAPES

ODD = (
    "岩芯钻孔显微照片" * 4,
    "é" * 120,
    "n" * 250,
    "a\nb\tc",
    "quo\"te's",
    "100%25 done %20",
    "🪨💎",
    "-rf",
    "..x",
    "a::b",
    "a#b?c",
    "*[x]{y}",
    "$x^2$ and $",
    "\udce9t\udce9",
    " spaced ",
    "CON",
)


@given(st.lists(st.text(max_size=300), max_size=8))
def test_names_fit_into_a_folder_and_are_unique(images: list[str]) -> None:
    names = output_names([f"{image}.tif" for image in images])
    assert len({name.casefold() for name in names}) == len(images)
    for name in names:
        assert 0 < len(f"{name}.overlay.png".encode()) <= 255
        assert os.path.basename(name) == name
        assert not any(unicodedata.category(letter) == "Cc" for letter in name)
        assert not name.startswith((".", "-"))


def test_plain_names_stay_and_equal_ones_are_numbered() -> None:
    assert output_names(["a.tif", "s3://b/deep/c.png", "x.y.tif"]) == ["a", "c", "x.y"]
    assert output_names(["a.tif", "a.png", "a-1.tif"]) == ["a-1-1", "a-2", "a-1"]
    assert output_names(["d/..", "..", "", "/"]) == [f"image-{n}" for n in (1, 2, 3, 4)]


def test_messages_take_one_line() -> None:
    for name in ODD:
        shown = one_line_name(name)
        assert shown.splitlines() == [shown]
        shown.encode()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pixels = np.full((80, 100), 60, dtype=np.uint8)
    pixels[20:50, 30:60] = 180
    path = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


@pytest.mark.filterwarnings("error:Glyph")
def test_pictures_of_any_name_are_analysed(tmp_path: Path, picture: bytes) -> None:
    images = []
    for name in ODD:
        path = tmp_path / f"{name}.png"
        if len(os.fsencode(path.name)) <= 255:
            path.write_bytes(picture)
            images.append(str(path))
    assert len(images) >= len(ODD) - 1
    report, failed = analyze_files(images, tmp_path / "out", "watershed")
    assert failed == []
    assert len({Path(image["overlay"]) for image in report["images"]}) == len(images)
    for image, name in zip(report["images"], images, strict=True):
        assert Path(image["overlay"]).is_file()
        assert (image["image"], image["pages"]) == (name, 1)
        assert len(image["crystals"]) == 1
    read = json.loads((tmp_path / "out" / "crystals.json").read_text())
    assert [image["image"] for image in read["images"]] == images


@pytest.mark.parametrize("name", [*ODD, "x" * 5000])
def test_rows_of_a_picture_of_any_name(name: str) -> None:
    no_crystals = classified_schema(SHAPES).empty_table()
    assert picture_crystals(name, no_crystals, "a@1", "b@1").num_rows == 0
