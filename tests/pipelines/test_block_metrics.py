"""Ray Data drops the metrics of finished blocks, and warns if its version does not support that."""

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.block_metrics import drop_block_metrics
from pipelines.cluster import quiet_data


def count_block_metrics(blocks: int, forgetful: bool) -> int:
    """Number of block metrics that an executor has at its end."""
    counts: list[int] = []

    class MetricsCounter(ExecutionCallback):
        def after_execution_succeeds(self, executor: Any) -> None:
            stats = [metrics for op in executor._topology for metrics in op.get_stats().values()]
            counts.append(sum(map(len, stats)))

    with quiet_data() as context:
        before = context.custom_execution_callback_classes if forgetful else []
        context.custom_execution_callback_classes = [*before, MetricsCounter]
        dataset = ray.data.range(blocks, override_num_blocks=blocks).map_batches(lambda rows: rows)
        assert sum(len(batch["id"]) for batch in dataset.iter_batches()) == blocks
    (metrics,) = counts
    return metrics


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_metrics_of_finished_blocks_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    assert count_block_metrics(40, forgetful=False) >= 40, (
        "if Ray keeps none, pipelines.block_metrics can go"
    )
    assert count_block_metrics(40, forgetful=True) == 0
    assert not [record for record in caplog.records if record.name == "pipelines.block_metrics"]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_ray_without_callbacks_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context: Any = SimpleNamespace()
    drop_block_metrics(context)
    assert vars(context) == {}
    context = SimpleNamespace(custom_execution_callback_classes=[])
    monkeypatch.setitem(sys.modules, "ray.data._internal.execution.execution_callback", None)
    drop_block_metrics(context)
    assert context.custom_execution_callback_classes == []
    assert len(warnings_in(caplog)) == 2
    assert all("gigabytes more memory" in line for line in warnings_in(caplog))


@pytest.mark.parametrize(
    "executor",
    [
        SimpleNamespace(),
        SimpleNamespace(_topology=[SimpleNamespace()]),
        SimpleNamespace(_topology=[SimpleNamespace(get_stats=lambda: None)]),
        SimpleNamespace(_topology=[SimpleNamespace(get_stats=lambda: {"a": ()})]),
    ],
    ids=["topology", "operators", "stats", "lists"],
)
def test_an_unknown_executor_gives_one_warning(
    executor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    context: Any = SimpleNamespace(custom_execution_callback_classes=[])
    drop_block_metrics(context)
    (callback_class,) = context.custom_execution_callback_classes
    callback = callback_class()
    callback.on_execution_step(executor)
    callback.on_execution_step(executor)
    assert len(warnings_in(caplog)) == 1


def test_lists_are_emptied() -> None:
    context: Any = SimpleNamespace(custom_execution_callback_classes=[])
    drop_block_metrics(context)
    stats = {"a": [1, 2], "b": []}
    operator = SimpleNamespace(get_stats=lambda: stats)
    context.custom_execution_callback_classes[0]().on_execution_step(
        SimpleNamespace(_topology=[operator])
    )
    assert stats == {"a": [], "b": []}
