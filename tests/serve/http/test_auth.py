"""Every route, with every kind of token."""

from pathlib import Path

import httpx

from ...waiting import DEADLINE_S
from ..conftest import Endpoint

ROUTES = [
    ("GET", "/v1/evaluation", "read"),
    ("POST", "/v1/analyze", "analyze"),
    ("POST", "/v1/analyze:batch", "analyze"),
    ("POST", "/v1/jobs", "analyze"),
    ("GET", "/v1/jobs/{job_id}", "analyze"),
    ("DELETE", "/v1/jobs/{job_id}", "analyze"),
    ("GET", "/v1/jobs/{job_id}/result", "analyze"),
    ("POST", "/v1/segment", "analyze"),
    ("POST", "/v1/classify", "analyze"),
    ("POST", "/v1/explain", "analyze"),
    ("GET", "/v1/wells", "read"),
    ("GET", "/v1/wells/{well}", "read"),
    ("GET", "/v1/wells/{well}/tiles", "read"),
    ("GET", "/v1/wells/{well}/crystals", "read"),
    ("GET", "/v1/wells/{well}/log", "read"),
    ("GET", "/v1/wells/{well}/textures", "read"),
    ("GET", "/v1/tiles/{tile_id}", "read"),
    ("GET", "/v1/tiles/{tile_id}/image", "read"),
    ("GET", "/v1/tiles/{tile_id}/crystals", "read"),
    ("GET", "/v1/tiles/{tile_id}/labels", "read"),
    ("GET", "/v1/tiles/{tile_id}/overlay", "read"),
    ("GET", "/v1/crystals/{crystal_id}", "read"),
    ("GET", "/v1/crystals/{crystal_id}/crop", "read"),
    ("GET", "/v1/crystals/{crystal_id}/heat", "read and analyze"),
    ("GET", "/v1/crystals/{crystal_id}/similar", "read and analyze"),
    ("GET", "/v1/iiif/{tile_id}", "read"),
    ("GET", "/v1/iiif/{tile_id}/info.json", "read"),
    ("GET", "/v1/iiif/{tile_id}/{region}/{size}/{rotation}/{quality}.{form}", "read"),
    ("GET", "/v1/corrections", "read"),
    ("POST", "/v1/corrections", "correct"),
    ("POST", "/v1/corrections/{change_id}/undo", "correct"),
    ("GET", "/v1/session", None),
    ("GET", "/v1/models", "read"),
    ("GET", "/metrics", "admin"),
]
PLACES = {
    "well": "none",
    "tile_id": "0" * 32,
    "crystal_id": f"{'0' * 32}-0001",
    "change_id": "none",
    "job_id": "none",
    "region": "full",
    "size": "max",
    "rotation": "0",
    "quality": "default",
    "form": "png",
}
SCOPES = {"reader": {"read"}, "analyst": {"analyze"}, "operator": {"admin"}}


def test_every_route_requires_its_scope(endpoint: Endpoint) -> None:
    for method, path, scope in ROUTES:
        url = path.format(**PLACES)
        for name in ("nobody", "unknown", "expired", *SCOPES):
            with endpoint.client(name) as client:
                answer = client.request(method, url)
            context = f"{method} {path} by {name}: {answer.status_code} {answer.text}"
            if name not in SCOPES:
                assert answer.status_code == 401, context
                assert answer.headers["www-authenticate"] == "Bearer", context
            elif scope is None or scope in SCOPES[name]:
                # A picture's address leads to its description.
                assert answer.status_code in (200, 303, 404, 415, 422), context
            else:
                assert answer.status_code == 403, context
            if answer.status_code >= 400:
                problem = answer.json()
                assert answer.headers["content-type"] == "application/problem+json", context
                assert problem["status"] == answer.status_code
                assert problem["request_id"] == answer.headers["x-request-id"], context


def test_every_route_is_tested(endpoint: Endpoint) -> None:
    paths = httpx.get(f"{endpoint.url}/openapi.json", timeout=DEADLINE_S).json()["paths"]
    described = {
        (method.upper(), path) for path, operations in paths.items() for method in operations
    }
    open_to_all = {("GET", "/healthz"), ("GET", "/readyz")}
    assert described - open_to_all == {(method, path) for method, path, _ in ROUTES}


def test_health_is_open_and_reveals_nothing(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.url}/healthz", timeout=DEADLINE_S).json() == {"status": "ok"}
    assert httpx.get(f"{endpoint.url}/readyz", timeout=DEADLINE_S).json() == {"status": "ready"}


def test_a_token_in_the_wrong_place_is_ignored(endpoint: Endpoint) -> None:
    token = endpoint.tokens["lab"]
    for headers in (
        {"Authorization": token},
        {"Authorization": f"Basic {token}"},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"X-Token": token},
    ):
        assert (
            httpx.get(f"{endpoint.url}/v1/wells", headers=headers, timeout=DEADLINE_S).status_code
            == 401
        ), headers
    latin = {"Authorization": b"Bearer \xff\xfe"}
    assert (
        httpx.get(f"{endpoint.url}/v1/wells", headers=latin, timeout=DEADLINE_S).status_code == 401
    )
    assert (
        httpx.get(f"{endpoint.url}/v1/wells?token={token}", timeout=DEADLINE_S).status_code == 401
    )


def test_responses_have_security_headers_and_allow_no_other_sites(
    endpoint: Endpoint,
) -> None:
    with endpoint.client() as client:
        # Answers of the catalogue may be kept, but are asked for again by their tag.
        kept = {"/v1/wells": "private, no-cache"}
        for path in ("/v1/wells", "/v1/nothing", "/healthz"):
            headers = client.get(path, headers={"Origin": "https://elsewhere.example"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == kept.get(path, "no-store")
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "access-control-allow-origin" not in headers


def test_the_log_has_one_line_per_request_and_no_token(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        request_id = client.get("/v1/wells").headers["x-request-id"]
    logs = [
        Path(f"/proc/{pid}/fd/2").resolve().read_text(errors="replace")
        for pid in endpoint.replicas("Ingress")
    ]
    lines = [line for text in logs for line in text.splitlines() if request_id in line]
    assert any('"path": "/v1/wells"' in line and '"token": "lab"' in line for line in lines)
    for secret in endpoint.tokens.values():
        assert not any(secret in text for text in logs)
