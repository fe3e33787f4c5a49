"""Tiles keep their order, their time and their first error through a stage."""

from collections.abc import Sequence

import pyarrow as pa

from pipelines.fault_isolation.isolator import Failure, FaultIsolator
from pipelines.stages.outcomes import columns_of, run_batch, split_outcomes


def tiles(*errors: str | None) -> pa.Table:
    return pa.table(
        {
            "tile_id": pa.array([f"tile-{n}" for n in range(len(errors))], pa.string()),
            "seconds": pa.array([1.0] * len(errors), pa.float64()),
            "error": pa.array(errors, pa.string()),
        }
    )


def halve(numbers: Sequence[int], shrink: int) -> list[float]:
    del shrink
    return [10 / number for number in numbers]


def test_each_tile_gets_its_result_or_its_first_error() -> None:
    batch = tiles(None, "read: it is empty", None, None)
    results, seconds, errors = run_batch(FaultIsolator("halve"), halve, [2, None, 0, 5], batch)
    assert results == [5, None, None, 2]
    first, second, third, fourth = errors.to_pylist()
    assert (first, second, fourth) == (None, "read: it is empty", None)
    assert third.startswith("halve failed: ZeroDivisionError")
    spent = seconds.to_pylist()
    assert spent[1] == 1.0, "a tile that has failed takes no time"
    assert all(time > 1.0 for number, time in enumerate(spent) if number != 1)


def test_a_batch_of_failed_tiles_is_not_processed() -> None:
    def refuse(items: Sequence[int], shrink: int) -> list[int]:
        raise AssertionError(items, shrink)

    results, seconds, errors = run_batch(
        FaultIsolator("halve"), refuse, [None, None], tiles("a", "b")
    )
    assert results == [None, None]
    assert (seconds.to_pylist(), errors.to_pylist()) == ([1.0, 1.0], ["a", "b"])


def test_an_empty_batch_stays_empty() -> None:
    results, seconds, errors = run_batch(FaultIsolator("halve"), halve, [], tiles())
    assert (results, len(seconds), len(errors)) == ([], 0, 0)
    assert (seconds.type, errors.type) == (pa.float64(), pa.string())


def test_outcomes_are_results_or_errors() -> None:
    assert split_outcomes([1, Failure("why"), None]) == ([1, None, None], [None, "why", None])
    assert list(columns_of(tiles(None), ("error", "tile_id"))) == ["error", "tile_id"]
