"""Tests of `mcn.catalog.storage`, with catalogues in moto's S3 server."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from s3fs import S3FileSystem

from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.query import query, sql
from mcn.catalog.storage import log_options
from mcn.catalog.store import Catalog, CatalogError
from mcn.catalog.upkeep.maintenance import compact, info, vacuum, verify

from ...waiting import DEADLINE_S

WELLS = ("100%", "Ünï/7")


@pytest.fixture
def s3(s3_endpoint, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="cores")
    return client


def test_a_catalogue_in_s3(s3, make_tile, make_crystal, commit):
    catalog = Catalog.open_or_create("s3://cores/first catalogue/", depth_bin_m=100.0)
    assert Catalog.open("s3://cores/first catalogue") == catalog
    for depth in (50.0, 60.0, 150.0):
        tiles = [make_tile(well=well, depth_m=depth) for well in WELLS]
        commit(catalog, *((tile, [make_crystal()] * 2) for tile in tiles))
    assert query(catalog, ["100%"], (0.0, 100.0))["depth_m"].to_pylist() == [50.0] * 2 + [60.0] * 2
    assert sql(catalog, "SELECT count(*) AS n FROM crystals").to_pylist() == [{"n": 12}]
    assert info(catalog)["crystals"] == 12
    assert depth_log(catalog, "Ünï/7", 100.0)["n_crystals"].to_pylist() == [4, 2]
    assert verify(catalog).ok
    assert compact(catalog)["files_after"] == 2 + 4
    assert len(vacuum(catalog, 0)) == 6 + 4
    assert verify(catalog).ok
    assert query(catalog).num_rows == 12


def test_concurrent_writers_lose_nothing_in_s3(s3, make_tile, make_crystal, commit):
    def write(writer: int) -> None:
        catalog = Catalog.open_or_create("s3://cores/shared")
        for number in range(2):
            commit(catalog, (make_tile(f"{writer}-{number}"), [make_crystal()]))

    with ThreadPoolExecutor(2) as writers:
        for done in [writers.submit(write, writer) for writer in range(2)]:
            done.result(DEADLINE_S)
    catalog = Catalog.open("s3://cores/shared")
    assert query(catalog).num_rows == 4
    assert verify(catalog).ok


def test_s3_errors_are_one_line(s3, monkeypatch):
    def refused(ask) -> str:
        with pytest.raises(CatalogError) as raised:
            ask()
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "the bucket does not exist" in refused(lambda: Catalog.open("s3://nowhere/c"))
    assert "the bucket does not exist" in refused(lambda: Catalog.open_or_create("s3://nowhere/c"))
    assert "there is no crystal catalogue" in refused(lambda: Catalog.open("s3://cores/empty"))
    s3.put_object(Bucket="cores", Key="tiles-of-a-core/a.tif", Body=b"x")
    message = refused(lambda: Catalog.open_or_create("s3://cores/tiles-of-a-core"))
    assert "contains other files (a.tif)" in message
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in refused(lambda: Catalog.open("s3://cores/c"))


def test_an_unreachable_object_store(s3, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(CatalogError, match="cannot be reached; check AWS_ENDPOINT_URL"):
        Catalog.open("s3://cores/c")


def test_settings_come_from_fsspec_environment_and_profile(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert log_options("/local") == {}
    assert "aws_access_key_id" not in log_options("s3://b/c")
    assert log_options("s3://b/c")["aws_region"] == "eu-north-1"

    lines = ("[lab]", "aws_access_key_id = a", "aws_secret_access_key = b")
    (tmp_path / "credentials").write_text("\n".join(lines))
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = http://lab:9000\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    options = log_options("s3://b/c")
    assert options["aws_access_key_id"] == "a"
    assert options["aws_endpoint_url"] == "http://lab:9000"
    assert options["aws_allow_http"] == "true"

    monkeypatch.setattr(
        "fsspec.config.conf",
        {"s3": {"key": "k", "secret": "s", "endpoint_url": "https://ceph"}},
    )
    options = log_options("s3://b/c")
    assert (options["aws_access_key_id"], options["aws_endpoint_url"]) == ("k", "https://ceph")
    assert options["aws_allow_http"] == "false"
