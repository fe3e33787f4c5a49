"""Tiles are found in an S3 Inventory report as in a listing."""

import gzip
import json
from pathlib import Path
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from mcn.sources.listing import LISTED
from mcn.sources.path_pattern import SourceError
from mcn.sources.s3_inventory import is_inventory, read_inventory

KEYS = {
    "core/well=A%2F1/depth=10.5/a b.tif": 100,
    "core/well=A%2F1/depth=10.5/a b.txt": 5,
    "core/well=B/depth=20/b+c.tif": 200,
    "core/well=B/depth=20/b+c-tif.hdr": 5,
    "core/well=B/depth=20/alone.txt": 7,
    "core/well=B/depth=20/.hidden.tif": 1,
    "core//well=B/depth=20/b.tif": 1,
    "core/well=B//depth=20/b.tif": 1,
    "core/notes.pdf": 9,
    "core/well=C/": 0,
    "elsewhere/well=D/depth=1/d.tif": 3,
}
EXPECTED = {
    "s3://survey/core/well=A%2F1/depth=10.5/a b.tif": (
        "A/1", 10.5, 100, "s3://survey/core/well=A%2F1/depth=10.5/a b.txt"),
    "s3://survey/core/well=B/depth=20/b+c.tif": (
        "B", 20.0, 200, "s3://survey/core/well=B/depth=20/b+c-tif.hdr"),
    "s3://survey/core/well=B/depth=20/alone.txt": ("B", 20.0, 7, None),
}  # fmt: skip


def rows() -> list[tuple[str, str, int, str, bool, bool]]:
    """Rows of bucket, key, size, etag, latest, deleted."""
    current = [("survey", key, size, f"tag{size}", True, False) for key, size in KEYS.items()]
    old = ("survey", "core/well=B/depth=20/b+c.tif", 199, "old", False, False)
    deleted = ("survey", "core/well=B/depth=20/gone.tif", 1, "x", True, True)
    return [*current, old, deleted]


def report(folder: Path, form: str) -> str:
    """A copy of a one-file report in the layout of S3."""
    data, day = folder / "data", folder / "2026-11-22T01-00Z"
    data.mkdir()
    day.mkdir()
    names = ["bucket", "key", "size", "e_tag", "is_latest", "is_delete_marker"]
    table = pa.table(dict(zip(names, map(list, zip(*rows(), strict=True)), strict=True)))
    if form == "CSV":
        name, schema = "x.csv.gz", "Bucket, Key, Size, ETag, IsLatest, IsDeleteMarker"
        lines = [
            f'"{bucket}","{quote_plus(key, safe="/")}","{size}","{tag}",'
            f'"{str(latest).lower()}","{str(deleted).lower()}"'
            for bucket, key, size, tag, latest, deleted in rows()
        ]
        (data / name).write_bytes(gzip.compress("\n".join(lines).encode()))
    elif form == "Parquet":
        name, schema = "x.parquet", "message s3.inventory { required binary bucket (UTF8); }"
        pq.write_table(table, data / name)
    else:
        name, schema = "x.orc", "struct<bucket:string,key:string,size:bigint,e_tag:string>"
        orc.write_table(table, data / name)
    manifest = day / "manifest.json"
    manifest.write_text(
        json.dumps(
            {
                "sourceBucket": "survey",
                "destinationBucket": "arn:aws:s3:::reports",
                "fileFormat": form,
                "fileSchema": schema,
                "files": [{"key": f"survey/daily/data/{name}", "size": 1, "MD5checksum": "x"}],
            }
        )
    )
    return str(manifest)


@pytest.mark.parametrize("form", ["CSV", "Parquet", "ORC"])
def test_a_report_gives_the_same_tiles_as_a_listing(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = report(tmp_path, form)
    assert is_inventory(manifest)
    tiles = pa.Table.from_batches(read_inventory(manifest, "s3://survey/core"), LISTED)
    assert tiles.schema == LISTED
    row_by_uri = {
        row["uri"]: (row["well"], row["depth_m"], row["bytes"], row["sidecar"])
        for row in tiles.to_pylist()
    }
    assert row_by_uri == EXPECTED
    assert {row["etag"] for row in tiles.to_pylist()} == {"tag100", "tag200", "tag7"}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "1 hidden names" in line
    assert "such as 'well=B/depth=20/.hidden.tif'" in line
    assert "2 keys with an empty part (//), such as '/well=B/depth=20/b.tif'" in line


def test_invalid_reports_are_refused(tmp_path: Path) -> None:
    manifest = report(tmp_path, "CSV")
    with pytest.raises(
        SourceError, match="is an inventory of s3://survey, which does not contain s3://other"
    ):
        list(read_inventory(manifest, "s3://other/core"))
    with pytest.raises(SourceError, match="none of 6 objects below s3://survey/core matches"):
        list(read_inventory(manifest, "s3://survey/core", "{well}+{depth_m}"))
    with pytest.raises(SourceError, match="no such manifest"):
        list(read_inventory(str(tmp_path / "none" / "manifest.json"), "s3://survey/core"))
    Path(manifest).write_text("{}")
    with pytest.raises(SourceError, match="is not the manifest of an S3 Inventory report"):
        list(read_inventory(manifest, "s3://survey/core"))
