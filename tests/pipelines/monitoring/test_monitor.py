"""The first interrupt of a scan lets it finish the tiles in progress."""

import os
import signal
import threading
from typing import Any

import pytest

from pipelines.fault_isolation.attempts import AttemptLog
from pipelines.monitoring.monitor import drained_on_interrupt


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
