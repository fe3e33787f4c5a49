"""Tests of `mcn.catalog.depth_log.las`, with a reader at its default settings."""

from __future__ import annotations

import json
import re

import lasio
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.catalog.depth_log.columns import depth_log_schema
from mcn.catalog.depth_log.las import curve_mnemonics, las_text, to_ascii, write_las
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.storage import CatalogError
from mcn.taxonomy import SHAPES, Taxonomy, TaxonomyError

FIXED = ["DEPT", "NTIL", "NCRY", "FEUH", "DMEAN", "DQ25", "DMED", "DQ75", "CAF"]
CLASSES = [
    SHAPES,
    ("planar_e", "planar_s", "nonplanar"),
    ("rhombic", "rhombohedral"),
    ("rhom", "rhomb", "rhombic"),
    ("euh", "sub"),
    ("euh", "euh1", "euh2", "euhedral"),
    ("dept", "ntil", "caf"),
    ("Rhombic", "rhombic", "RHOMBIC"),
    ("rhömbic", "rhombic", "rhòmbic"),
    ("a" * 40, "a" * 39 + "b", "a" * 38 + "bb"),
    ("菱面", "菱面体", "球形"),
    ("ромб", "шар", "معين"),
    ("1st", "2nd", "12", "123"),
    ("a.b", "a:b", "a b", "a_b", "!!", "??", "-"),
    ("\u200b", "\ue000", "😀"),
    tuple(f"shape_{number}" for number in range(64)),
]


def example_log(
    shapes=SHAPES, top=(1200.0, 1210.0, 1220.0), base=(1210.0, 1220.0, 1230.0)
) -> pa.Table:
    """A log in which every column has different numbers."""
    schema = depth_log_schema(shapes)
    columns = [pa.array(top, pa.float64()), pa.array(base, pa.float64())]
    for number in range(2, len(schema)):
        values = [number + row / 8 for row in range(len(top))]
        kind = schema.field(number).type
        column = pa.array(values if kind == pa.float64() else np.floor(values))
        columns.append(column.cast(kind))
    return pa.table(columns, schema=schema)


def read(tmp_path, log: pa.Table, well: str = "A-1") -> lasio.LASFile:
    """Write a log and read it back with the reader's defaults."""
    write_las(log, well, tmp_path / "log.las")
    assert (tmp_path / "log.las").read_bytes().isascii()
    return lasio.read(tmp_path / "log.las")


@pytest.mark.parametrize("shapes", CLASSES, ids=lambda shapes: shapes[0][:12])
def test_every_class_list_has_one_curve_per_shape(tmp_path, shapes):
    log = example_log(shapes)
    las = read(tmp_path, log)
    names = [curve.mnemonic for curve in las.curves]
    mnemonics = curve_mnemonics(shapes)
    expected = [*FIXED[:3], *(mnemonics[shape] for shape in shapes), *FIXED[3:]]
    assert names[: len(expected)] == expected
    assert len(names) == len(log.column_names) - 1  # top and base are one curve
    assert len({name.casefold() for name in names}) == len(names)
    assert all(re.fullmatch("[A-Z][A-Z0-9]{0,7}", name) for name in expected)
    assert all(re.fullmatch("[A-Z][A-Z0-9]*", name) for name in names)
    for shape in shapes:
        assert las[mnemonics[shape]].tolist() == log[f"fraction_{shape}"].to_pylist()
    assert las["DMEDCL"].tolist() == log["low_corrected_median_equivalent_diameter_um"].to_pylist()
    comments = re.findall(r"^# (\w+) (\".*\")$", (tmp_path / "log.las").read_text(), re.MULTILINE)
    true_names = {key: json.loads(name) for key, name in comments}
    assert true_names == {"WELL": "A-1"} | {mnemonics[shape]: shape for shape in shapes}


def test_mnemonics_of_known_lists():
    assert list(curve_mnemonics(SHAPES).values()) == ["FRHOM", "FPOLY", "FAMOR", "FSPHE"]
    assert curve_mnemonics(CLASSES[1]) == {
        "planar_e": "FPLANARE",
        "planar_s": "FPLANARS",
        "nonplanar": "FNONP",
    }
    assert list(curve_mnemonics(CLASSES[2]).values()) == ["FRHOMBI", "FRHOMBO"]
    assert curve_mnemonics(["euh"]) == {"euh": "FEUH1"}
    assert curve_mnemonics(["菱面"]) == {"菱面": "FLING"}


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20, unique=True))
def test_mnemonics_are_unique_whatever_the_names(shapes):
    names = [*FIXED, *curve_mnemonics(shapes).values()]
    assert len({*names}) == len(names)
    assert all(re.fullmatch("[A-Z][A-Z0-9]*", name) for name in names)
    assert curve_mnemonics(shapes) == curve_mnemonics(shapes)


@pytest.mark.parametrize(
    ("well", "ascii_name"),
    [
        ("A-12", "A-12"),
        ("Ü 2/Ø", "U 2/O"),
        ("U\u0308 2", "U 2"),
        ("大庆-1", "DaQing-1"),
        ("Скважина №7", "Skvazhina No7"),
        ("A: 7", "A- 7"),
        ("A\n7\t8\x00\x7f9", "A 7 8 9"),
        ("a.b.c", "a.b.c"),
        ("5 µm", "5 um"),
        ("حقل النفط", "hql alnft"),
        ("شـركة", "shrkh"),
        ("\ue000", "U+E000"),
        ("# ~A", "# ~A"),
        ("W" * 240, "W" * 240),
        ("x" * 100 + "大" * 45, "x" * 100 + "Da" * 45),
    ],
)
def test_wells_are_read_back_in_ascii(tmp_path, well, ascii_name):
    las = read(tmp_path, example_log(), well)
    assert las.well["WELL"].value == las.well["UWI"].value == to_ascii(well) == ascii_name
    (line,) = re.findall(r"^# WELL (.*)$", (tmp_path / "log.las").read_text(), re.MULTILINE)
    assert json.loads(line) == well


