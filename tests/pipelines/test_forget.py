"""Ray Data keeps nothing of blocks that have passed."""

from typing import Any

import pytest
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.cluster import quiet_data

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def kept_of(blocks: int, forgetful: bool) -> int:
    """Figures of blocks that an executor holds at its end."""
    kept: list[int] = []

    class Look(ExecutionCallback):
        def after_execution_succeeds(self, executor: Any) -> None:
            stats = [figures for op in executor._topology for figures in op.get_stats().values()]
            kept.append(sum(map(len, stats)))

    with quiet_data() as context:
        before = context.custom_execution_callback_classes if forgetful else []
        context.custom_execution_callback_classes = [*before, Look]
        dataset = ray.data.range(blocks, override_num_blocks=blocks).map_batches(lambda rows: rows)
        assert sum(len(batch["id"]) for batch in dataset.iter_batches()) == blocks
    (figures,) = kept
    return figures


def test_figures_of_blocks_are_forgotten() -> None:
    assert kept_of(40, forgetful=False) >= 40, "if Ray keeps none, ForgetPassedBlocks can go"
    assert kept_of(40, forgetful=True) == 0
