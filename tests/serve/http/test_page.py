"""The page is served under a strict policy; without it, the rest works."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serve.http.page import add_page


def client_of(built: Path) -> TestClient:
    app = FastAPI()
    add_page(app, built)
    return TestClient(app)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "assets/main-1234.js").write_text("1")
    return tmp_path


def test_the_page_may_load_only_from_its_own_origin(built: Path) -> None:
    answer = client_of(built).get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(
        each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)


def test_a_new_build_is_seen_at_once_and_its_files_are_kept(built: Path) -> None:
    client = client_of(built)
    assert client.get("/").headers["cache-control"] == "no-cache"
    asset = client.get("/assets/main-1234.js")
    assert asset.headers["content-type"].startswith("text/javascript")
    assert "immutable" in asset.headers["cache-control"]
    assert client.get("/assets/../index.html").status_code == 404
    assert client.head("/").status_code == 200


def test_where_the_page_was_not_built_it_is_said(tmp_path: Path) -> None:
    answer = client_of(tmp_path).get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "make page" in answer.text
