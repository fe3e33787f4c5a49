"""Downloads are checked and cached, and repeated only if necessary."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mcn.io.download import DownloadError, cache, download

DATA = b"weights of a network" * 50
SHA256 = hashlib.sha256(DATA).hexdigest()


class Files(BaseHTTPRequestHandler):
    """Serves one file, and 404 for every other path."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        body = DATA if self.path == "/w.bin" else b"nothing here"
        self.send_response(200 if body is DATA else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Address of a server, and the requested paths."""
    handler = type("OneServer", (Files,), {"requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.requests
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_file_is_downloaded_once(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, requests = server
    path = download(f"{address}/w.bin", SHA256, "w.bin")
    assert path.read_bytes() == DATA
    assert path.parent == cache()
    assert cache().is_relative_to(tmp_path)
    assert download(f"{address}/w.bin", SHA256, "w.bin") == path
    assert requests == ["/w.bin"]


def test_a_cached_file_needs_no_network() -> None:
    cache().mkdir(parents=True)
    (cache() / "w.bin").write_bytes(DATA)
    assert download("http://127.0.0.1:1/w.bin", SHA256, "w.bin").read_bytes() == DATA


def test_a_damaged_file_in_the_cache_is_downloaded_again(server: tuple[str, list[str]]) -> None:
    cache().mkdir(parents=True)
    (cache() / "w.bin").write_bytes(DATA[:-1])
    assert download(f"{server[0]}/w.bin", SHA256, "w.bin").read_bytes() == DATA


def test_a_file_with_a_wrong_digest_is_refused_and_not_cached(
    server: tuple[str, list[str]],
) -> None:
    with pytest.raises(DownloadError, match=r"cannot be fetched from http://.*/w\.bin \("):
        download(f"{server[0]}/w.bin", "0" * 64, "w.bin")
    assert [path for path in cache().rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("has_server", [True, False])
def test_a_failed_download_is_a_one_line_error_with_the_address(
    server: tuple[str, list[str]], has_server: bool
) -> None:
    url = f"{server[0] if has_server else 'http://127.0.0.1:1'}/none.bin"
    with pytest.raises(DownloadError) as raised:
        download(url, SHA256, "none.bin")
    assert f"cannot be fetched from {url} (" in str(raised.value)
    assert "\n" not in str(raised.value)
