"""The commands and examples in README and docs work."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer

from mcn.catalog.query import query, sql
from mcn.catalog.schema import TILES, depth_bin
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact
from mcn.catalog.wells_table.table import import_wells
from mcn.cli.main import app
from mcn.synthetic.core import CoreSettings, render_core
from mcn.taxonomy import read_taxonomy
from pipelines.resources import read_overrides
from serve.settings import read_settings

from .docs import PAGES, ROOT, Example, blocks, commands

RUN = (
    r"mcn (query|log) ",
    r"mcn export ",
    r"mcn catalog wells ",
    r"mcn figure ",
    r"mcn textures ",
    r"mcn token add",
    r"export MCN_TOKEN=mcn_…",
    r"sh deploy/secrets\.sh",
)
LONG = (
    r"mcn scan s3://core-repository/tiles s3://core-repository/catalog$",
    r"mcn segment picture\.tif",
    r"mcn plan ",
    r"mcn scan s3://survey/core ",
)
TRAINING = (
    r"mcn core heaps",
    r"mcn train ",
    r"mcn evaluate ",
    r"mcn scan tiles catalog-2",
)
ELSEWHERE = {
    r"(MCN_TOKEN=\S+ )?mcn remote ": "tests/serve/test_docs.py uses a running endpoint",
    r"curl .*//crystals:8000": "tests/serve/test_docs.py uses a running endpoint",
    r"mcn serve ": "runs until stopped; tests/serve starts it",
    r"mcn view ": "runs until stopped; tests/serve/viewer starts it",
    r"make (demo|test|setup)": "this project's targets; .ci/run runs the first two",
    r"docker |docker push": "needs Docker; tests/deploy/test_compose.py checks file and services",
    r"(\. deploy/\.env|curl (?!.*//crystals:8000))": "needs the services of compose",
    r"kubectl |helm |kind |eksctl ": "needs a cluster; tests/k8s checks the manifests",
    r"ray ": "needs machines of Amazon EC2; tests/deploy/test_launcher.py checks the file",
    r"git ": "changes the working tree",
    r"pip install": "needs a network",
    r"export (RAY_AUTH_MODE|MCN_IMAGE)|MCN_IMAGE=": "only used with commands that do not run here",
    r"rm metrics-token": "only used with commands that do not run here",
}
"""Commands that are not run here, and why; their `mcn` parts are still checked."""


def plain(command: Example) -> str:
    return command.text.replace(".venv/bin/", "")


def commands_matching(patterns: tuple[str, ...]) -> list[Example]:
    return [each for each in commands() if any(re.match(p, plain(each)) for p in patterns)]


def test_every_command_is_run_or_has_a_reason() -> None:
    assert len(commands()) > 60
    for command in commands():
        rules = [p for p in (*RUN, *LONG, *TRAINING, *ELSEWHERE) if re.match(p, plain(command))]
        assert len(rules) == 1, f"{command}: {command.text}"


def test_every_fenced_block_has_a_test_or_a_reason() -> None:
    kinds = {
        language
        for page in PAGES
        for language in re.findall(r"(?m)^```(\w*)$", (ROOT / page).read_text(encoding="utf-8"))
    }
    assert kinds <= {"", "sh", "python", "toml", "sql", "scala", "csv", "json"}
    # Spark is not installed here; the page states its requirements.
    assert len(blocks("scala")) == 1


# --- the commands and options that the pages name, in examples and in text

_CALL = re.compile(r"(?<!--namespace )\bmcn ((?:[a-z]+ ?)+)((?:[^`\n|;&'\"]|\"[^\"]*\")*)")


def calls() -> Iterator[tuple[str, str, str]]:
    for command in commands():
        yield from ((str(command), *call) for call in _CALL.findall(command.text))
    for page in PAGES:
        text = re.sub(r"(?ms)^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"))
        for span in re.findall(r"`([^`]+)`", text):
            if span.startswith(("mcn ", ".venv/bin/mcn ")):
                yield from ((page, *call) for call in _CALL.findall(" ".join(span.split())))


def test_named_commands_and_options_exist() -> None:
    root = typer.main.get_command(app)
    named = set()
    for place, words, rest in calls():
        command, name = root, []
        for word in words.split():
            if word not in getattr(command, "commands", {}):
                break
            command, name = command.commands[word], [*name, word]
        assert name, f"{place}: mcn {words}"
        options = {option for each in command.params for option in each.opts} | {"--help"}
        if hasattr(command, "commands"):
            for sub in command.commands.values():
                options |= {option for each in sub.params for option in each.opts}
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", rest):
            assert option in options | {"--debug"}, f"{place}: mcn {' '.join(name)} {option}"
        named.add(" ".join(name))
    assert {"scan", "query", "log", "export", "serve", "token add", "remote analyze"} <= named


def test_options_named_alone_exist_somewhere() -> None:
    def options(command: object) -> set[str]:
        option_names = {option for each in command.params for option in each.opts}  # type: ignore[attr-defined]
        subs = getattr(command, "commands", {}).values()
        return option_names.union(*map(options, subs))

    known = options(typer.main.get_command(app)) | {"--help"}
    for page in (
        "README.md",
        "docs/scanning.md",
        "docs/serving.md",
        "docs/reading.md",
        "docs/geology.md",
        "docs/models.md",
    ):
        for option in re.findall(r"`(--[a-z][\w-]*)", (ROOT / page).read_text(encoding="utf-8")):
            assert option in known, f"{page}: {option}"


# --- the commands themselves


@pytest.fixture(scope="module")
def folder(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files that the examples use."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(scanned / "catalog", folder / "catalog")
    shutil.copy(sorted(scanned.glob("core/well=*/depth=*/*.tif"))[0], folder / "picture.tif")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    (block,) = (each for each in blocks("toml") if each.page == "docs/scanning.md")
    (folder / "scan.toml").write_text(block.text)
    for name, table in zip(("wells.csv", "tops.csv"), blocks("csv"), strict=True):
        (folder / name).write_text(table.text.replace("A-12", well_of(scanned)))
    return folder


def well_of(scanned: Path) -> str:
    """A well of the catalogue."""
    well = sql(Catalog.open(scanned / "catalog"), "SELECT min(well) AS well FROM tiles")
    return str(well["well"][0].as_py())


@pytest.fixture(scope="module")
def names(scanned: Path) -> dict[str, str]:
    """Name in the examples → its value here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        ".venv/bin/": "",
        "s3://core-repository/tiles": str(scanned / "core"),
        "s3://survey/core": str(scanned / "core"),
        "s3://core-repository/catalog": "catalog",
        "s3://survey/catalog": "catalog",
        "query CATALOG": "query catalog",
        "A-12": well_of(scanned),
        "9100": str(port),
        # Nothing is written among the repository's own files.
        "sh deploy/secrets.sh": "sh deploy/secrets.sh .",
    }


