"""Invalid queries give 4xx and storage errors 5xx; the two are counted separately."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mcn.catalog.storage import storage_trouble
from mcn.catalog.store import Catalog
from mcn.micrograph import Limits
from serve.deployments.catalog_reader import CatalogReader
from serve.metrics import ServeMetrics

from ..local import local_client, local_services


@pytest.fixture
def address(scanned: Path, tmp_path: Path) -> Path:
    """A copy of the catalogue."""
    return Path(shutil.copytree(scanned / "catalog", tmp_path / "catalog"))


@pytest.fixture
def metrics() -> ServeMetrics:
    return ServeMetrics("test-storage-trouble")


@pytest.fixture
def client(address: Path, metrics: ServeMetrics) -> Iterator[TestClient]:
    reader = CatalogReader(str(address), 0.0, Limits())
    with local_client(local_services(metrics, reader=reader)) as client:
        yield client


def count_storage_errors(client: TestClient, metrics: ServeMetrics, trouble: str = "") -> float:
    """Number of storage errors; every request for metrics also reads the catalogue's age."""
    assert client.get("/metrics").status_code == 200
    # Not from the text: the storage of values is chosen when prometheus_client is first imported.
    samples = [sample for metric in metrics.storage_errors.collect() for sample in metric.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name.endswith("_total") and trouble in ("", sample.labels["trouble"])
    )


def well_of(client: TestClient) -> str:
    return str(client.get("/v1/wells").json()["wells"][0]["well"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/wells/none/crystals", 404),
        ("/v1/wells/none/log", 404),
        ("/v1/wells/{well}/crystals?depth=deep", 422),
        ("/v1/wells/{well}/crystals?depth=2:1", 422),
        ("/v1/wells/{well}/crystals?shape=cubic", 422),
        ("/v1/wells/{well}/crystals?limit=0", 422),
        ("/v1/wells/{well}/crystals?cursor=x", 422),
        ("/v1/wells/{well}/log?step=1e-9", 422),
        (f"/v1/tiles/{'0' * 32}", 404),
        (f"/v1/tiles/{'0' * 32}/image", 404),
        ("/v1/nothing", 404),
    ],
)
def test_invalid_queries_are_client_errors(
    client: TestClient, metrics: ServeMetrics, path: str, status: int
) -> None:
    before = count_storage_errors(client, metrics)
    answer = client.get(path.format(well=well_of(client)))
    assert answer.status_code == status, answer.text
    assert "Retry-After" not in answer.headers
    assert count_storage_errors(client, metrics) == before


def damage(folder: Path) -> None:
    for file in folder.rglob("*.parquet"):
        data = bytearray(file.read_bytes())
        for spot in range(4, len(data) * 9 // 10, 50):
            data[spot] ^= 255
        file.write_bytes(data)


def drop(folder: Path) -> None:
    for file in folder.rglob("*.parquet"):
        file.unlink()


@pytest.mark.parametrize(
    ("break_storage", "resource", "status", "trouble"),
    [
        (lambda folder: shutil.rmtree(folder), "crystals", 503, "missing"),
        (lambda folder: shutil.rmtree(folder / "crystals"), "log", 503, "missing"),
        (lambda folder: drop(folder / "crystals"), "crystals", 503, "missing"),
        (lambda folder: drop(folder / "crystals"), "log", 503, "missing"),
        (lambda folder: damage(folder / "crystals"), "crystals", 500, "damaged"),
        (lambda folder: damage(folder / "crystals"), "log", 500, "damaged"),
    ],
)
def test_storage_errors_are_server_errors(
    client: TestClient,
    metrics: ServeMetrics,
    address: Path,
    break_storage: Callable[[Path], None],
    resource: str,
    status: int,
    trouble: str,
) -> None:
    well = well_of(client)
    before = count_storage_errors(client, metrics, trouble)
    break_storage(address)
    answer = client.get(f"/v1/wells/{well}/{resource}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert str(address) in answer.json()["detail"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    after = count_storage_errors(client, metrics, trouble)
    assert after > before


@pytest.mark.parametrize(
    "error",
    [
        "AWS Error NETWORK_CONNECTION during GetObject: curlCode: 7, Couldn't connect",
        "AWS Error ACCESS_DENIED during GetObject",
        "AWS Error NO_SUCH_BUCKET during HeadBucket",
        TimeoutError(),
    ],
)
def test_an_unavailable_store_gives_503(
    client: TestClient,
    metrics: ServeMetrics,
    monkeypatch: pytest.MonkeyPatch,
    error: str | Exception,
) -> None:
    well = well_of(client)
    fault = storage_trouble("s3://cores/catalog", error)

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Catalog, "snapshot", fail)
    before = count_storage_errors(client, metrics)
    for path in ("/v1/wells", f"/v1/wells/{well}/crystals", f"/v1/tiles/{'0' * 32}/image"):
        answer = client.get(path)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["detail"] == str(fault)
    # Each request for metrics also reads the catalogue's age.
    assert count_storage_errors(client, metrics) > before + 3


def test_a_tile_in_an_unavailable_store(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = well_of(client)
    (row, *_) = client.get(f"/v1/wells/{well}/crystals?limit=1").json()["crystals"]
    path = f"/v1/tiles/{row['tile_id']}/image"

    def raising(error: Exception) -> Callable[..., bytes]:
        def fail(*_: object, **__: object) -> bytes:
            raise error

        return fail

    monkeypatch.setattr(
        "serve.deployments.tile_pictures.fetch",
        raising(ConnectionResetError(104, "reset by peer")),
    )
    assert client.get(path).status_code == 503
    monkeypatch.setattr("serve.deployments.tile_pictures.fetch", raising(FileNotFoundError("gone")))
    assert client.get(path).status_code == 404
    monkeypatch.undo()
    assert client.get(path).status_code == 200


def test_a_catalogue_that_never_existed_gives_404(client: TestClient, address: Path) -> None:
    shutil.rmtree(address)
    answer = client.get("/v1/wells")
    assert answer.status_code == 404
    assert "there is no crystal catalogue" in answer.json()["detail"]


@pytest.mark.parametrize("table", ["crystals", "tiles"])
def test_a_catalogue_without_a_table_gives_503(
    client: TestClient, metrics: ServeMetrics, address: Path, table: str
) -> None:
    shutil.rmtree(address / table)
    before = count_storage_errors(client, metrics, "missing")
    answer = client.get("/v1/wells")
    assert answer.status_code == 503, answer.text
    assert f"its table {table} is missing" in answer.json()["detail"]
    assert count_storage_errors(client, metrics, "missing") > before


def test_a_catalogue_of_a_newer_version_gives_500(client: TestClient, address: Path) -> None:
    for entry in address.glob("*/_delta_log/00000000000000000000.json"):
        text = entry.read_text(encoding="utf-8")
        assert '"mcn.format":"1"' in text
        entry.write_text(text.replace('"mcn.format":"1"', '"mcn.format":"999"'))
    answer = client.get("/v1/wells")
    assert answer.status_code == 500, answer.text
    assert "written by a newer mcn" in answer.json()["detail"]
