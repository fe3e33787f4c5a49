"""Every request has an id, security headers, a count and a line in the log."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from serve.http.middleware import RequestMiddleware
from serve.metrics import ServeMetrics

METRICS = ServeMetrics("test-middleware")


async def return_id(request: Request) -> PlainTextResponse:
    headers = {"Cache-Control": "max-age=60"}
    return PlainTextResponse(request.state.request_id, headers=headers)


async def fail(request: Request) -> PlainTextResponse:
    raise RuntimeError("a secret")


@pytest.fixture
def client() -> Iterator[TestClient]:
    middleware = [Middleware(RequestMiddleware, metrics=METRICS)]
    routes = [Route("/id", return_id), Route("/fail", fail)]
    app = Starlette(routes=routes, middleware=middleware)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def requests() -> dict[tuple[str, ...], float]:
    """Number of requests by method, route and status."""
    samples = [sample for family in METRICS.requests.collect() for sample in family.samples]
    return {
        tuple(sample.labels[label] for label in ("method", "route", "status")): sample.value
        for sample in samples
        if sample.name.endswith("_total")
    }


def test_a_valid_request_id_is_kept(client: TestClient) -> None:
    request_id = "0123-abcd_EFG.h"
    assert client.get("/id", headers={"X-Request-Id": request_id}).text == request_id
    for other in ("short", "a b c d e f g", "x" * 65, "line\\nbreak"):
        generated = client.get("/id", headers={"X-Request-Id": other}).text
        assert generated != other
        assert len(generated) == 32
    assert client.get("/id").text != client.get("/id").text


def test_responses_have_security_headers_that_a_route_may_change(client: TestClient) -> None:
    headers = client.get("/id").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "max-age=60"
    assert client.get("/nothing").headers["cache-control"] == "no-store"


def test_an_internal_error_reveals_only_its_request_id(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.get("/fail", headers={"X-Request-Id": "request-1"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["request_id"] == "request-1"
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "request request-1 failed"
    assert record.exc_info


def test_requests_are_counted_by_route_and_unknown_paths_together(client: TestClient) -> None:
    before = requests()
    for path in ("/a", "/b"):
        client.get(path)
        client.post(path)
    after = requests()
    changed = {
        key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key)
    }
    assert changed == {("any", "none", "404"): 4}


def test_the_log_has_a_line_for_each_request(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serve.audit")
    client.get("/id?token=hidden", headers={"X-Request-Id": "request-2"})
    client.get("/" + "x" * 500)
    lines: list[dict[str, Any]] = [
        json.loads(r.getMessage()) for r in caplog.records if r.name == "serve.audit"
    ]
    first, second = lines
    assert (first["request_id"], first["method"], first["path"]) == ("request-2", "GET", "/id")
    assert (first["status"], first["bytes"]) == (200, len("request-2"))
    assert "hidden" not in json.dumps(first)
    assert (second["status"], len(second["path"])) == (404, 200)
