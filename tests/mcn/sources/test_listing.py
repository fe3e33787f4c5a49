"""Tiles are found by a path pattern, and unusable files are reported in one line."""

import logging
import re
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import fsspec.implementations.memory
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mcn.errors import McnError
from mcn.io.objects import fetch
from mcn.sources.listing import LISTED, find_tiles
from mcn.sources.manifest import read_manifest


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * len(path))
    return root


def list_tiles(root: str | Path, *pattern: str) -> pa.Table:
    return pa.Table.from_batches(find_tiles(str(root), *pattern), LISTED)


def test_well_and_depth_come_from_the_path(tmp_path: Path) -> None:
    put(
        tmp_path,
        "well=B-2/depth=10/a.tif",
        "well=A%2F1/depth=1250.5/b.png",
        "well=A%2F1/depth=-3/a.tif",
        "truth.parquet",
    )
    tiles = list_tiles(tmp_path)
    assert tiles["well"].to_pylist() == ["A/1", "A/1", "B-2"]
    assert tiles["depth_m"].to_pylist() == [-3.0, 1250.5, 10.0]
    assert tiles["uri"][1].as_py() == f"file://{tmp_path}/well=A%2F1/depth=1250.5/b.png"
    assert tiles["bytes"].to_pylist() == [25, 29, 23]


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "{}/../{name}", "."])
def test_a_tile_has_one_uri_for_every_form_of_its_folder(
    tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "well=A/depth=1/a.tif")
    monkeypatch.chdir(tmp_path)
    tiles = list_tiles(spelling.format(tmp_path, name=tmp_path.name))
    assert tiles["uri"].to_pylist() == [f"file://{tmp_path}/well=A/depth=1/a.tif"]


def test_sidecars_and_hidden_files_are_not_tiles_but_broken_files_are(tmp_path: Path) -> None:
    depth = "well=A/depth=1/"
    put(
        tmp_path,
        *(
            depth + name
            for name in (
                "a.tif",
                "a.txt",
                "b.png",
                "b-png.hdr",
                "c.tif",
                "c.tif.xml",
                "d.tif",
                "d.tif.txt",
            )
        ),
        *(depth + name for name in (".DS_Store", "stray.zip", "lonely.txt")),
        "well=A/.trash/depth=2/a.tif",
        ".trash/depth=2/a.tif",
    )
    tiles = list_tiles(tmp_path).to_pylist()
    sidecars = {
        Path(tile["uri"]).name: tile["sidecar"] and Path(tile["sidecar"]).name for tile in tiles
    }
    assert sidecars == {
        "a.tif": "a.txt",
        "b.png": "b-png.hdr",
        "c.tif": None,
        "d.tif": "d.tif.txt",
        "stray.zip": None,
        "lonely.txt": None,
    }


def test_the_etag_changes_with_the_file(tmp_path: Path) -> None:
    put(tmp_path, "well=A/depth=1/a.tif", "well=A/depth=1/b.tif")
    before = list_tiles(tmp_path)["etag"].to_pylist()
    assert before == list_tiles(tmp_path)["etag"].to_pylist()
    (tmp_path / "well=A/depth=1/b.tif").write_bytes(b"another")
    after = list_tiles(tmp_path)["etag"].to_pylist()
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.fixture
def bucket() -> Iterator[str]:
    root = f"memory://core-{uuid.uuid4()}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def test_any_fsspec_address_and_any_pattern_can_be_used(bucket: str) -> None:
    fs = fsspec.filesystem("memory")
    for path in ("F 1_1200.25m[x]_07.tif", "F 1_1201m[x]_08.tif", "F 1_top_09.tif"):
        fs.pipe(f"{bucket}/{path}", b"x")
    tiles = list_tiles(bucket, "{well}_{depth_m}m[x]_{number}.tif")
    assert tiles["well"].to_pylist() == ["F 1", "F 1"]
    assert tiles["depth_m"].to_pylist() == [1200.25, 1201.0]
    assert all(uri.startswith("memory://") for uri in tiles["uri"].to_pylist())


def test_omitted_images_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "well=A/depth=1/a.tif", "well=A/depth=shallow/a.tif", "truth/a.tif", "notes.md")
    with caplog.at_level(logging.WARNING):
        assert list_tiles(tmp_path).num_rows == 1
    assert "1 of 4 objects" in caplog.text
    assert "depth=shallow/a.tif" in caplog.text


