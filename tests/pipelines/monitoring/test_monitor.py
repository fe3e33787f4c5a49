"""The first interrupt of a scan lets it finish the tiles in progress."""

import os
import signal
import threading
from typing import Any

import pytest
import ray

from pipelines.fault_isolation.attempts import AttemptLog, StageProgress
from pipelines.monitoring import monitor
from pipelines.monitoring.metrics import ScanMetrics
from pipelines.monitoring.monitor import drained_on_interrupt, stage_metrics, waiting_stage


class LocalAttemptLog:
    """A handle of an attempt log in this process."""

    def __init__(self) -> None:
        self.attempt_log = AttemptLog()

    def __getattr__(self, name: str) -> Any:
        return type("Method", (), {"remote": staticmethod(getattr(self.attempt_log, name))})

    @property
    def draining(self) -> bool:
        return bool(self.attempt_log.begin("read", []).draining)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_drains_the_scan_with_a_message(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    attempt_log = LocalAttemptLog()
    with drained_on_interrupt(attempt_log, "scan-7") as stopping:
        assert not stopping.is_set()
        assert not attempt_log.draining
        os.kill(os.getpid(), number)
        assert stopping.is_set()
        assert attempt_log.draining
    assert "scan scan-7: finishing the tiles in progress" in capsys.readouterr().err
    assert {each: signal.getsignal(each) for each in before} == before


def test_signal_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError), drained_on_interrupt(LocalAttemptLog(), "scan"):
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_scan_in_another_thread_does_not_handle_signals() -> None:
    handlers = []

    def scan() -> None:
        with drained_on_interrupt(LocalAttemptLog(), "scan"):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=scan)
    thread.start()
    thread.join(60)
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_the_stage_that_waits() -> None:
    some = StageProgress(1, 1)
    assert waiting_stage({}) == "read"
    assert waiting_stage({"read": some}) == "segment"
    assert waiting_stage({"read": some, "segment": some}) == "classify"
    assert waiting_stage(dict.fromkeys(("read", "segment", "classify"), some)) is None


def test_a_scan_without_room_on_its_cluster_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = threading.Event()
    monkeypatch.setattr(monitor, "_INTERVAL_S", 0.001)
    monkeypatch.setattr(monitor, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(ray, "get", lambda value, timeout: value)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.2})
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0, "memory": 9.0})
    monkeypatch.setattr(monitor.logger, "warning", lambda *words: lines.append(words) or said.set())
    lines: list[Any] = []
    with stage_metrics(LocalAttemptLog(), ScanMetrics("scan-waits", {}), on_gpu=True):
        assert said.wait(60)
    message, *arguments = lines[0]
    assert message % tuple(arguments) == (
        "no tile has reached the stage read: its workers are loading the model, or there is no "
        "room for them; free are 0.2 of 4 CPU, 0 of 1 GPU"
    )
