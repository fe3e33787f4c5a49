"""A question to a catalogue in an object store takes few requests and few bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from mcn.catalog.query import FEW_COLUMNS, query
from mcn.catalog.schema import tile_table
from mcn.catalog.store import Catalog

from ....ceph import KEY, SECRET, ceph_gateway, environment, missing_programs
from ....fakes import catalog_rows, crystal_row
from ....fault_proxy import fault_proxy
from ..conftest import MakeTile

TILES, CRYSTALS = 60, 100
MOST_REQUESTS, MOST_BYTES = 6, 2**20


@pytest.fixture(params=["moto", pytest.param("ceph", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an object store."""
    if request.param == "moto":
        yield request.getfixturevalue("s3_endpoint")
        return
    if missing := missing_programs():
        pytest.skip(f"needs {', '.join(missing)}")
    with ceph_gateway(tmp_path / "ceph") as address:
        yield address


@pytest.fixture
def local(tmp_path: Path, make_tile: MakeTile) -> Catalog:
    """Two wells of 6,000 crystals in 600 m."""
    catalog = Catalog.create(tmp_path / "c", depth_bin_m=1000.0)
    rows = [crystal_row(equivalent_diameter_um=1 + n / 7) for n in range(CRYSTALS)]
    for well in "AB":
        tiles = [
            make_tile(f"{n}", well, 1000.0 + 10 * n, n_crystals=CRYSTALS) for n in range(TILES)
        ]
        pairs = [(tile, rows) for tile in tiles]
        catalog.commit(catalog_rows(pairs, catalog.depth_bin_m), tile_table(tiles))
    return catalog


def test_requests_and_bytes_of_a_warm_interval(
    local: Catalog, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_proxy(store, share=0) as (address, sent):
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)
        client = boto3.client(
            "s3", endpoint_url=store, aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        client.create_bucket(Bucket="requests")
        for file in Path(local.uri).rglob("*"):
            if file.is_file():
                key = f"c/{file.relative_to(local.uri)}"
                client.put_object(Bucket="requests", Key=key, Body=file.read_bytes())
        catalog = Catalog("s3://requests/c")
        expected = query(local, ["A"], (1205.0, 1215.0))
        assert catalog.crystals(["A"], (1100.0, 1105.0)).num_rows == CRYSTALS
        before, bytes_before = sent.requests, sent.sent_bytes
        found = catalog.crystals(["A"], (1205.0, 1215.0))
        requests, size = sent.requests - before, sent.sent_bytes - bytes_before
        assert found.equals(expected.select(FEW_COLUMNS))
        print(requests, size)
        assert requests <= MOST_REQUESTS, sent.asked[-requests:]
        assert size <= MOST_BYTES