def test_a_long_listing_comes_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcn.sources.listing.BATCH", 2)
    put(tmp_path, *(f"well=A/depth={depth}/a.tif" for depth in range(5)))
    assert [batch.num_rows for batch in find_tiles(str(tmp_path))] == [2, 2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", "does not exist; check the address"),
        (lambda root: put(root, "a.tif") / "a.tif", "is a file; name the folder"),
        (lambda root: root, "is empty; put tiles there"),
        (
            lambda root: put(root, "core/well=A/depth=1/a.tif", "x"),
            "none of 2 objects matches 'well={well}/depth={depth_m}/{name}', for example 'x'",
        ),
        (lambda root: "gopher://core", "gopher:// is not supported here"),
        (lambda root: "s3://Not A Bucket/core", "s3://Not A Bucket/core: cannot be listed"),
    ],
)
def test_invalid_sources_are_refused(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    source = str(make(tmp_path))
    with pytest.raises(McnError, match=re.escape(message)) as error:
        list_tiles(source)
    assert str(error.value).startswith(source)
    assert "\n" not in str(error.value)


class S3Like(fsspec.implementations.memory.MemoryFileSystem):
    """Lists keys as object stores do; a part of a key may be empty."""

    protocol = "s3like"
    keys: tuple[str, ...] = ()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("s3like://").rstrip("/")

    def unstrip_protocol(self, name: str) -> str:
        return f"s3like://{name}"

    def exists(self, path: str, **_: object) -> bool:
        return any(key.startswith(f"{path}/") for key in self.keys)

    def isfile(self, path: str) -> bool:
        return path in self.keys

    def ls(self, path: str, detail: bool = True, **_: object) -> list[dict[str, object]]:
        start = f"{path}/"
        entries: dict[str, dict[str, object]] = {}
        for key in self.keys:
            if key.startswith(start):
                name, slash, _rest = key[len(start) :].partition("/")
                kind = "directory" if slash else "file"
                entries[start + name] = {"name": start + name, "type": kind, "size": 1}
        return list(entries.values())

    def find(self, path: str, **options: object) -> dict[str, dict[str, object]]:
        start = f"{self._strip_protocol(path)}/{options.get('prefix', '')}"
        return {
            key: {"name": key, "type": "file", "size": 1}
            for key in self.keys
            if key.startswith(start)
        }


def test_hidden_names_and_empty_parts_of_keys_are_counted_and_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("s3like", S3Like, clobber=True)
    keys = (
        "core/t/well=A/depth=1/a.tif",
        "core/t//well=A/depth=2/b.tif",
        "core/t/well=A//depth=3/c.tif",
        "core/t/well=A/depth=4//d.tif",
        "core/t/well=B/.DS_Store",
        "core/t/.snapshot/well=A/depth=5/e.tif",
        "core/t/.keep",
    )
    monkeypatch.setattr(S3Like, "keys", keys)
    with caplog.at_level(logging.WARNING):
        tiles = list_tiles("s3like://core/t")
    assert tiles["uri"].to_pylist() == ["s3like://core/t/well=A/depth=1/a.tif"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "3 keys with an empty part (//), such as '/well=A/depth=2/b.tif'" in line
    assert "3 hidden names (a part begins with a dot), such as " in line


def test_hidden_files_of_a_folder_are_counted_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "well=A/depth=1/a.tif", "well=A/depth=1/._a.tif", ".git/config", ".hidden")
    with caplog.at_level(logging.WARNING):
        assert list_tiles(tmp_path).num_rows == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert re.search(r"left out 3 hidden names .*, such as '\.", line)


def test_nothing_is_omitted_or_reported_for_a_plain_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "well=A/depth=1/a.tif")
    assert list_tiles(tmp_path).num_rows == 1
    assert not caplog.records


def test_names_that_are_not_unicode_are_omitted_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "well=A/depth=1/a.tif", "well=A/depth=1/\udce9.tif")
    assert list_tiles(tmp_path).num_rows == 1
    assert "1 names that are not Unicode text" in caplog.text


@pytest.mark.parametrize(
    "name", ["a::b", "a#b", "a?b=c", "a%20b", "a*b", "[x]", "{y}", "a b", "$x$", "~a", "é", "🪨"]
)
def test_names_have_no_special_characters(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"well={name}/depth=1/{name}.tif", f"well={name}/depth=1/{name}.txt")
    tiles = list_tiles(tmp_path)
    (row,) = tiles.to_pylist()
    assert row["uri"] == f"file://{tmp_path}/well={name}/depth=1/{name}.tif"
    assert row["well"] == name.replace("%20", " ")
    assert len(fetch(row["uri"])) == row["bytes"] == len(f"well={name}/depth=1/{name}.tif")
    assert fetch(row["sidecar"])
    manifest = tmp_path / f"{name}.parquet"
    listed = {"uri": [f"well={name}/depth=1/{name}.tif"], "well": [name], "depth_m": [1.0]}
    pq.write_table(pa.table(listed), manifest)
    (batch,) = read_manifest(str(manifest), str(tmp_path))
    assert batch["uri"].to_pylist() == [row["uri"]]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_pattern_and_a_path_match_in_every_unicode_form(tmp_path: Path, form: str) -> None:
    put(tmp_path, unicodedata.normalize("NFD", "Köln/möglich=Süd/1/a.tif"))
    pattern = unicodedata.normalize(form, "Köln/möglich={well}/{depth_m}/{name}")
    (row,) = list_tiles(tmp_path, pattern).to_pylist()
    assert row["well"] == "Süd"
    assert len(fetch(row["uri"])) == row["bytes"]
