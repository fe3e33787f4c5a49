"""HEAD gives the headers of GET, and pages of other origins may ask if they are named."""

from starlette.testclient import TestClient

from serve.settings import Settings

from ..local import local_client, local_services


def test_head_has_the_headers_of_get() -> None:
    client = local_client(local_services("test-head"))
    for path in ("/healthz", "/docs", "/docs/static/swagger-ui.css", "/openapi.json", "/none"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.headers["content-type"] == get.headers["content-type"]


def test_other_origins_must_be_named() -> None:
    settings = Settings(insecure=True, cors_origins=("https://lab.example",))
    named = local_client(local_services("test-cors", settings=settings))

    def allowed(client: TestClient, origin: str) -> str | None:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = client.options("/v1/corrections", headers=asked)
        return answer.headers.get("access-control-allow-origin")

    assert allowed(named, "https://lab.example") == "https://lab.example"
    assert allowed(named, "https://other.example") is None
    assert allowed(local_client(local_services("test-nocors")), "https://lab.example") is None
    shown = named.get("/healthz", headers={"Origin": "https://lab.example"})
    assert "ETag" in shown.headers["access-control-expose-headers"]
