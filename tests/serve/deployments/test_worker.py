"""A replica's model runs in a separate thread, one batch at a time."""

import asyncio
import threading
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from serve.deployments.worker import ModelWorker, result_of


def double(items: Sequence[Any]) -> list[Any]:
    """Fails on a batch that contains a string."""
    if any(isinstance(item, str) for item in items):
        raise ValueError(f"{len(items)} items")
    return [2 * item for item in items]


def run(items: Sequence[Any]) -> list[Any]:
    worker = ModelWorker(str, 1, 60)
    return asyncio.run(worker.run(double, items))


def test_a_batch_is_run_at_once() -> None:
    outcomes = run([1, 2, 3])
    assert [outcome for outcome, _ in outcomes] == [2, 4, 6]
    assert len({timing for _, timing in outcomes}) == 1
    timing = outcomes[0][1]
    assert timing.batch == 3
    assert timing.seconds >= 0


def test_a_failing_item_does_not_affect_others() -> None:
    outcomes = [outcome for outcome, _ in run([1, "a", 3])]
    assert (outcomes[0], outcomes[2]) == (2, 6)
    with pytest.raises(ValueError, match="1 items"):
        result_of(outcomes[1])
    assert result_of(outcomes[0]) == 2
    ((error, _),) = run(["a"])
    assert isinstance(error, ValueError)


def test_a_model_is_loaded_once_and_kept_if_another_cannot_be_loaded() -> None:
    loaded: list[str] = []

    def load(name: str) -> str:
        loaded.append(name)
        if name == "broken":
            raise OSError("no weights")
        return name.upper()

    async def replace_models() -> str:
        worker = ModelWorker(load, 1, 60)
        for name in ("a", "a", "b"):
            await worker.use(name)
        with pytest.raises(OSError, match="no weights"):
            await worker.use("broken")
        await worker.use("b")
        return str(worker.model)

    assert asyncio.run(replace_models()) == "B"
    assert loaded == ["a", "b", "broken"]


def test_a_model_that_does_not_return_is_detected() -> None:
    started, released = threading.Event(), threading.Event()

    def hang(items: Sequence[int]) -> Sequence[int]:
        started.set()
        assert released.wait(60)
        return items

    async def look() -> None:
        worker = ModelWorker(str, 1, 0.0)
        worker.check()
        call = asyncio.create_task(worker.run(hang, [1]))
        assert await asyncio.to_thread(started.wait, 60)
        with pytest.raises(RuntimeError, match="the model has not returned for 0 s"):
            worker.check()
        released.set()
        await call
        worker.check()

    asyncio.run(look())


def test_between_the_steps_of_a_long_call_others_have_their_turn() -> None:
    order: list[str] = []

    def steps() -> Generator[float, None, str]:
        for share in (0.3, 0.6):
            order.append(f"step {share}")
            yield share
        return "masks"

    async def both() -> list[float | str]:
        worker, seen = ModelWorker(str, 1, 60), []
        async for value in worker.run_in_steps(steps()):
            seen.append(value)
            await worker.run(lambda items: order.append("short") or [0], [0])
        return seen

    assert asyncio.run(both()) == [0.3, 0.6, "masks"]
    assert order == ["step 0.3", "short", "step 0.6", "short", "short"]


def test_a_long_call_that_nobody_waits_for_ends_after_its_step() -> None:
    closed = threading.Event()

    def steps() -> Generator[float, None, None]:
        try:
            while True:
                yield 0.1
        finally:
            closed.set()

    async def stop_early() -> None:
        values = ModelWorker(str, 1, 60).run_in_steps(steps())
        assert await anext(values) == 0.1
        await values.aclose()

    asyncio.run(stop_early())
    assert closed.wait(60)
