"""Every tile comes back: with a result, or with the reason; also what takes its worker along."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.attempts import KILLS, Ledger
from pipelines.fault_isolation import Failure, FaultIsolator


class Killed(BaseException):
    """The end of a worker, as far as one process can play it."""


def inverse(numbers: Sequence[int], shrink: int) -> list[float]:
    return [1 / number for number in numbers]


def settle(isolator: FaultIsolator, numbers: list[int], work=inverse):  # type: ignore[no-untyped-def]
    return isolator.settle([str(number) for number in numbers], numbers, work)


def test_settling_finds_the_guilty() -> None:
    isolator = FaultIsolator("dividing")
    assert settle(isolator, [1, 0, 2]) == [
        1.0,
        Failure("dividing failed: ZeroDivisionError: division by zero"),
        0.5,
    ]
    assert settle(isolator, []) == []
    lost = Failure("dividing failed: ValueError: 0 results for 1 tiles")
    assert settle(isolator, [1, 2], lambda numbers, shrink: []) == [lost, lost]


def test_a_tile_that_is_too_large_is_tried_with_less_memory() -> None:
    tried = []

    def hungry(numbers: Sequence[int], shrink: int) -> list[int]:
        tried.append((list(numbers), shrink))
        if max(numbers) > 100 // (1 + shrink):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return [shrink for _ in numbers]

    assert settle(FaultIsolator("hunger"), [1, 50, 2], hungry) == [0, 0, 0]
    assert settle(FaultIsolator("hunger"), [1, 30, 40, 90], hungry) == [0, 0, 0, 0]
    assert settle(
        FaultIsolator("hunger"), [1, 45, 101], lambda n, s: hungry([2 * i for i in n], s)
    ) == [
        0,
        0,
        Failure("hunger failed: RuntimeError: CUDA out of memory. Tried to allocate 20 GiB"),
    ]
    assert settle(
        FaultIsolator("hunger"), [120], lambda n, s: hungry([i // 4 for i in n], s + 2)
    ) == [2]
    assert max(shrink for _, shrink in tried) <= 5


@given(st.sets(st.integers(0, 20), max_size=4), st.integers(1, 6))
def test_what_kills_its_worker_is_quarantined_and_nothing_else(deadly: set[int], size: int) -> None:
    """Workers come back, as Ray restarts them, and take up the batch they were at."""
    ledger = Ledger()
    isolator = FaultIsolator("segment")
    isolator._ledger = ledger
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
                outcomes += settle_unfinished(isolator, batch, work)
                break
            except Killed:
                continue
    for number, outcome in enumerate(outcomes):
        if number in deadly:
            assert isinstance(outcome, Failure)
            assert f"segment: ended its worker {KILLS} times" in outcome.reason
            assert "--retry-failed" in outcome.reason
        else:
            assert outcome == number
    assert all(times <= KILLS for times in killed.values())
    assert {tile for _, tile in ledger._begun} == {str(number) for number in deadly}


def settle_unfinished(isolator: FaultIsolator, batch: list[int], work):  # type: ignore[no-untyped-def]
    """Settle so that a death leaves the ledger as a killed process does: nothing was ended."""
    ledger = isolator._ledger
    end = ledger.end

    class Deaf:
        begin, overdue = ledger.begin, ledger.overdue

        @staticmethod
        def end(*told: object) -> None:
            import sys

            if not isinstance(sys.exc_info()[1], Killed):
                end(*told)  # type: ignore[arg-type]

    isolator._ledger = Deaf()  # type: ignore[assignment]
    try:
        return settle(isolator, batch, work)
    finally:
        isolator._ledger = ledger


def test_a_tile_that_ran_out_of_time_has_a_second_longer_chance_alone() -> None:
    ledger = Ledger()
    batch = ["slow", "quick"]
    assert ledger.begin("read", batch).overdue == 0
    ledger.overdue("read", batch, 60.0)
    assert ledger.begin("read", batch).alone
    told = ledger.begin("read", ["slow"])
    assert (told.overdue, told.kills, told.quarantined) == (1, 0, None)
    ledger.overdue("read", ["slow"], 120.0)
    hung = "read: took over 120 s alone, its second chance; --retry-failed tries once more"
    assert ledger.begin("read", ["slow"]).quarantined == hung
    assert ledger.begin("read", ["slow"]).quarantined == hung
    assert ledger.begin("read", ["quick"]).quarantined is None
    ledger.end("read", ["quick"], 1.0)
    assert ledger.begin("read", ["quick"]).overdue == 0, "nothing is held against it"


def test_lost_workers_do_not_take_the_longer_chance_away() -> None:
    ledger = Ledger()
    for kills in range(KILLS - 1):
        assert ledger.begin("read", ["a"]).kills == kills
    assert ledger.begin("read", ["a"]).quarantined is None
    ledger.overdue("read", ["a"], 30.0)
    told = ledger.begin("read", ["a"])
    assert (told.overdue, told.kills, told.quarantined) == (1, KILLS - 1, None)


def test_the_longer_chance_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    @contextmanager
    def limited(seconds: float, expired: Callable[[], None]) -> Iterator[None]:
        limits.append(seconds)
        if len(limits) < 3:
            expired()
            raise Killed
        yield

    monkeypatch.setattr("pipelines.fault_isolation.time_limit", limited)
    isolator = FaultIsolator("dividing", seconds=10.0)
    for _ in range(2):
        with pytest.raises(Killed):
            settle_unfinished(isolator, [1, 2], inverse)
    hung = "dividing: took over 40 s alone, its second chance; --retry-failed tries once more"
    assert settle(isolator, [1, 2]) == [Failure(hung), 0.5]
    assert limits == [20.0, 40.0, 40.0]


def test_the_pace_of_a_stage() -> None:
    ledger = Ledger()
    ledger.begin("read", ["a", "b"])
    ledger.end("read", ["a", "b"], 2.0, 300)
    ledger.begin("segment", ["a"])
    pace = ledger.pace()
    assert (pace["read"].begun, pace["read"].ended, pace["read"].bytes) == (2, 2, 300)
    assert pace["read"].seconds == 2.0
    assert (pace["segment"].begun, pace["segment"].ended) == (1, 0)
    assert not ledger.begin("read", []).draining
    ledger.drain()
    assert ledger.begin("read", []).draining


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("x can't allocate memory: you")])
def test_running_out_of_memory_is_known(error: Exception) -> None:
    from pipelines.fault_isolation import is_out_of_memory

    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("no such crystal"))
