"""Whatever a client sends to a route, it gets a result or a problem that shows no server paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serve.deployments.jobs import JobsDeployment
from serve.settings import JobSettings, Settings
from serve.tokens import add_token

from ..local import LocalHandle
from ..small_core import WELL, SmallCore, make_small_core

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

HOSTILE = (
    *("", "nan", "-inf", "-1", "1e999", "1e999:nan", "5:1", "9" * 400, "\x00", "\r\nX: y"),
    *("../../etc/passwd", "'; DROP TABLE x;--", "%", "{}", "[]", "null", "a" * 5000, "1," * 2000),
    *("\u202e", "𝔘", "é", "<script>", "pct:nan,0,1,1", "!5,5", "99999999999999999999"),
)
BODIES = (
    *(b"", b"null", b"[]", b"{}", b"NaN", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000),
    *(b'{"operation":null}', b'{"tile_id":1e999}', b'{"tile_id":"\\ud800"}'),
)
HEADERS = (
    *({"Accept": accept} for accept in ("x/y", ";;;", "a" * 5000, "application/json;q=nan")),
    *({"If-None-Match": tag} for tag in ("*", 'W/"', '"' * 100)),
)
KINDS = ("application/json", "image/png", "multipart/form-data", "multipart/form-data; boundary=x")
WITHOUT_MODELS = ("/readyz", "/v1/models")
"""Routes about the models, which are not there."""


class Named:
    """A segmenter that is never reached by a picture."""

    name = "patches@000000000000"

    def about_segmenter(self) -> Named:
        return self


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> SmallCore:
    return make_small_core(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def client(core: SmallCore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.json"
    token = add_token(tokens, "lab", ["read", "analyze", "correct"])
    limits = {"requests_a_minute": 10**6, "requests_a_day": 10**6}
    with core.client(Settings(tokens=str(tokens), **limits), "hostile") as client:
        state = client.app.state  # type: ignore[attr-defined]
        jobs = JobsDeployment(JobSettings(), None, None)
        state.services = replace(
            state.services, segmenter=LocalHandle(Named()), jobs=LocalHandle(jobs)
        )
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def requests(client: TestClient, core: SmallCore) -> Iterator[dict[str, Any]]:
    """Each route with each hostile value of each parameter, and with hostile bodies and headers."""
    tile = core.tiles[0].tile_id
    good = {"well": WELL, "tile_id": tile, "crystal_id": f"{tile}-1", "region": "full"}
    good |= {"size": "max", "rotation": "0", "quality": "default", "format": "jpg"}
    for path, operations in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        for method, operation in operations.items():
            if path in WITHOUT_MODELS:
                continue
            parameters = operation.get("parameters", [])
            names = [each["name"] for each in parameters if each["in"] == "path"]

            def url(values: dict[str, str], path: str = path, names: list[str] = names) -> str:
                for name in names:
                    value = {**good, **values}.get(name, "x")
                    path = path.replace(f"{{{name}}}", quote(value, safe=""))
                return path

            plain = {"method": method, "url": url({})}
            for value in HOSTILE:
                for each in parameters:
                    if each["in"] == "query":
                        yield {**plain, "params": {each["name"]: value}}
                    elif each["in"] == "path" and value:
                        yield {**plain, "url": url({each["name"]: value})}
            yield from ({**plain, "headers": headers} for headers in HEADERS)
            if method == "post":
                for body in BODIES:
                    for kind in KINDS:
                        yield {**plain, "content": body, "headers": {"Content-Type": kind}}


def test_every_request_gets_a_result_or_a_problem(client: TestClient, core: SmallCore) -> None:
    count = 0
    folder = str(Path(core.catalog.uri).parent)
    for request in requests(client, core):
        count += 1
        response = client.request(**request)
        assert response.status_code < 500, (request, response.text[:300])
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json", request
            assert folder not in response.text, request
            assert len(response.text) < 9000, request
    assert count > 1000
