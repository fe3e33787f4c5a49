"""Every query returns the results of the latest models of each tile, or of requested models."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mcn.catalog.correcting.label_sheet import export_labels
from mcn.catalog.depth_log.las import write_las
from mcn.catalog.depth_log.table import depth_log, models_of_log
from mcn.catalog.export import export, tiles_of
from mcn.catalog.formats import write_table
from mcn.catalog.model_names import ModelPair
from mcn.catalog.query import Selection, query, sql
from mcn.catalog.store import Catalog, CatalogError
from mcn.catalog.upkeep.maintenance import info, verify

OLD, NEW, VIT = "compact@0123456789ab", "compact@1111111111aa", "vit_h@ffffffffffff"
NSR, OWN = "nsr@0123456789ab", "mine@222222222222"

LATEST = {"both": 2, "old": 3, "other": 1}
"""Number of crystals of the tiles in which the latest models found any."""


@pytest.fixture
def scanned(catalog, make_tile, make_crystal, commit) -> Catalog:
    """Well A with tiles scanned with several models, and well B scanned only with the oldest."""

    def scan(name, crystals, well="A", **facts):
        depth = {"both": 1200.0, "old": 1210.0, "lost": 1220.0, "other": 1230.0}[name]
        commit(catalog, (make_tile(name, well, depth, **facts), [make_crystal()] * crystals))

    for name, crystals in (("both", 4), ("old", 3), ("lost", 5)):
        scan(name, crystals)
    scan("both", 6, "B")
    scan("both", 2, segmenter=NEW)
    scan("lost", 0, segmenter=NEW, status="failed", error="gone")
    scan("other", 7, segmenter=VIT)
    scan("other", 1, segmenter=VIT, classifier=OWN)
    return catalog


def counts(table: pa.Table) -> dict[str, int]:
    """Crystals of each tile of well A, by the tile's name."""
    names = {1200.0: "both", 1210.0: "old", 1220.0: "lost", 1230.0: "other"}
    table = table.filter(pa.compute.field("well") == "A")
    count_by_tile: dict[str, int] = {}
    for depth in table["depth_m"].to_pylist():
        count_by_tile[names[depth]] = count_by_tile.get(names[depth], 0) + 1
    return count_by_tile


def counts_by_reader(catalog: Catalog, tmp_path: Path, **models: str) -> dict[str, dict[str, int]]:
    """Crystals of each tile of well A, for every way to read the catalogue."""
    for form, name in (("coco", "a.json"), ("csv", "a.csv"), ("parquet", "a.parquet")):
        export(catalog, tmp_path / name, form, ["A"], **models)
    export(catalog, tmp_path / "a.geojson", "geojson", ["A"], **models)
    coco = json.loads((tmp_path / "a.json").read_text())
    depth_of = {image["id"]: image["depth_m"] for image in coco["images"]}
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    log = depth_log(catalog, "A", 10.0, **models).to_pylist()
    tables = {
        "query": query(catalog, ["A"], **models),
        "of all wells": query(catalog, **models),
        "sql": sql(catalog, "SELECT * FROM crystals", **models),
        "parquet": pq.read_table(tmp_path / "a.parquet"),
    }
    depths = {
        "coco": [depth_of[record["image_id"]] for record in coco["annotations"]],
        "geojson": [record["properties"]["depth_m"] for record in features],
        "csv": [float(row["depth_m"]) for row in rows],
        "log": [row["depth_top"] for row in log for _ in range(row["n_crystals"])],
    }
    tables |= {
        reader: pa.table(
            {"well": ["A"] * len(tile_depths), "depth_m": pa.array(tile_depths, pa.float64())}
        )
        for reader, tile_depths in depths.items()
    }
    return {reader: counts(table) for reader, table in tables.items()}


def test_every_reader_returns_the_latest_results(scanned, tmp_path):
    for reader, counted in counts_by_reader(scanned, tmp_path).items():
        assert counted == LATEST, reader


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"segmenter": OLD}, {"both": 4, "old": 3, "lost": 5}),
        ({"segmenter": NEW, "classifier": NSR}, {"both": 2}),
    ],
)
def test_every_reader_accepts_other_models(scanned, tmp_path, models, expected):
    for reader, counted in counts_by_reader(scanned, tmp_path, **models).items():
        assert counted == expected, reader


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"segmenter": "compact@0"}, {"both": 4, "old": 3, "lost": 5}),
        ({"classifier": "nsr"}, {"both": 2, "old": 3, "other": 7}),
        ({"segmenter": "v"}, {"other": 1}),
        ({"segmenter": "vit_h", "classifier": "n"}, {"other": 7}),
        ({"classifier": OWN}, {"other": 1}),
    ],
)
def test_a_unique_prefix_names_a_model(scanned, models, expected):
    assert counts(query(scanned, **models)) == expected


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ({"segmenter": "nobody@000000000000"}, f"use one of {OLD}, {NEW}, {VIT}"),
        ({"segmenter": ""}, f"use one of {OLD}, {NEW}, {VIT}"),
        ({"segmenter": "Compact"}, f"use one of {OLD}, {NEW}, {VIT}"),
        ({"classifier": "published"}, f"use one of {OWN}, {NSR}"),
        ({"segmenter": "compact"}, f"is ambiguous: {OLD} or {NEW}"),
        ({"segmenter": NEW, "classifier": "mine"}, f"{OLD} and {NSR}"),
    ],
)
def test_unknown_and_ambiguous_models_are_named_with_the_known_ones(
    scanned, tmp_path, models, reason
):
    out = tmp_path / "out"
    out.mkdir()
    for ask in (
        lambda: query(scanned, ["A"], **models),
        lambda: query(scanned, ["B"], **models),
        lambda: sql(scanned, "SELECT 1", **models),
        lambda: depth_log(scanned, "A", **models),
        lambda: export_labels(scanned, out / "labels", **models),
        *(
            lambda form=form: export(scanned, out / "file", form, **models)
            for form in ("coco", "csv", "parquet", "geojson")
        ),
    ):
        with pytest.raises(CatalogError) as raised:
            ask()
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)
    assert list(out.iterdir()) == []


