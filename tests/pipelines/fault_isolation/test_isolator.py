"""Every tile gets a result or a failure, even if it kills its worker."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fault_isolation.attempts import MAX_KILLS, AttemptLog
from pipelines.fault_isolation.isolator import Failure, FaultIsolator, is_out_of_memory


class Killed(BaseException):
    """Simulates the end of a worker process."""


class CrashAttemptLog(AttemptLog):
    """An attempt log that does not hear from a killed worker."""

    def end(self, stage: str, tiles: Sequence[str], seconds: float, read: int = 0) -> None:
        if not isinstance(sys.exc_info()[1], Killed):
            super().end(stage, tiles, seconds, read)


def inverse(numbers: Sequence[int], shrink: int) -> list[float]:
    return [1 / number for number in numbers]


def run(isolator: FaultIsolator, numbers: list[int], work=inverse):  # type: ignore[no-untyped-def]
    return isolator.run([str(number) for number in numbers], numbers, work)


def test_a_failing_tile_does_not_affect_others() -> None:
    isolator = FaultIsolator("dividing")
    assert run(isolator, [1, 0, 2]) == [
        1.0,
        Failure("dividing failed: ZeroDivisionError: division by zero"),
        0.5,
    ]
    assert run(isolator, []) == []
    missing = Failure("dividing failed: ValueError: 0 results for 1 tiles")
    assert run(isolator, [1, 2], lambda numbers, shrink: []) == [missing, missing]


def test_a_too_large_tile_is_retried_with_less_memory() -> None:
    attempts = []

    def hungry(numbers: Sequence[int], shrink: int) -> list[int]:
        attempts.append((list(numbers), shrink))
        if max(numbers) > 100 // (1 + shrink):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return [shrink for _ in numbers]

    assert run(FaultIsolator("hunger"), [1, 50, 2], hungry) == [0, 0, 0]
    assert run(FaultIsolator("hunger"), [1, 30, 40, 90], hungry) == [0, 0, 0, 0]
    assert run(
        FaultIsolator("hunger"), [1, 45, 101], lambda n, s: hungry([2 * i for i in n], s)
    ) == [
        0,
        0,
        Failure("hunger failed: RuntimeError: CUDA out of memory. Tried to allocate 20 GiB"),
    ]
    assert run(FaultIsolator("hunger"), [120], lambda n, s: hungry([i // 4 for i in n], s + 2)) == [
        2
    ]
    assert max(shrink for _, shrink in attempts) <= 5


@given(st.sets(st.integers(0, 20), max_size=4), st.integers(1, 6))
def test_only_tiles_that_kill_their_worker_are_quarantined(deadly: set[int], size: int) -> None:
    """Ray restarts killed workers and gives them the same batch again."""
    attempt_log = CrashAttemptLog()
    isolator = FaultIsolator("segment", attempt_log)
    killed: dict[int, int] = {}

    def work(numbers: Sequence[int], shrink: int) -> list[int]:
        for number in numbers:
            if number in deadly:
                killed[number] = killed.get(number, 0) + 1
                raise Killed
        return list(numbers)

    outcomes = []
    for start in range(0, 21, size):
        batch = list(range(start, min(21, start + size)))
        while True:
            try:
                outcomes += run(isolator, batch, work)
                break
            except Killed:
                continue
    for number, outcome in enumerate(outcomes):
        if number in deadly:
            assert isinstance(outcome, Failure)
            assert f"segment: ended its worker {MAX_KILLS} times" in outcome.reason
            assert "--retry-failed" in outcome.reason
        else:
            assert outcome == number
    assert all(times <= MAX_KILLS for times in killed.values())
    for number in range(21):
        verdict = attempt_log.begin("segment", [str(number)])
        assert bool(verdict.quarantined) == (number in deadly)


def test_the_retry_after_a_timeout_has_a_longer_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    @contextmanager
    def limited(seconds: float, expired: Callable[[], None]) -> Iterator[None]:
        limits.append(seconds)
        if len(limits) < 3:
            expired()
            raise Killed
        yield

    monkeypatch.setattr("pipelines.fault_isolation.isolator.time_limit", limited)
    isolator = FaultIsolator("dividing", CrashAttemptLog(), seconds=10.0)
    for _ in range(2):
        with pytest.raises(Killed):
            run(isolator, [1, 2])
    timed_out = "dividing: took over 40 s alone, its second chance; --retry-failed tries once more"
    assert run(isolator, [1, 2]) == [Failure(timed_out), 0.5]
    assert limits == [20.0, 40.0, 40.0]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("x can't allocate memory: you")])
def test_out_of_memory_errors_are_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("no such crystal"))
