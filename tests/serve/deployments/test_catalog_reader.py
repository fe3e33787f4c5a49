"""Over HTTP a wrong question is 4xx, and a store that is gone 503; the two are counted apart."""

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
    """A catalogue of one's own."""
    return Path(shutil.copytree(scanned / "catalog", tmp_path / "catalog"))


@pytest.fixture
def metrics() -> ServeMetrics:
    return ServeMetrics("test-storage-trouble")


@pytest.fixture
def client(address: Path, metrics: ServeMetrics) -> Iterator[TestClient]:
    reader = CatalogReader(str(address), 0.0, Limits())
    with local_client(local_services(metrics, reader=reader)) as client:
        yield client


def counted(client: TestClient, metrics: ServeMetrics, trouble: str = "") -> float:
    """Storage errors so far; each look at the metrics looks at the catalogue's age as well."""
    assert client.get("/metrics").status_code == 200
    # Not from the text: how values are kept is settled when Prometheus' client is first imported.
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
def test_wrong_questions_are_the_askers(
    client: TestClient, metrics: ServeMetrics, path: str, status: int
) -> None:
    before = counted(client, metrics)
    answer = client.get(path.format(well=well_of(client)))
    assert answer.status_code == status, answer.text
    assert "Retry-After" not in answer.headers
    assert counted(client, metrics) == before


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
    ("spoil", "what", "status", "trouble"),
    [
        (lambda at: shutil.rmtree(at), "crystals", 503, "missing"),
        (lambda at: shutil.rmtree(at / "crystals"), "log", 503, "missing"),
        (lambda at: drop(at / "crystals"), "crystals", 503, "missing"),
        (lambda at: drop(at / "crystals"), "log", 503, "missing"),
        (lambda at: damage(at / "crystals"), "crystals", 500, "damaged"),
        (lambda at: damage(at / "crystals"), "log", 500, "damaged"),
    ],
)
def test_storage_trouble_is_not(
    client: TestClient,
    metrics: ServeMetrics,
    address: Path,
    spoil: Callable[[Path], None],
    what: str,
    status: int,
    trouble: str,
) -> None:
    well = well_of(client)
    before = counted(client, metrics, trouble)
    spoil(address)
    answer = client.get(f"/v1/wells/{well}/{what}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert str(address) in answer.json()["detail"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    after = counted(client, metrics, trouble)
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
def test_a_store_that_does_not_give_is_503(
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
    before = counted(client, metrics)
    for path in ("/v1/wells", f"/v1/wells/{well}/crystals", f"/v1/tiles/{'0' * 32}/image"):
        answer = client.get(path)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["detail"] == str(fault)
    # Each look at the figures looks at the catalogue's age as well.
    assert counted(client, metrics) > before + 3


def test_a_tile_whose_store_is_gone(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    well = well_of(client)
    (row, *_) = client.get(f"/v1/wells/{well}/crystals?limit=1").json()["crystals"]
    path = f"/v1/tiles/{row['tile_id']}/image"
    assert client.get(path).status_code == 200

    def raising(error: Exception) -> Callable[..., bytes]:
        def fail(*_: object, **__: object) -> bytes:
            raise error

        return fail

    monkeypatch.setattr(
        "serve.deployments.catalog_reader.fetch",
        raising(ConnectionResetError(104, "reset by peer")),
    )
    assert client.get(path).status_code == 503
    monkeypatch.setattr(
        "serve.deployments.catalog_reader.fetch", raising(FileNotFoundError("gone"))
    )
    assert client.get(path).status_code == 404


def test_a_catalogue_that_never_was_there_is_no_fault(client: TestClient, address: Path) -> None:
    shutil.rmtree(address)
    answer = client.get("/v1/wells")
    assert answer.status_code == 404
    assert "there is no crystal catalogue" in answer.json()["detail"]


@pytest.mark.parametrize("table", ["crystals", "tiles"])
def test_a_catalogue_that_lost_a_table_before_it_was_opened_is_503(
    client: TestClient, metrics: ServeMetrics, address: Path, table: str
) -> None:
    shutil.rmtree(address / table)
    before = counted(client, metrics, "missing")
    answer = client.get("/v1/wells")
    assert answer.status_code == 503, answer.text
    assert f"its table {table} is missing" in answer.json()["detail"]
    assert counted(client, metrics, "missing") > before


def test_a_catalogue_of_a_newer_version_is_not_the_askers_fault(
    client: TestClient, address: Path
) -> None:
    for entry in address.glob("*/_delta_log/00000000000000000000.json"):
        text = entry.read_text(encoding="utf-8")
        assert '"mcn.format":"1"' in text
        entry.write_text(text.replace('"mcn.format":"1"', '"mcn.format":"999"'))
    answer = client.get("/v1/wells")
    assert answer.status_code == 500, answer.text
    assert "written by a newer mcn" in answer.json()["detail"]
