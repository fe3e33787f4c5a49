"""An endpoint runs inside its cluster, whose processes know the proxy's settings."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mcn.cli.online.running import running_endpoint
from serve import app
from serve.settings import PROXY_CALLBACK, Settings


def test_the_cluster_starts_first_and_ends_last(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    name, value = PROXY_CALLBACK

    @contextmanager
    def cluster(verbose: bool) -> Iterator[None]:
        assert os.environ[name] == value, "it is read when Ray starts"
        events.append("cluster")
        yield
        events.append("cluster ended")

    @contextmanager
    def until_stopped(settings: Settings) -> Iterator[threading.Event]:
        yield threading.Event()
        events.append("requests finished")

    def start(settings: Settings, stopped: threading.Event, report: Any) -> None:
        events.append("endpoint")

    monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pipelines.cluster.ray_cluster", cluster)
    monkeypatch.setattr(app, "until_stopped", until_stopped)
    monkeypatch.setattr(app, "start", start)
    with running_endpoint(Settings(insecure=True), verbose=False) as stopped:
        assert not stopped.is_set()
        events.append("serving")
    assert events == ["cluster", "endpoint", "serving", "requests finished", "cluster ended"]
