"""Data in the folder layout of the MicroCrystalNet authors are read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.classify.data.authors import list_authors, read_authors
from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.readers import read_examples
from mcn.crops import cut_crops
from mcn.mask import masks_from_labels
from mcn.taxonomy import CALCITE, SHAPES


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """Sheets of two micrographs with two crystals each, in the authors' layout."""
    rng = np.random.default_rng(0)
    for folder in ("A1", "B2"):
        crops = tmp_path / "data" / folder / "_Non-uniform"
        crops.mkdir(parents=True)
        for label in (1, 2):
            pixels = rng.integers(1, 255, (30, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(crops / f"{folder}_{label}.tif")
        (crops.parent / f"{folder}_Issac.csv").write_text(
            "Label No.,Class ,Form\n1,Anhedral,Rounded\n,,\n2.0,Euhedral to subhedral,rhombic\n"
        )
    return tmp_path / "data"


def test_the_authors_layout_is_read_sheet_by_sheet(authors: Path) -> None:
    examples = read_examples(authors)
    assert [SHAPES[place] for place in examples.classes] == ["spherical", "rhombic"] * 2
    assert examples.groups.tolist() == [0, 0, 1, 1]
    pixels = np.asarray(Image.open(authors / "A1" / "_Non-uniform" / "A1_2.tif"))
    (expected,) = cut_crops(pixels, masks_from_labels((pixels > 0).astype(np.uint8)))
    assert np.array_equal(examples.crops[1], expected)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("Label No.,Class\n1,Anhedral", "its columns are Label No., Class; it needs 'Label No.'"),
        ("Label No.,Class,Form\n1,Anhedral,cubic", "A1_Issac.csv row 1: unknown shape 'cubic'"),
        ("Label No.,Class,Form\n7,Anhedral,rounded", "row 1: .*A1_7.tif does not exist"),
        ("Label No.,Class,Form\nx,Anhedral,rounded", "row 1: label 'x' is not a number"),
        ("Label No.,Class,Form\n1,Anhedral,Rhombic", "row 1: Rhombic crystals are euhedral to sub"),
    ],
)
def test_invalid_rows_of_a_sheet_are_named(authors: Path, rows: str, reason: str) -> None:
    (authors / "A1" / "A1_Issac.csv").write_text(rows)
    with pytest.raises(ExamplesError, match=reason):
        read_examples(authors)


def test_crops_may_be_beside_the_folders_of_the_sheets(authors: Path) -> None:
    crop_folder = authors / "A1" / "_Non-uniform"
    shared = authors / "_Non-uniform"
    crop_folder.rename(shared)
    sheet, other = list_authors(authors)
    assert (sheet.parent.name, other.parent.name) == ("A1", "B2")
    crops = list(read_authors([sheet], CALCITE))
    assert [crop.file for crop in crops] == [shared / "A1_1.tif", shared / "A1_2.tif"]
    assert {crop.micrograph for crop in crops} == {str(sheet)}
    assert crops[0].origin.endswith("A1_Issac.csv row 1")