def run(command: Example, folder: Path, names: dict[str, str], more: str = "") -> str:
    text = command.text
    for placeholder, actual in names.items():
        text = text.replace(placeholder, actual)
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", text + more],
        cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {text}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.ray
@pytest.mark.parametrize(
    "command",
    [
        *commands_matching(RUN),
        *(
            pytest.param(each, marks=pytest.mark.long, id=str(each))
            for each in commands_matching(LONG)
        ),
    ],
    ids=str,
)
def test_a_command_works(command: Example, folder: Path, names: dict[str, str]) -> None:
    if " lab " in command.text:  # Each page begins without tokens.
        (folder / "tokens.json").unlink(missing_ok=True)
    output = run(command, folder, names)
    if "mcn query" in command.text or "--json" in command.text:
        assert output.strip()
    for name in re.findall(r"--(?:png|las|csv|out) (\S+)", command.text):
        assert (folder / name.replace("A-12", names["A-12"])).exists(), name


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_training_and_evaluation(names: dict[str, str], tmp_path: Path) -> None:
    """Train and evaluate on a few pictures."""
    small = CoreSettings(height=256, width=384)
    render_core(tmp_path / "tiles", wells=1, tiles=8, seed=11, settings=small)
    few = names | {"--tiles 400": "--tiles 10", "s3://core-repository/tiles": "tiles"}
    (scan,) = commands_matching(LONG[:1])
    run(scan, tmp_path, few)
    # In the order of the other examples: crops are exported before training.
    (export,) = [each for each in commands() if "--labels" in each.text]
    run(export, tmp_path, few)
    shutil.copytree(tmp_path / "to-name", tmp_path / "other-labels")
    first, *others = commands_matching(TRAINING)
    run(first, tmp_path, few)
    shutil.copytree(tmp_path / "heaps", tmp_path / "my-images")
    for command in others:
        short = {"train segmenter": " --steps 2", "train classifier": " --epochs 1"}
        more = next((words for name, words in short.items() if name in command.text), "")
        run(command, tmp_path, few, more)
    assert (tmp_path / "mine.safetensors").exists()
    assert (tmp_path / "report").is_dir()
    assert query(Catalog.open(tmp_path / "catalog-2")).num_rows > 100


# --- settings


def test_settings_are_read(tmp_path: Path) -> None:
    readers = {
        "docs/models.md": read_taxonomy,
        "docs/scanning.md": lambda path: read_overrides(str(path)),
        "docs/serving.md": lambda path: read_settings({}, str(path)),
    }
    assert {block.page for block in blocks("toml")} == readers.keys()
    for block in blocks("toml"):
        file = tmp_path / "settings.toml"
        file.write_text(block.text)
        readers[block.page](file)


# --- reading the catalogue with other programs


