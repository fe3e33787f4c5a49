"""Storage errors and invalid queries are distinct, one-line errors."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from s3fs import S3FileSystem

from mcn.catalog import storage
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.export import export
from mcn.catalog.query import Selection, iter_batches, parse_depth, query, sql
from mcn.catalog.storage import CatalogError, storage_trouble
from mcn.catalog.store import Catalog, NoCatalogError
from mcn.catalog.upkeep import scan_lease
from mcn.catalog.upkeep.maintenance import compact, info, vacuum, verify
from mcn.errors import QueryError, StorageError
from mcn.taxonomy import SHAPES

from ...fault_proxy import fault_proxy


@pytest.fixture
def filled(catalog: Catalog, make_tile, make_crystal, commit) -> Catalog:  # type: ignore[no-untyped-def]
    commit(catalog, (make_tile(), [make_crystal()] * 3))
    return catalog


def error_of(ask: Callable[[], object]) -> CatalogError:
    with pytest.raises(CatalogError) as raised:
        ask()
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    "ask",
    [
        lambda catalog: sql(catalog, "SELECT nothing FROM crystals"),
        lambda catalog: sql(catalog, "SELEKT * FROM crystals"),
        lambda catalog: sql(catalog, "SELECT * FROM minerals"),
        lambda catalog: sql(catalog, "SELECT nothing(depth_m) FROM crystals"),
        lambda catalog: sql(catalog, "SELECT well::INTEGER FROM crystals"),
        lambda catalog: sql(catalog, "SELECT error('IOError: no such file') FROM crystals"),
        lambda catalog: sql(catalog, "SELECT * FROM read_parquet('/etc/passwd')"),
        lambda catalog: sql(catalog, "DROP TABLE crystals"),
        lambda catalog: sql(catalog, ""),
        lambda catalog: query(catalog, ["B"]),
        lambda catalog: query(catalog, shapes=["cubic"]),
        lambda catalog: query(catalog, limit=-1),
        lambda catalog: list(iter_batches(catalog, Selection(["B"]))),
        lambda catalog: parse_depth("deep"),
        lambda catalog: parse_depth("2:1"),
        lambda catalog: depth_log(catalog, "B"),
        lambda catalog: depth_log(catalog, "A", -1.0),
        lambda catalog: export(catalog, Path(catalog.uri).parent / "x", wells=["B"]),
    ],
)
def test_invalid_queries_are_not_storage_errors(
    filled: Catalog, ask: Callable[[Catalog], object]
) -> None:
    error = error_of(lambda: ask(filled))
    assert isinstance(error, QueryError)
    assert not isinstance(error, StorageError)


def test_an_address_without_a_catalogue_is_not_a_storage_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        error = error_of(lambda path=path: Catalog.open(path))  # type: ignore[misc]
        assert isinstance(error, NoCatalogError)
        assert not isinstance(error, StorageError)
    assert not isinstance(error_of(lambda: Catalog.open("gs://b/c")), StorageError)


READERS = {
    "query": query,
    "sql": lambda catalog: sql(catalog, "SELECT count(shape) FROM crystals"),
    "log": lambda catalog: depth_log(catalog, "A"),
    "export": lambda catalog: export(catalog, Path(catalog.uri).parent / "out.json"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_deleted_by_vacuum(filled: Catalog, reader: str) -> None:
    for file in Path(filled.uri, "crystals").rglob("*.parquet"):
        file.unlink()
    error = error_of(lambda: READERS[reader](filled))
    assert isinstance(error, StorageError)
    assert error.trouble == "missing"
    assert "part-commit-" in str(error)
    assert "try again if a vacuum ran meanwhile" in str(error)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can drop its rights temporarily")
@pytest.mark.parametrize("locked", ["", "tiles/_delta_log", "crystals/well=A"])
def test_a_folder_without_read_permission(filled: Catalog, locked: str) -> None:
    place = Path(filled.uri, locked)
    for folder in (Path(filled.uri), *Path(filled.uri).parents[:-2]):
        folder.chmod(0o755)
    place.chmod(0)
    os.seteuid(65534)
    try:
        error = error_of(lambda: query(Catalog.open(filled.uri)))
    finally:
        os.seteuid(0)
    assert isinstance(error, StorageError), repr(error)
    assert error.trouble == "refused", str(error)
    assert "ask for rights" in str(error)


class FixedResponseHandler(BaseHTTPRequestHandler):
    """An object store that returns the same response to every request."""

    status, code = 403, "AccessDenied"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815 (names of the library)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Points to an object store with a timeout of one second."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        storage, "_RETRIES", {"max_retries": "1", "retry_timeout": "1s", "timeout": "1s"}
    )
    monkeypatch.setattr(storage, "_ATTEMPTS", 1)
    monkeypatch.setattr("mcn.io.objects._TRIES", 1)
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def point(address: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()

    return point


@pytest.fixture
def fixed_response(s3: Callable[[str], None]) -> Iterator[type[FixedResponseHandler]]:
    handler = type("One", (FixedResponseHandler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    s3(f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "trouble", "remedy"),
    [
        (403, "AccessDenied", "refused", "ask for rights"),
        (403, "InvalidAccessKeyId", "refused", "check AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "refused", "check AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", "refused", "renew them"),
        (404, "NoSuchBucket", "missing", "check its name"),
        (503, "SlowDown", "unreachable", "try again later"),
        (500, "InternalError", "unreachable", "try again later"),
    ],
)
def test_error_responses_of_an_object_store(
    fixed_response: type[FixedResponseHandler], status: int, code: str, trouble: str, remedy: str
) -> None:
    fixed_response.status, fixed_response.code = status, code
    catalog = Catalog.__new__(Catalog)  # As passed to another process: nothing is read yet.
    catalog.__setstate__(
        {
            "uri": "s3://cores/c",
            "versions": {},
            "until": None,
            "depth_bin_m": 100.0,
            "shapes": SHAPES,
        }
    )
    readers = [Catalog.open, lambda _: query(catalog)]
    if code != "NoSuchBucket":  # Without a bucket there are no scan entries either.
        readers.append(lambda _: scan_lease.entries(catalog))
    for ask in readers:
        error = error_of(lambda ask=ask: ask("s3://cores/c"))  # type: ignore[misc]
        assert isinstance(error, StorageError), repr(error)
        assert (error.trouble, remedy in str(error)) == (trouble, True), str(error)
        assert str(error).startswith("s3://cores/c: ")


def test_an_object_store_that_becomes_unreachable(
    s3: Callable[[str], None],
    s3_endpoint: str,
    make_tile,  # type: ignore[no-untyped-def]
    make_crystal,  # type: ignore[no-untyped-def]
    commit,  # type: ignore[no-untyped-def]
) -> None:
    with fault_proxy(s3_endpoint, share=0) as (address, faults):
        s3(address)
        boto3.client("s3").create_bucket(Bucket="going")
        catalog = Catalog.create("s3://going/c")
        commit(catalog, (make_tile(), [make_crystal()]))
        before = catalog.snapshot()
        assert faults.requests > 0
        faults.share = 1.0
        for ask in (
            lambda: pa.concat_tables(iter_batches(catalog, snapshot=before)),
            lambda: query(catalog),
        ):
            error = error_of(ask)
            assert isinstance(error, StorageError), repr(error)
            assert error.trouble == "unreachable", str(error)
    for ask in (
        lambda: pa.concat_tables(iter_batches(catalog, snapshot=before)),
        lambda: query(catalog),
        lambda: info(catalog),
        lambda: verify(catalog),
        lambda: compact(catalog),
        lambda: vacuum(catalog),
        lambda: catalog.write(catalog.crystals_schema.empty_table(), one_tile(make_tile), "x"),
    ):
        error = error_of(ask)
        assert isinstance(error, StorageError), repr(error)
        assert "cannot be reached; check AWS_ENDPOINT_URL" in str(error)


def one_tile(make_tile):  # type: ignore[no-untyped-def]
    from mcn.catalog.schema import tile_table

    return tile_table([make_tile("later")])


@pytest.mark.parametrize(
    ("error", "trouble", "remedy"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "full", "make room"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "unreachable", "try again"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "unreachable", "try again"),
        (PermissionError(errno.EACCES, "Permission denied"), "refused", "ask for rights"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "refused", "ask for rights"),
        (TimeoutError(), "unreachable", "did not answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "unreachable", "try again"),
        ("AWS Error NETWORK_CONNECTION during GetObject: curlCode: 7", "unreachable", "network"),
        ("AWS Error ACCESS_DENIED during GetObject operation", "refused", "ask for rights"),
        ("AWS Error NO_SUCH_BUCKET during HeadBucket operation", "missing", "check its name"),
        ("AWS Error NO_SUCH_KEY during GetObject operation", "missing", "restore it"),
        ("AWS Error SLOW_DOWN during GetObject operation", "unreachable", "later"),
        ("something new", "unreachable", "check the storage"),
    ],
)
def test_errors_of_libraries_are_classified(
    error: Exception | str, trouble: str, remedy: str
) -> None:
    storage_error = storage_trouble("/c", error)
    assert storage_error.trouble == trouble
    assert str(storage_error).startswith("/c: ")
    assert remedy in str(storage_error)
    assert pickle.loads(pickle.dumps(storage_error)).trouble == trouble


def test_a_catalogue_that_cannot_be_written(filled: Catalog, make_tile) -> None:  # type: ignore[no-untyped-def]
    shutil.rmtree(Path(filled.uri, "tiles", "well=A"))
    Path(filled.uri, "tiles", "well=A").write_bytes(b"in the way")
    error = error_of(
        lambda: filled.write(filled.crystals_schema.empty_table(), one_tile(make_tile), "x")
    )
    assert isinstance(error, StorageError)
