"""A cluster that does not start gives a one-line reason; a slow start is retried."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import worker

from pipelines.cluster import ClusterError, ray_cluster

from ..waiting import DEADLINE_S

SLOW = "The current node timed out during startup. This\ncould happen because"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Exception | None]:
    """Outcomes of successive starts of Ray; None is a success."""
    outcomes: list[Exception | None] = []
    monkeypatch.setenv("HOME", str(tmp_path))

    def init(**settings: Any) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return outcomes


def test_a_slow_start_is_retried(starts: list[Exception | None]) -> None:
    starts += [Exception(SLOW), Exception(SLOW), None]
    with ray_cluster():
        assert starts == []


def test_repeated_slow_starts_are_an_error(starts: list[Exception | None]) -> None:
    starts += [Exception(SLOW)] * 3
    with pytest.raises(ClusterError, match="try again when this machine is less busy") as raised:
        ray_cluster().__enter__()
    assert "\n" not in str(raised.value)
    assert starts == []


def test_other_errors_are_raised_at_once(
    starts: list[Exception | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts += [ValueError("no space")] * 2
    with pytest.raises(ClusterError, match=r"\(no space\); check the free memory"):
        ray_cluster().__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    with pytest.raises(ClusterError, match="check RAY_ADDRESS=nowhere:1"):
        ray_cluster().__enter__()


def test_a_start_that_failed_leaves_no_processes(
    starts: list[Exception | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[subprocess.Popen[bytes]] = []
    unrelated = subprocess.Popen(["sleep", "60"])

    def init(**settings: Any) -> None:
        code = "import time; print(flush=True); time.sleep(60)"
        command = [sys.executable, "-c", code, "site-packages/ray/core/gcs_server"]
        left.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert left[-1].stdout is not None
        assert left[-1].stdout.readline()
        raise RuntimeError("no space")

    monkeypatch.setattr(ray, "init", init)
    try:
        with pytest.raises(ClusterError):
            ray_cluster().__enter__()
        assert left[0].poll() is not None
        assert unrelated.poll() is None
    finally:
        for process in (unrelated, *left):
            process.kill()
            process.wait(DEADLINE_S)


def test_the_token_of_local_clusters_is_its_owners(
    starts: list[Exception | None], tmp_path: Path
) -> None:
    file = tmp_path / ".ray" / "auth_token"
    for _ in range(2):
        starts.append(None)
        with ray_cluster():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = file.read_text()
        assert len(token) == 64
        file.chmod(0o644)  # As Ray writes it.
    assert file.read_text() == token


def test_local_clusters_listen_on_the_loopback_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    addresses: list[str] = []

    def init(**settings: Any) -> None:
        addresses.append(services.resolve_ip_for_localhost(settings["_node_ip_address"]))

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ray_cluster():
        assert addresses == ["127.0.0.1"]


@pytest.mark.parametrize("address", [None, "192.0.2.1:6379"])
def test_processes_of_any_cluster_have_the_environment(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    settings: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **given: settings.update(given))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("RAY_ADDRESS", None)
    if address:
        os.environ["RAY_ADDRESS"] = address
    with ray_cluster(environment={"MCN_COLOUR": "blue"}):
        if address:  # Its machines have environments of their own.
            assert settings["runtime_env"] == {"env_vars": {"MCN_COLOUR": "blue"}}
        else:
            assert os.environ["MCN_COLOUR"] == "blue"
            assert settings["runtime_env"] is None


@pytest.mark.parametrize("verbose", [False, True])
def test_messages_of_ray_are_not_among_the_results(
    starts: list[Exception | None], monkeypatch: pytest.MonkeyPatch, verbose: bool
) -> None:
    starts += [None]
    printed: list[dict[str, Any]] = []
    monkeypatch.setattr(
        worker, "print_to_stdstream", lambda data, ignore_prefix: printed.append(data)
    )
    message = {"lines": ["worker died"], "pid": "raylet", "is_err": False}
    with ray_cluster(verbose):
        worker.print_to_stdstream(message, ignore_prefix=False)
    assert printed == ([{**message, "is_err": True}] if verbose else []), "only standard error"
    worker.print_to_stdstream(message, ignore_prefix=False)
    assert printed[-1] == message, "afterwards as before"