@pytest.fixture(scope="module")
def compacted(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `catalog` has the wells `007` and `7`, and was compacted once."""
    folder = tmp_path_factory.mktemp("readers")
    source = Catalog.open(scanned / "catalog")
    catalog = Catalog.create(folder / "catalog")
    crystals = query(source)
    tiles = sql(source, "SELECT * FROM tiles").select(TILES.names).cast(TILES)
    for well in ("007", "7", "007", "7"):
        keep = pc.equal(tiles["tile_id"], tiles["tile_id"][0])
        depth = 1210.0 + 10 * catalog.snapshot().tiles.version
        rows = crystals.filter(pc.equal(crystals["tile_id"], tiles["tile_id"][0]))
        tile = f"{catalog.snapshot().tiles.version:032x}"
        changed = {"tile_id": tile, "well": well, "depth_m": depth}
        changed_crystals = changed | {
            "depth_bin": float(depth_bin([depth], catalog.depth_bin_m)[0])
        }
        catalog.commit(_with(rows, changed_crystals), _with(tiles.filter(keep), changed))
    compact(catalog)
    return folder


def _with(rows: pa.Table, values: dict[str, object]) -> pa.Table:
    for name, value in values.items():
        index = rows.schema.get_field_index(name)
        field = rows.schema.field(index)
        column = pa.repeat(pa.scalar(value, field.type), rows.num_rows)
        rows = rows.set_column(index, field, column)
    return rows


@pytest.mark.parametrize(
    "block", [each for each in blocks("python") if each.page in ("README.md", "docs/reading.md")],
    ids=str,
)  # fmt: skip
def test_python_readers_see_each_row_once_and_each_well(
    block: Example, compacted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(compacted)
    if "polars" in block.text:
        pytest.importorskip("polars", reason="Polars is not installed; pip install polars")
    crystals = query(Catalog.open(compacted / "catalog"))
    each = crystals.num_rows // 2
    names: dict[str, object] = {}
    exec(compile(block.text, str(block), "exec"), names)
    if "by_well" in names:
        by_well = names["by_well"]
        by_well = by_well.rows() if hasattr(by_well, "rows") else by_well
        assert sorted(by_well) == [("007", each), ("7", each)]  # type: ignore[call-overload]
    for name in ("frame", "crystals"):
        if hasattr(names.get(name), "shape"):
            assert names[name].shape[0] == each  # type: ignore[attr-defined]
    if "deep" in names:
        assert names["deep"].num_rows == 2 * each  # type: ignore[attr-defined]


def test_the_sql_counts_by_formation(scanned: Path, tmp_path: Path) -> None:
    (by_formation,) = (each for each in blocks("sql") if each.page == "docs/geology.md")
    catalog = Catalog.open(shutil.copytree(scanned / "catalog", tmp_path / "catalog"))
    well = well_of(scanned)
    (tmp_path / "tops.csv").write_text(f"well,formation,depth_m\n{well},Top,-1\n{well},End,9999\n")
    import_wells(catalog, [str(tmp_path / "tops.csv")])
    rows = sql(catalog, by_formation.text)
    assert set(rows["formation"].to_pylist()) == {"Top"}
    assert pc.sum(rows["crystals"]).as_py() == query(catalog, [well]).num_rows


def test_the_sql_selects_the_visible_rows(compacted: Path, tmp_path: Path) -> None:
    visible, extension = (each for each in blocks("sql") if each.page == "docs/reading.md")
    assert (
        "delta_scan" in extension.text
    )  # The extension would have to be downloaded, so it is not run.
    catalog = Catalog.open(shutil.copytree(compacted / "catalog", tmp_path / "catalog"))
    # A tile scanned again, with other models.
    first = sql(catalog, "SELECT * FROM tiles ORDER BY depth_m LIMIT 1").select(TILES.names)
    rows = query(catalog, first["well"].to_pylist())
    rows = rows.filter(pc.equal(rows["tile_id"], first["tile_id"][0]))
    later = {"segmenter": "vit_b@0123456789ab", "classifier": "published@0123456789ab"}
    catalog.commit(_with(rows, later), _with(first.cast(TILES), later))
    crystals = catalog.delta_table("crystals").to_pyarrow_dataset()
    tiles = catalog.delta_table("tiles").to_pyarrow_dataset()
    visible_rows = duckdb.sql(visible.text).to_arrow_table()
    assert len(crystals.schema) == visible_rows.num_columns
    assert tiles.count_rows() == 5
    assert set(visible_rows["segmenter"].to_pylist()) == set(
        query(catalog)["segmenter"].to_pylist()
    )
    assert sorted(visible_rows["crystal_id"].to_pylist()) == sorted(
        query(catalog)["crystal_id"].to_pylist()
    )


def test_reading_the_folder_directly_is_wrong_as_documented(compacted: Path) -> None:
    expected_rows = query(Catalog.open(compacted / "catalog")).num_rows
    folder = str(compacted / "catalog" / "crystals")
    globbed = pq.read_table(folder, columns=["well"])
    assert globbed.num_rows == 2 * expected_rows
    assert set(globbed["well"].cast(pa.int32()).to_pylist()) == {7}
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="must be unique"):
        pandas.read_parquet(folder)
    polars = pytest.importorskip("polars", reason="Polars is not installed; pip install polars")
    wells = polars.scan_parquet(f"{folder}/well=*/*/*.parquet", hive_partitioning=True)
    assert wells.select(polars.col("well").unique()).collect()["well"].to_list() == [7]


def test_the_page_names_every_reader() -> None:
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    for reader in ("deltalake", "pandas", "pyarrow", "Polars", "DuckDB", "Spark"):
        assert re.search(rf"(?m)^## .*{reader}", page), reader
