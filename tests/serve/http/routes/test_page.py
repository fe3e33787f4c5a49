"""The page's files: a strict policy, and a plain text where it was not built."""

from pathlib import Path

from fastapi import FastAPI
from starlette.testclient import TestClient

from serve.http.routes.page import add_page


def test_the_page_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "index-1a2b.js").write_text("1")
    app = FastAPI()
    add_page(app, tmp_path)
    client = TestClient(app)
    page = client.get("/")
    assert page.text == "<!doctype html>"
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-cache"
    asset = client.get("/assets/index-1a2b.js")
    assert "immutable" in asset.headers["cache-control"]
    assert client.get("/assets/..%2f..%2findex.html").status_code == 404


def test_a_page_that_was_not_built_says_so(tmp_path: Path) -> None:
    app = FastAPI()
    add_page(app, tmp_path)
    page = TestClient(app).get("/")
    assert page.headers["content-type"].startswith("text/plain")
    assert "make page" in page.text