def test_a_model_name_means_the_same_in_every_well(scanned):
    with pytest.raises(CatalogError, match=f"is ambiguous: {OLD} or {NEW}"):
        query(scanned, ["B"], segmenter="compact")
    assert query(scanned, ["B"], segmenter=NEW).num_rows == 0
    assert query(scanned, ["B"], segmenter="compact@0").num_rows == 6


def test_an_empty_catalogue_has_no_models(catalog):
    with pytest.raises(CatalogError, match="there is none yet"):
        query(catalog, segmenter="compact")


def test_a_well_without_results_of_a_model_has_no_log(scanned):
    with pytest.raises(CatalogError, match=f"no tile of well 'B' could be read by {VIT}"):
        depth_log(scanned, "B", segmenter="vit")


def test_sql_has_the_rows_of_every_model_in_separate_views(scanned):
    def count(view: str, **models: str) -> int:
        return sql(scanned, f"SELECT count(*) AS n FROM {view}", **models)["n"][0].as_py()

    assert count("tiles") == 5
    assert count("all_tiles") == count("all_tiles", segmenter=OLD) == 8
    assert count("crystals") == sum(LATEST.values()) + 6
    assert count("all_crystals") == 4 + 3 + 5 + 6 + 2 + 7 + 1
    assert count("tiles", segmenter=OLD) == 4
    status = sql(scanned, "SELECT status FROM tiles WHERE depth_m = 1220")
    assert status["status"].to_pylist() == ["failed"]


def test_model_names_are_escaped_in_sql(scanned):
    with pytest.raises(CatalogError, match="unknown segmenter"):
        sql(scanned, "SELECT 1", segmenter="x' OR true --")
    condition = ModelPair("o'hara@1").condition()
    assert condition == "true AND segmenter = 'o''hara@1'"


def test_of_models_scanned_at_the_same_time_one_is_used(catalog, make_tile, make_crystal, commit):
    pairs = [(make_tile(segmenter=name), [make_crystal()]) for name in (NEW, OLD)]
    commit(catalog, *pairs)
    assert query(catalog)["segmenter"].to_pylist() == [OLD]
    assert query(catalog, segmenter=NEW).num_rows == 1


def test_files_of_other_wells_are_not_read(catalog, make_tile, make_crystal, commit):
    for well in ("A", "B"):
        commit(catalog, (make_tile(well=well), [make_crystal()]))
        commit(catalog, (make_tile(well=well, segmenter=NEW), [make_crystal()] * 2))
    for file in Path(catalog.uri).glob("*/well=B/**/*.parquet"):
        file.unlink()
    assert query(catalog, ["A"], segmenter=OLD, classifier=NSR).num_rows == 1
    assert depth_log(catalog, "A", segmenter=NEW)["n_crystals"].to_pylist() == [2]
    counted = sql(catalog, "SELECT count(*) AS n FROM tiles WHERE well = 'A'")
    assert counted["n"].to_pylist() == [1]


def test_every_record_names_its_models(scanned, tmp_path):
    for form in ("coco", "csv", "geojson"):
        export(scanned, tmp_path / form, form, ["A"])
    coco = json.loads((tmp_path / "coco").read_text())
    features = json.loads((tmp_path / "geojson").read_text())["features"]
    rows = list(csv.DictReader((tmp_path / "csv").open(encoding="utf-8")))
    expected = sorted([(NEW, NSR)] * 2 + [(OLD, NSR)] * 3 + [(VIT, OWN)])
    for records in (coco["annotations"], [record["properties"] for record in features], rows):
        assert sorted((record["segmenter"], record["classifier"]) for record in records) == expected
    images = {record["depth_m"]: record["segmenter"] for record in coco["images"]}
    assert images == {1200.0: NEW, 1210.0: OLD, 1230.0: VIT}
    with (tmp_path / "table").open("wb") as file:
        write_table(query(scanned, ["A"]), "table", file)
    _, *lines, _ = (tmp_path / "table").read_text().splitlines()
    assert sorted(tuple(line.split()[-2:]) for line in lines) == expected


