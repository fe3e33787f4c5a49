"""An endpoint runs inside its cluster, whose processes know the proxy's settings."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from mcn.cli.online.running import running_endpoint
from serve import app
from serve.settings import PROXY_CALLBACK, Settings


def test_the_cluster_starts_first_and_ends_last(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    @contextmanager
    def cluster(verbose: bool, environment: Mapping[str, str]) -> Iterator[None]:
        assert environment == dict([PROXY_CALLBACK]), "of the proxies, on any cluster"
        events.append("cluster")
        yield
        events.append("cluster ended")

    @contextmanager
    def until_stopped(settings: Settings) -> Iterator[threading.Event]:
        yield threading.Event()
        events.append("requests finished")

    def start(settings: Settings, stopped: threading.Event, report: Any) -> None:
        events.append("endpoint")

    monkeypatch.setattr("pipelines.cluster.ray_cluster", cluster)
    monkeypatch.setattr(app, "until_stopped", until_stopped)
    monkeypatch.setattr(app, "start", start)
    with running_endpoint(Settings(insecure=True), verbose=False) as stopped:
        assert not stopped.is_set()
        events.append("serving")
    assert events == ["cluster", "endpoint", "serving", "requests finished", "cluster ended"]