def test_a_well_that_is_a_number_keeps_its_zeros(tmp_path):
    assert read(tmp_path, example_log(), "007").well["UWI"].value == "007"


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=60))
def test_any_well_name_gives_a_readable_file(well):
    text = las_text(example_log(), well, SHAPES)
    assert text.isascii()
    las = lasio.read(text)
    assert las["DEPT"].tolist() == [1205.0, 1215.0, 1225.0]
    assert (las.well["STRT"].value, las.well["NULL"].value) == (1205.0, -999.25)


@pytest.mark.parametrize(
    ("edges", "step"),
    [
        ([1200.0, 1210.0, 1220.0, 1230.0], 10.0),
        ([-10.0, 0.0, 10.0], 10.0),
        ([0.0, 0.3, 0.6, 0.9, 1.2], 0.3),
        ([5000.0, 5000.0001, 5000.0002, 5000.0003], 0.0001),
        ([1200.0, 1210.0], 10.0),
        ([1200.0, 1210.0, 1230.0, 1235.0], 0.0),
        ([123456.7, 123456.8, 123457.0, 123457.5], 0.0),
    ],
)
def test_start_stop_and_step_match_the_depths(tmp_path, edges, step):
    las = read(tmp_path, example_log(top=edges[:-1], base=edges[1:]))
    depths = las["DEPT"]
    assert depths == pytest.approx((np.array(edges[:-1]) + edges[1:]) / 2, rel=1e-11)
    assert (las.well["STRT"].value, las.well["STOP"].value) == (depths[0], depths[-1])
    assert las.well["STEP"].value == step
    assert {las.well[name].unit for name in ("STRT", "STOP", "STEP")} == {"M"}


def test_missing_rows_make_the_step_zero(core, tmp_path):
    log = depth_log(core, "A", 10.0)
    las = read(tmp_path, pa.concat_tables([log.slice(0, 3), log.slice(5)]))
    assert las.well["STEP"].value == 0.0


def test_only_known_header_fields_are_filled_in(core, tmp_path):
    las = read(tmp_path, depth_log(core, "A", 50.0), "A")
    expected = {"STRT", "STOP", "STEP", "NULL", "WELL", "UWI", "SRVC", "DATE"}
    filled = {item.mnemonic for item in las.well if item.value not in ("", None)}
    assert filled == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", las.well["DATE"].value)
    assert las.params["SEGM"].value == "compact@0123456789ab"
    assert las.params["CLAS"].value == "nsr@0123456789ab"
    for mnemonic in ("COMP", "FLD", "LOC", "API"):
        assert las.well[mnemonic].value == ""


def test_no_shape_has_the_name_of_the_facet_column():
    with pytest.raises(TaxonomyError, match="give the shape another name"):
        Taxonomy({"euhedral_to_subhedral": "euhedral", "other": "anhedral"})


def test_las_reads_back(core, tmp_path):
    log = depth_log(core, "A", 25.0)
    write_las(log, "A: 7\nÜ", tmp_path / "a.las")
    las = lasio.read(tmp_path / "a.las")
    assert las.well["WELL"].value == "A- 7 U"
    assert las.well["NULL"].value == -999.25
    assert (las.well["STRT"].value, las.well["STEP"].value) == (1212.5, 25.0)
    assert las.curves["DEPT"].unit == "M"
    assert las.curves["DMEAN"].unit == "UM"
    assert all(curve.descr for curve in las.curves)
    means = log["mean_equivalent_diameter_um"].to_numpy()
    assert las["DMEAN"] == pytest.approx(means, rel=1e-6)
    assert las["FRHOM"] == pytest.approx(log["fraction_rhombic"].to_numpy(), rel=1e-6)


def test_las_writes_the_null_value(core, tmp_path):
    write_las(depth_log(core, "B 2/Ü"), "B 2/Ü", tmp_path / "b.las")
    assert "-999.25" in (tmp_path / "b.las").read_text().partition("~ASCII")[2]
    assert np.isnan(lasio.read(tmp_path / "b.las")["DMEAN"]).all()


def test_las_that_cannot_be_written(tmp_path):
    with pytest.raises(CatalogError, match=r"nowhere/a\.las: cannot be written"):
        write_las(example_log(), "A", tmp_path / "nowhere" / "a.las")


def test_what_is_known_about_the_well_is_in_the_header(tmp_path):
    header = {
        "name": "Köln: 大庆",
        "uwi": "007",
        "latitude": -24.123456,
        "longitude": 50.25,
        "operator": "Société",
        "datum": "KB",
        "tops": [
            {"formation": "خف", "depth_m": 1205.5},
            {"formation": "Arab-D", "depth_m": 1222.0},
        ],
    }
    write_las(example_log(), "A-1", tmp_path / "log.las", header)
    las = lasio.read(tmp_path / "log.las")
    assert [las.well[name].value for name in ("WELL", "COMP", "LATI", "LONG")] == [
        "Koln- DaQing",
        "Societe",
        -24.123456,
        50.25,
    ]
    assert str(las.well["UWI"].value) == "007"
    assert (las.params["WID"].value, las.params["DREF"].value) == ("A-1", "KB")
    lines = [line.split() for line in las.other.splitlines() if line.strip()]
    assert lines[1:] == [["1205.50", "M", to_ascii("خف")], ["1222.00", "M", "Arab-D"]]
    assert len(las.curves) == len(depth_log_schema(SHAPES)) - 1
    assert las["DEPT"].tolist() == [1205.0, 1215.0, 1225.0]