def test_a_log_names_its_models(scanned, tmp_path):
    log = depth_log(scanned, "A", 10.0)
    assert models_of_log(log) == [ModelPair(OLD, NSR), ModelPair(NEW, NSR), ModelPair(VIT, OWN)]
    write_las(log, "A", tmp_path / "a.las")
    assert f"{OLD}, {NEW}, {VIT}" in (tmp_path / "a.las").read_text()
    assert models_of_log(log.replace_schema_metadata(None)) == []


def test_info_counts_the_latest_results_and_each_model(scanned):
    summary = info(scanned)
    assert (summary["tiles"], summary["crystals"]) == (5, sum(LATEST.values()) + 6)
    assert {row["well"]: row["crystals"] for row in summary["wells"]} == {"A": 6, "B": 6}
    by_model = {(row["segmenter"], row["classifier"]): row["crystals"] for row in summary["models"]}
    assert by_model == {(OLD, NSR): 18, (NEW, NSR): 2, (VIT, NSR): 7, (VIT, OWN): 1}
    assert verify(scanned).ok


def test_tiles_to_label_follow_the_selected_models(scanned):
    now = scanned.snapshot()
    tiles = tiles_of(scanned, Selection(["A"]), now, ("depth_m", "segmenter"))
    assert tiles["segmenter"].to_pylist() == [NEW, OLD, VIT]
    tiles = tiles_of(scanned, Selection(["A"], segmenter="compact@0"), now, ("depth_m",))
    assert tiles["depth_m"].to_pylist() == [1200.0, 1210.0, 1220.0]


def test_commands_accept_models_and_depths_in_feet(scanned, tmp_path):
    from mcn.cli.main import app

    def run(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    models = ("--segmenter", "vit", "--classifier", "nsr")
    rows = json.loads(run("query", scanned.uri, *models, "--format", "json"))
    assert len(rows) == 7
    depth = ("--depth", "3930 ft:3940ft")  # 1197.9 to 1200.9 m
    rows = json.loads(run("query", scanned.uri, "--well", "A", *depth, "--format", "json"))
    assert len(rows) == 2
    counted = ("--sql", "SELECT count(*) AS n FROM crystals", "--format", "json")
    assert json.loads(run("query", scanned.uri, *counted, *models)) == [{"n": 7}]
    run("log", scanned.uri, "--well", "A", "--csv", tmp_path / "log.csv", *models)
    (row,) = csv.DictReader((tmp_path / "log.csv").open())
    assert row["n_crystals"] == "7"
    run("export", scanned.uri, tmp_path / "out.json", *models)
    assert len(json.loads((tmp_path / "out.json").read_text())["annotations"]) == 7


def test_the_endpoint_returns_the_same(scanned):
    from mcn.micrograph import Limits
    from serve.deployments.catalog_reader import CatalogReader
    from serve.deployments.messages import CSV, JSON, CrystalRequest, LogRequest, Refusal

    reader = CatalogReader(scanned.uri, 60, Limits())

    def crystals(*models: str | None):
        segmenter, classifier = models
        asked = CrystalRequest(segmenter=segmenter, classifier=classifier)
        response = asyncio.run(reader.crystals("A", (1200.0, None), asked, 100, None))
        return response if isinstance(response, Refusal) else json.loads(response.body)

    def log(segmenter: str | None, classifier: str | None):
        asked = LogRequest(10.0, segmenter=segmenter, classifier=classifier)
        response = asyncio.run(reader.log("A", asked, JSON))
        return response if isinstance(response, Refusal) else json.loads(response.body)

    assert len(crystals(None, None)) == sum(LATEST.values())
    assert len(crystals("vit", "nsr")) == 7
    assert [row["n_crystals"] for row in log(None, None)] == [2, 3, 0, 1]
    assert [row["n_crystals"] for row in log("vit", "nsr")] == [7]
    for refusal in (crystals("compact", None), log("compact", None), log(None, "none")):
        assert isinstance(refusal, Refusal)
        assert refusal.status == 422
        assert NSR in refusal.detail or NEW in refusal.detail
    assert asyncio.run(reader.wells())["crystals"].to_pylist() == [6, 6]
    tile_id = query(scanned, ["A"])["tile_id"][0].as_py()
    tile_rows = asyncio.run(reader.tile(tile_id, "A", (None, None)))
    assert [row["segmenter"] for row in tile_rows] == [NEW, OLD]
    (row,) = asyncio.run(reader.tile(tile_id, "A", ("compact@0", None)))
    assert row["segmenter"] == OLD
    text = asyncio.run(reader.log("A", LogRequest(10.0), CSV)).body.decode()
    assert text.startswith('"depth_top"')
